"""The routes of version 2 of anyformat's API, over the sandbox's memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response  # noqa: TC002 - FastAPI reads the annotations
from pydantic import BaseModel, Field

from airflow_provider_anyformat.sandbox.answers import json_answer
from airflow_provider_anyformat.sandbox.common import (
    ApiError,
    Current,
    Known,
    accepted,
    deleted,
    field_names,
    find_row,
    response,
)
from airflow_provider_anyformat.sandbox.documents import TEXT_NAME, read
from airflow_provider_anyformat.sandbox.rows import Row, Workflow, iso

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.state import State

_Page = Annotated[int, Query(ge=1)]
router = APIRouter(prefix="/v2")
_FAILED = {"error": "EXTRACTION_FAILED", "cancelled": "EXTRACTION_CANCELLED"}


class NewWorkflow(BaseModel):
    """Body of ``POST /v2/workflows/``."""

    name: str = Field(min_length=1)
    description: str | None = None
    fields: list[dict[str, Any]] | None = None
    nodes: list[dict[str, Any]] | None = None
    edges: list[dict[str, Any]] = []


@router.get("/workflows/")
async def list_workflows(state: Current, page: _Page = 1, page_size: _Page = 20) -> Response:
    page_size = min(page_size, state.settings.page_size_cap)
    start = (page - 1) * page_size
    every = list(state.workflows.values())
    rows = [_workflow(one) for one in every[start : start + page_size]]
    return response(json_answer(200, {"count": len(every), "page": page, "page_size": page_size, "results": rows}))


@router.post("/workflows/")
async def create_workflow(state: Current, body: NewWorkflow) -> Response:
    if not body.nodes and not body.fields:
        raise ApiError(400, "A workflow needs nodes or fields.")
    workflow_id = state.add_workflow(None, body.name, field_names(body.nodes or [], body.fields or []))
    return response(json_answer(201, _workflow(state.workflows[workflow_id])))


@router.get("/workflows/{workflow_id}/files/")
async def list_files(state: Current, workflow: Known, page: _Page = 1, page_size: _Page = 20) -> Response:
    answer: Any = state.page(workflow.id, page, min(page_size, state.settings.page_size_cap))
    if state.settings.mangle_page is not None:
        answer = state.settings.mangle_page(page, answer)
    return response(json_answer(200, answer))


def _workflow(one: Workflow) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "created_at": iso(one.created), "updated_at": iso(one.created)}


def _started(state: State, row: Row) -> Response:
    state.start_run(row)
    # The word of the status means that the run was accepted, not that it is over.
    full = {**state.as_json(row), "status": "success", "workflow_id": row.workflow.id, "version_id": None}
    return response(json_answer(200, full if state.settings.submit_body == "full" else {"id": row.id}))


@router.post("/workflows/{workflow_id}/run/")
async def run(
    state: Current,
    workflow: Known,
    file: Annotated[UploadFile | None, File()] = None,
    text: Annotated[str | None, Form()] = None,
) -> Response:
    if file is None and not text:
        raise RequestValidationError([{"loc": ("body", "file"), "msg": "Field required", "type": "missing"}])
    if file is not None and text:
        raise ApiError(400, "Give a file or text, not both.")
    name = TEXT_NAME if file is None else (await accepted([file]))[0].name
    return _started(state, state.upload(workflow, [name], name=name))


@router.post("/workflows/{workflow_id}/upload/")
async def upload(state: Current, workflow: Known, file: Annotated[UploadFile, File()]) -> Response:
    (document,) = await accepted([file])
    row = state.upload(workflow, [document.name], name=document.name)
    stored = {"filename": document.name, "file_collection_id": row.id, "file_id": row.first_file_id}
    return response(json_answer(200, {"status": "uploaded", **stored}))


@router.post("/workflows/{workflow_id}/files/")
async def create_collection(state: Current, workflow: Known, files: Annotated[list[UploadFile], File()]) -> Response:
    documents = [await read(file) for file in files]
    row = state.upload(workflow, [document.name for document in documents if not document.problem], name=None)
    shown = [{"filename": one.name, "status": "failed" if one.problem else "uploaded"} for one in documents]
    return response(json_answer(200, {"id": row.id, "workflow_id": workflow.id, "name": None, "files": shown}))


@router.post("/workflows/{workflow_id}/files/{file_id}/run/")
async def run_uploaded(state: Current, workflow: Known, file_id: str) -> Response:
    # The documentation contradicts itself about which of the two ids it takes.
    row = state.uploads.get(file_id) or find_row(state, file_id)
    if row is None or row.gone or row.workflow is not workflow:
        raise ApiError(404, f"There is no file {json.dumps(file_id)} in this workflow.")
    return _started(state, row)


@router.get("/workflows/{workflow_id}/files/{collection_id}/results/")
async def show_results(state: Current, workflow: Known, collection_id: str) -> Response:
    row = find_row(state, collection_id)
    if row is None or row.workflow is not workflow:
        raise ApiError(404, f"There is no file collection {json.dumps(collection_id)} in this workflow.")
    status, _ = state.progress(row)
    if status in _FAILED:
        code = {422: _FAILED[status], 412: "PRECONDITION_FAILED"}[state.settings.failure_status]
        words = state.why(row)
        raise ApiError(state.settings.failure_status, words, error_code=code, detail=words, retryable=False)
    if status != "processed":
        words = f"The collection is {status}; results are there when it is processed."
        raise ApiError(412, words, detail=words, retryable=True)
    return response(json_answer(200, state.results(row)))


@router.delete("/files/{collection_id}/")
async def delete_files(state: Current, collection_id: str) -> Response:
    return deleted(state, collection_id, "collection_id")
