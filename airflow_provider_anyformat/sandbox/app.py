"""The application: anyformat's routes on FastAPI, and ``/_sandbox/…``, which drives them from another process."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_provider_anyformat.sandbox import control, v2, v3
from airflow_provider_anyformat.sandbox.answers import envelope, json_answer
from airflow_provider_anyformat.sandbox.common import ApiError, response

health = APIRouter()


@cache
def create_app() -> FastAPI:
    """Return the application, once for all sandboxes of a process: building it takes longer than starting a server."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    for router in (health, v2.router, v3.router, control.router):
        app.include_router(router)

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return response(envelope(error.status, str(error), **error.fields))

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> Response:
        return response(json_answer(422, {"detail": [_item(item) for item in error.errors()]}))

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        return response(envelope(error.status_code))

    return app


def _item(item: Any) -> dict[str, Any]:
    # As FastAPI writes it, but without an input that is a whole document or could not be written as JSON.
    shown: dict[str, Any] = {name: item[name] for name in ("type", "loc", "msg") if name in item}
    if isinstance(item.get("input"), str | int | None) and "input" in item:
        shown["input"] = item["input"]
    if "ctx" in item:
        shown["ctx"] = {name: str(value) for name, value in item["ctx"].items()}
    return shown


@health.get("/health/")
async def show_health() -> JSONResponse:
    """Say that the server is there."""
    return JSONResponse({"message": "ok"})
