"""The routes of version 3 of anyformat's API, over the same memory: a collection is called a document packet here."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Header, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, Field

from airflow_provider_anyformat.sandbox.access import PRESIGNED
from airflow_provider_anyformat.sandbox.answers import Answer, json_answer
from airflow_provider_anyformat.sandbox.common import (
    ApiError,
    Current,
    Known,
    accepted,
    checked_uuid,
    deleted,
    field_names,
    find_row,
    response,
)
from airflow_provider_anyformat.sandbox.documents import MOST_FILES, Document
from airflow_provider_anyformat.sandbox.rows import Row, Run, Workflow, iso, read_cursor, write_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyformat.sandbox.state import State

_Limit = Annotated[int, Query(ge=1)]
_Files = Annotated[list[UploadFile], File()]
_OnConflict = Annotated[Literal["error", "rename"], Form()]
_Key = Annotated[str | None, Header(alias="Idempotency-Key")]
_Format = Literal["markdown", "blocks", "none"]


router = APIRouter()


class NewWorkflow(BaseModel):
    """Body of ``POST /v3/workflows/``."""

    name: str = Field(min_length=1)
    description: str | None = None
    nodes: list[dict[str, Any]] = Field(min_length=1)
    edges: list[dict[str, Any]] = []


@router.get("/v3/workflows/")
async def list_workflows(state: Current, limit: _Limit = 20, cursor: str | None = None) -> Response:
    every = list(state.workflows.values())
    end = len(every) if cursor is None else _or_400(cursor)[0]
    start = max(end - min(limit, state.settings.page_size_cap), 0)
    items = [{"id": one.id, "name": one.name, "created_at": iso(one.created)} for one in every[start:end][::-1]]
    return response(json_answer(200, {"items": items, "next_cursor": write_cursor(start) if start > 0 else None}))


@router.post("/v3/workflows/")
async def create_workflow(state: Current, body: NewWorkflow) -> Response:
    if any(one.name == body.name for one in state.workflows.values()):
        raise ApiError(409, "A workflow of this name exists already.", error_code="WORKFLOW_NAME_CONFLICT")
    made = state.workflows[state.add_workflow(None, body.name, field_names(body.nodes, []))]
    return response(json_answer(201, {"id": made.id, "name": made.name, "created_at": iso(made.created)}))


@router.get("/v3/workflows/{workflow_id}/document-packets/")
async def list_packets(state: Current, workflow: Known, limit: _Limit = 20, cursor: str | None = None) -> Response:
    limit = min(limit, state.settings.page_size_cap)
    with state.lock:
        start, rows, following = workflow.after(None if cursor is None else _or_400(cursor), limit)
        answer: Any = {"items": [_packet(state, row) for row in rows], "next_cursor": following}
    if state.settings.mangle_page is not None:
        answer = state.settings.mangle_page(start // limit + 1, answer)
    return response(json_answer(200, answer))


def _or_400(cursor: str) -> tuple[int, int]:
    try:
        return read_cursor(cursor)
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _packet(state: State, row: Row) -> dict[str, Any]:
    status, updated = state.progress(row)
    dates = {"created_at": iso(row.created), "updated_at": iso(updated)}
    return {"id": row.id, "name": row.name, "status": status, **dates}


@router.post("/v3/workflows/{workflow_id}/upload/")
async def upload(
    state: Current, workflow: Known, files: _Files, on_conflict: _OnConflict = "error", key: _Key = None
) -> Response:
    documents = await accepted(files)
    place, request = f"{workflow.id}/upload", (documents, on_conflict)
    return _once(state, key, place, request, lambda: _stored(_store(state, workflow, *request)))


@router.post("/v3/workflows/{workflow_id}/upload/run/")
async def upload_and_run(
    state: Current, workflow: Known, files: _Files, on_conflict: _OnConflict = "error", key: _Key = None
) -> Response:
    documents = await accepted(files)
    place, request = f"{workflow.id}/upload/run", (documents, on_conflict)
    return _once(state, key, place, request, lambda: _started(state, _store(state, workflow, *request)))


@router.post("/v3/document-packets/{packet_id}/run/")
async def run(state: Current, packet_id: str, key: _Key = None) -> Response:
    row = _find(state, packet_id)
    return _once(state, key, f"{row.id}/run", None, lambda: _started(state, row))


def _once(state: State, key: str | None, place: str, request: Any, answer: Callable[[], Answer]) -> Response:
    with state.lock:
        if key is None:
            return response(answer())
        earlier = state.replays.get((place, key))
        if earlier is None:
            earlier = state.replays[place, key] = (request, answer())
    if earlier[0] != request:
        raise ApiError(409, "This Idempotency-Key came with another request before.")
    return response(earlier[1])


def _store(state: State, workflow: Workflow, documents: list[Document], on_conflict: str) -> Row:
    names = [document.name for document in documents]
    if len(names) > MOST_FILES:
        raise ApiError(400, f"A document packet has {MOST_FILES} files at most.")
    taken = Counter(state.names(workflow)) + Counter(names)
    conflict = next((name for name in names if taken[name] > 1), None)
    if conflict is not None and on_conflict == "error":
        raise ApiError(409, f"A file named {json.dumps(conflict)} exists already in this workflow.")
    return state.upload(workflow, names, name=names[0], rename=True)


def _stored(row: Row) -> Answer:
    files = [{name: value for name, value in file._asdict().items() if value is not None} for file in row.all_files]
    return json_answer(201, {"document_packet_id": row.id, "workflow_id": row.workflow.id, "files": files})


def _started(state: State, row: Row) -> Answer:
    ids = {"run_id": state.start_run(row).id, "workflow_id": row.workflow.id, "document_packet_id": row.id}
    return json_answer(202, {**ids, "status": state.progress(row)[0]})


@router.get("/v3/document-packets/{packet_id}/")
async def show_packet(state: Current, packet_id: str) -> Response:
    row = _find(state, packet_id)
    latest = state.latest_run(row)
    files = [{"id": file.id, "name": file.name} for file in row.all_files]
    more = {"workflow_id": row.workflow.id, "files": files, "latest_run_id": latest and latest.id}
    return response(json_answer(200, _packet(state, row) | more))


@router.delete("/v3/document-packets/{packet_id}/")
async def delete_packet(state: Current, packet_id: str) -> Response:
    return deleted(state, packet_id, "document_packet_id")


@router.get("/v3/runs/{run_id}/")
async def show_run(
    state: Current,
    request: Request,
    run_id: str,
    parse_format: _Format = "markdown",
    delivery: Literal["inline", "url"] = "inline",
) -> Response:
    run = _find_run(state, run_id)
    status, updated = state.progress(run.row, run)
    shown = {
        "id": run.id,
        "workflow_id": run.row.workflow.id,
        "document_packet_id": run.row.id,
        "status": status,
        "created_at": iso(run.created),
        "updated_at": iso(updated),
        "results": None,
        "results_url": None,
    }
    if status == "processed":
        found = state.results(run.row, parse_format)
        if delivery == "url" or len(json_answer(200, found).body) > state.settings.inline_limit:
            host, port = request.scope["server"]
            query = f"parse_format={parse_format}&signature={_signature(run)}"
            shown["results_url"] = f"http://{host}:{port}{PRESIGNED}{run.id}/?{query}"
        else:
            shown["results"] = found
    return response(json_answer(200, shown))


@router.get(PRESIGNED + "{run_id}/")
async def download(
    state: Current, request: Request, run_id: str, signature: str = "", parse_format: _Format = "markdown"
) -> Response:
    # As a storage does: the address is the whole permission, and a key beside it is an error.
    if "authorization" in request.headers:
        return Response("<Error><Code>InvalidArgument</Code></Error>", 400, media_type="application/xml")
    run = state.runs.get(run_id)
    if run is None or run.row.gone or signature != _signature(run):
        return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
    return response(json_answer(200, state.results(run.row, parse_format)))


def _signature(run: Run) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, run.id).hex


def _find(state: State, packet_id: str) -> Row:
    row = find_row(state, packet_id)
    if row is None and state.settings.uuid_ids:
        checked_uuid(packet_id, "document_packet_id")
    if row is None:
        raise ApiError(404, f"There is no document packet {json.dumps(packet_id)}.")
    return row


def _find_run(state: State, run_id: str) -> Run:
    run = state.runs.get(checked_uuid(run_id, "run_id"))
    if run is None or run.row.gone:
        raise ApiError(404, f"There is no run {json.dumps(run_id)}.")
    return run
