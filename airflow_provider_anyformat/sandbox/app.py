"""The published routes of anyformat's API v2 on FastAPI, over the sandbox's memory."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, File, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from airflow_provider_anyformat.sandbox.answers import Answer, envelope, json_answer
from airflow_provider_anyformat.sandbox.control import control_routes
from airflow_provider_anyformat.sandbox.state import State, iso

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.faults import FaultBook

Page = Annotated[int, Query(ge=1)]
_UUID = TypeAdapter(UUID)


class ApiError(Exception):
    """A route refuses; what it says is an error envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(state: State, faults: FaultBook) -> FastAPI:
    """
    Return the application: the published routes, and ``/_sandbox/…`` that drives it from another process.

    :param state: the memory it works on.
    :param faults: the book that ``/_sandbox/faults`` writes into.
    """
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.include_router(_health())
    app.include_router(_workflows(state))
    app.include_router(_files(state))
    app.include_router(control_routes(state, faults))
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    return app


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


async def _refused(_: Request, error: Exception) -> Response:
    return _response(envelope(error.status if isinstance(error, ApiError) else 500, str(error)))


async def _no_route(_: Request, error: Exception) -> Response:
    return _response(envelope(error.status_code if isinstance(error, HTTPException) else 500))


def _health() -> APIRouter:
    router = APIRouter()

    @router.get("/health/")
    async def health() -> JSONResponse:
        return JSONResponse({"message": "ok"})

    return router


def _workflows(state: State) -> APIRouter:
    router = APIRouter(prefix="/v2/workflows")

    @router.get("/")
    async def list_workflows(page: Page = 1, page_size: Page = 20) -> Response:
        page_size = min(page_size, state.settings.page_size_cap)
        start = (page - 1) * page_size
        with state.lock:
            every = list(state.workflows.values())
        rows = [
            {"id": one.id, "name": one.name, "created_at": iso(one.created), "updated_at": iso(one.created)}
            for one in every[start : start + page_size]
        ]
        return _response(json_answer(200, {"count": len(every), "page": page, "page_size": page_size, "results": rows}))

    @router.get("/{workflow_id}/files/")
    async def list_files(workflow_id: str, page: Page = 1, page_size: Page = 20) -> Response:
        _known(state, workflow_id)
        answer: Any = state.page(workflow_id, page, min(page_size, state.settings.page_size_cap))
        if state.settings.mangle_page is not None:
            answer = state.settings.mangle_page(page, answer)
        return _response(json_answer(200, answer))

    async def submit(workflow_id: str, file: Annotated[UploadFile, File()]) -> Response:
        _known(state, workflow_id)
        row = state.add(workflow_id, name=file.filename, status="pending", processing=True)
        full = {**state.as_json(row), "workflow_id": workflow_id}
        return _response(json_answer(200, full if state.settings.submit_body == "full" else {"id": row.id}))

    router.post("/{workflow_id}/run/")(submit)
    router.post("/{workflow_id}/files/")(submit)

    @router.get("/{workflow_id}/files/{collection_id}/results/")
    async def results(workflow_id: str, collection_id: str) -> Response:
        _known(state, workflow_id)
        with state.lock:
            row = state.rows.get(collection_id)
            status = state.status_and_update(row)[0] if row is not None else None
        if row is None or row.workflow.id != workflow_id:
            raise ApiError(404, f"There is no file collection {json.dumps(collection_id)} in this workflow.")
        if status != "processed":
            raise ApiError(412, f"The collection is {status}; results are there when it is processed.")
        # The same for the same collection each time, as stored results are.
        value = hashlib.sha256(collection_id.encode()).hexdigest()[:8]
        fields = {"reference": {"value": value, "confidence": 97, "evidence": [{"page_number": 1, "text": value}]}}
        return _response(
            json_answer(200, {"collection_id": collection_id, "workflow_id": workflow_id, "results": fields})
        )

    return router


def _files(state: State) -> APIRouter:
    router = APIRouter(prefix="/v2/files")

    @router.delete("/{collection_id}/")
    async def delete_files(collection_id: str) -> Response:
        found = collection_id
        if state.settings.uuid_ids and collection_id not in state.rows:
            found = _as_uuid(collection_id)
        if state.delete(found):
            return Response(status_code=204)
        status = state.settings.second_delete_status if found in state.deleted else 404
        if status == 204:
            return Response(status_code=204)
        raise ApiError(status, "There is no such file collection.")

    return router


def _known(state: State, workflow_id: str) -> None:
    if workflow_id not in state.workflows:
        raise ApiError(404, f"There is no workflow {json.dumps(workflow_id)}.")


def _as_uuid(collection_id: str) -> str:
    """Return the id as it is stored; what is no UUID is refused as FastAPI refuses a path parameter of that type."""
    try:
        return str(_UUID.validate_python(collection_id))
    except ValidationError as error:
        items = [{**item, "loc": ("path", "collection_id")} for item in error.errors(include_url=False)]
        raise RequestValidationError(items) from None
