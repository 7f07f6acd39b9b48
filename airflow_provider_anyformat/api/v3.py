"""Version 3 of the API: its paths, and what its answers mean. A document packet is a collection, with the same id."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.caller import LISTING_BYTES, Caller
from airflow_provider_anyformat.api.calls import Call
from airflow_provider_anyformat.api.models import Page
from airflow_provider_anyformat.api.replies import DeleteOutcome, is_own
from airflow_provider_anyformat.api.runs import Document, RunState, multipart
from airflow_provider_anyformat.api.values import FINISHED_STATUSES, is_id, shown
from airflow_provider_anyformat.exceptions import (
    AnyformatError,
    AnyformatListingError,
    AnyformatNoResultsError,
    AnyformatNotFoundError,
    AnyformatNotReadyError,
    AnyformatServerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# The Idempotency-Key replays the first answer.
SUBMITS_ONCE = True
PAGE_SIZE = 100


def delete(caller: Caller, call: Call, collection_id: str) -> DeleteOutcome:
    """Delete a packet: HTTP 204 is success; another 2xx only if the packet is then gone, because none is published."""
    path = _packet_path(collection_id)
    try:
        reply = caller.call(call, "DELETE", path, expected={204})
    except AnyformatError as error:
        status = error.status_code
        if status is None or not 200 <= status < 300 or not _is_gone_after(caller, path):
            raise
        return DeleteOutcome("deleted", http_status=status, attempts=call.attempts, server_date=error.server_date)
    return DeleteOutcome("deleted", http_status=204, attempts=call.attempts, server_date=reply.server_date)


def _is_gone_after(caller: Caller, path: str) -> bool:
    try:
        caller.call(Call("look after a delete", tries=1), "GET", path, expected={200}, whole=False)
    except AnyformatNotFoundError:
        return True
    except AnyformatError:
        pass
    return False


def ask_for(caller: Caller, call: Call, _: str, collection_id: str) -> None:
    """Ask for a packet; anyformat's own 404 raises ``AnyformatNotFoundError``."""
    caller.call(call, "GET", _packet_path(collection_id), expected={200, 412, 422}, whole=False)


def file_ids(caller: Caller, call: Call, collection_id: str) -> list[str]:
    """Return the ids of a packet's files, which the listing does not show."""
    files = _ask_for_packet(caller, call, collection_id).get("files")
    if isinstance(files, list) and all(isinstance(each, dict) and isinstance(each.get("id"), str) for each in files):
        return [each["id"] for each in files]
    raise AnyformatServerError(f"{call.name}: HTTP 200: the answer does not name its files", status_code=200)


def pages(caller: Caller, workflow_id: str, tries: int | None = None, permit: float | None = None) -> Iterator[Page]:
    """Yield the pages; the last one is that whose ``next_cursor`` is ``null``."""
    cursors: set[str] = set()
    params: dict[str, int | str] = {"limit": PAGE_SIZE}
    number = 0
    while True:
        number += 1
        page, cursor = caller.page(
            Call(f"listing of workflow {workflow_id}, page {number}", tries=tries, permit=permit, of_workflow=True),
            f"/v3/workflows/{workflow_id}/document-packets/",
            params,
            partial(_read_page, workflow_id=workflow_id, number=number),
            first=number == 1,
        )
        yield page
        if cursor is None:
            return
        if cursor in cursors:
            raise AnyformatListingError(
                f"the listing of workflow {workflow_id} goes round in circles: page {number} names a cursor that came"
                " before"
            )
        cursors.add(cursor)
        params["cursor"] = cursor


def _read_page(body: dict[str, Any], date: datetime | None, workflow_id: str, number: int) -> tuple[Page, str | None]:
    page = Page.from_items(body, workflow_id, number, PAGE_SIZE, date)
    cursor = body.get("next_cursor", "")
    if cursor is not None and (type(cursor) is not str or not cursor):
        raise AnyformatListingError(
            f"page {number} of workflow {workflow_id} cannot be used: next_cursor: {shown(cursor)} came, or none at"
            " all, where a cursor or null belongs"
        )
    return page, cursor


def submit(caller: Caller, call: Call, workflow_id: str, document: Document, idempotency_key: str) -> object:
    """Submit a document; return what stands where the packet's id should."""
    body, kind = multipart("files", document, {"on_conflict": "rename"})
    reply = caller.call(
        call,
        "POST",
        f"/v3/workflows/{workflow_id}/upload/run/",
        expected=range(200, 300),
        limit=LISTING_BYTES,
        data=body,
        headers={"Content-Type": kind, "Idempotency-Key": idempotency_key},
    )
    return (reply.json_object() or {}).get("document_packet_id")


def look(caller: Caller, call: Call, _: str, collection_id: str) -> RunState:
    """Ask how the packet's last run stands."""
    status, _run = _packet(caller, call, collection_id)
    return RunState(status, f"status {shown(status)}" if status in FINISHED_STATUSES else "")


def results(caller: Caller, call: Call, _: str, collection_id: str, limit: int) -> bytes:
    """Return the ``results`` object of the packet's last run, or what its ``results_url`` holds, byte for byte."""
    status, run_id = _packet(caller, call, collection_id)
    if status not in FINISHED_STATUSES:
        raise AnyformatNotReadyError(f"{call.name}: the results are not ready: status {shown(status)}")
    if status != "processed":
        raise AnyformatNoResultsError(f"{call.name}: there are no results: status {shown(status)}")
    if not is_id(run_id):
        raise AnyformatServerError(f"{call.name}: the packet's latest_run_id, {shown(run_id)}, is not a valid id")
    reply = caller.call(call, "GET", f"/v3/runs/{run_id}/", expected={200}, limit=limit)
    body = caller.json_object(call, reply)
    if isinstance(body.get("results"), dict):
        return _member(reply.body, "results")
    url = body.get("results_url")
    if isinstance(url, str) and url:
        return caller.fetch(call, url, limit)
    raise AnyformatServerError(f"{call.name}: the run has neither results nor a results_url", status_code=200)


def check_key(caller: Caller, call: Call) -> bool:
    """Ask for one workflow; return whether the answer is anyformat's."""
    reply = caller.call(call, "GET", "/v3/workflows/", expected={200}, limit=LISTING_BYTES, params={"limit": 1})
    body = reply.json_object() or {}
    return isinstance(body.get("items"), list) or bool(body and is_own(reply))


def _packet_path(collection_id: str) -> str:
    return f"/v3/document-packets/{collection_id}/"


def _ask_for_packet(caller: Caller, call: Call, collection_id: str) -> dict[str, Any]:
    reply = caller.call(call, "GET", _packet_path(collection_id), expected={200}, limit=LISTING_BYTES)
    return reply.json_object() or {}


def _packet(caller: Caller, call: Call, collection_id: str) -> tuple[str, object]:
    """Return the packet's status and the id of its last run."""
    body = _ask_for_packet(caller, call, collection_id)
    status = body.get("status")
    if not isinstance(status, str) or not status:
        raise AnyformatServerError(f"{call.name}: HTTP 200: the answer names no status", status_code=200)
    return status, body.get("latest_run_id")


def _member(body: bytes, name: str) -> bytes:
    """Return a member of a JSON object as it was sent: reading and writing it again would round its numbers."""
    text = body.decode(json.detect_encoding(body))
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at = text.index('"', at)
        key, at = decoder.raw_decode(text, at)
        at = _skip_blanks(text, text.index(":", at) + 1)
        _, end = decoder.raw_decode(text, at)
        if key == name:
            return text[at:end].encode()
        at = end


def _skip_blanks(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at
