"""Version 2 of the API: its paths, and what its answers mean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.caller import LISTING_BYTES, Caller
from airflow_provider_anyformat.api.calls import Call
from airflow_provider_anyformat.api.models import Page
from airflow_provider_anyformat.api.replies import DeleteOutcome, Reply, explain, is_own
from airflow_provider_anyformat.api.runs import Document, RunState, multipart
from airflow_provider_anyformat.exceptions import (
    AnyformatNoResultsError,
    AnyformatNotReadyError,
    AnyformatServerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# A repeated submit may make, and bill, a second collection.
SUBMITS_ONCE = False
PAGE_SIZE = 100
# Of a run that ended without results: the envelope's code, and the status that it stands for.
_ENDED = {"EXTRACTION_FAILED": "error", "EXTRACTION_CANCELLED": "cancelled"}


def delete(caller: Caller, call: Call, collection_id: str) -> DeleteOutcome:
    """Delete a collection: HTTP 204 is the only success."""
    reply = caller.call(call, "DELETE", f"/v2/files/{collection_id}/", expected={204})
    return DeleteOutcome("deleted", http_status=204, attempts=call.attempts, server_date=reply.server_date)


def ask_for(caller: Caller, call: Call, workflow_id: str, collection_id: str) -> None:
    """Ask for a collection; anyformat's own 404 raises ``AnyformatNotFoundError``."""
    caller.call(call, "GET", _results_path(workflow_id, collection_id), expected={200, 412, 422}, whole=False)


def file_ids(_: Caller, __: Call, ___: str) -> tuple[()]:
    """Return nothing: the listing shows the id of a collection's file."""
    return ()


def pages(caller: Caller, workflow_id: str, tries: int | None = None, permit: float | None = None) -> Iterator[Page]:
    """Yield the pages; the last one is found by the ``count`` and ``page_size`` that came back."""
    number = 0
    more = True
    while more:
        number += 1
        page = caller.page(
            Call(f"listing of workflow {workflow_id}, page {number}", tries=tries, permit=permit, of_workflow=True),
            f"/v2/workflows/{workflow_id}/files/",
            {"page": number, "page_size": PAGE_SIZE},
            partial(_read_page, workflow_id=workflow_id, number=number),
            first=number == 1,
        )
        yield page
        more = number * page.page_size < (page.count or 0) and bool(page.collections)


def _read_page(body: dict[str, Any], date: datetime | None, workflow_id: str, number: int) -> Page:
    return Page.from_json(body, workflow_id, number, date)


def submit(caller: Caller, call: Call, workflow_id: str, document: Document, _: str) -> object:
    """Submit a document; return what stands where the collection's id should."""
    body, kind = multipart("file", document, {})
    reply = caller.call(
        call,
        "POST",
        f"/v2/workflows/{workflow_id}/run/",
        expected=range(200, 300),
        limit=LISTING_BYTES,
        data=body,
        headers={"Content-Type": kind},
    )
    return (reply.json_object() or {}).get("id")


def look(caller: Caller, call: Call, workflow_id: str, collection_id: str) -> RunState:
    """Ask how a run stands: by its results, because there is no other call for it."""
    reply = caller.call(call, "GET", _results_path(workflow_id, collection_id), expected={200, 412, 422}, whole=False)
    if reply.status == 200:
        if not is_own(reply) and not reply.body.lstrip().startswith(b"{"):
            raise AnyformatServerError(f"{call.name}: HTTP 200: the answer is not anyformat's", status_code=200)
        return RunState("processed")
    status = _ended(reply)
    if status is not None:
        return RunState(status, explain(reply, caller.secret))
    if reply.status == 412:
        return RunState("in_progress")
    raise caller.refusal(call, reply)


def results(caller: Caller, call: Call, workflow_id: str, collection_id: str, limit: int) -> bytes:
    """Return the results as received."""
    path = _results_path(workflow_id, collection_id)
    reply = caller.call(call, "GET", path, expected={200, 412, 422}, limit=limit)
    if reply.status == 200:
        caller.json_object(call, reply)
        return reply.body
    if _ended(reply) is not None:
        raise caller.refusal(call, reply, AnyformatNoResultsError)
    raise caller.refusal(call, reply, AnyformatNotReadyError if reply.status == 412 else None)


def check_key(caller: Caller, call: Call) -> bool:
    """Ask for one workflow; return whether the answer is anyformat's."""
    reply = caller.call(call, "GET", "/v2/workflows/", expected={200}, limit=LISTING_BYTES, params={"page_size": 1})
    body = reply.json_object() or {}
    return isinstance(body.get("results"), list) or bool(body and is_own(reply))


def _results_path(workflow_id: str, collection_id: str) -> str:
    return f"/v2/workflows/{workflow_id}/files/{collection_id}/results/"


def _ended(reply: Reply) -> str | None:
    """Return the status of a run that is over without results; ``None`` where the answer does not say so."""
    body: dict[str, Any] = reply.json_object() or {}
    code = body.get("error_code")
    if reply.status == 422:
        return _ENDED.get(code) if isinstance(code, str) else None
    # The only other place to say how it ended is the code.
    return _ENDED.get(str(code), "error") if body.get("retryable") is False else None
