"""Helpers that both versions of the API share: refusals, ids and uploads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError

from airflow_provider_anyformat.sandbox.answers import Answer
from airflow_provider_anyformat.sandbox.documents import Document, read
from airflow_provider_anyformat.sandbox.rows import Workflow
from airflow_provider_anyformat.sandbox.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import UploadFile

    from airflow_provider_anyformat.sandbox.rows import Row

_UUID = TypeAdapter(UUID)


class ApiError(Exception):
    """
    A route refuses; what it says is an error envelope.

    :param fields: more of :func:`~airflow_provider_anyformat.sandbox.answers.envelope`.
    """

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.fields = fields


def response(answer: Answer) -> Response:
    """Return an answer as FastAPI sends it."""
    return Response(answer.body, answer.status, dict(answer.headers))


def canonical(text: str) -> str:
    """Return an id as it is stored, whether it came with hyphens or without; what is not a UUID as it is."""
    try:
        return str(_UUID.validate_python(text))
    except ValidationError:
        return text


def checked_uuid(text: str, name: str) -> str:
    """Return the id as it is stored; what is not a UUID is refused as FastAPI refuses a path parameter of that type."""
    try:
        return str(_UUID.validate_python(text))
    except ValidationError as error:
        items = [{**item, "loc": ("path", name)} for item in error.errors(include_url=False)]
        raise RequestValidationError(items) from None


async def current(request: Request) -> State:
    """Return the memory of the sandbox that a request came to: all sandboxes of a process share their routes."""
    state: State = request.scope["sandbox"]
    return state


Current = Annotated[State, Depends(current)]


async def known(workflow_id: str, state: Current) -> Workflow:
    """Return a workflow by its id in any spelling; 404 if it does not exist."""
    found = state.workflows.get(workflow_id) or state.workflows.get(canonical(workflow_id))
    if found is None:
        raise ApiError(404, f"There is no workflow {json.dumps(workflow_id)}.")
    return found


Known = Annotated[Workflow, Depends(known)]


def find_row(state: State, collection_id: str) -> Row | None:
    """Return a collection by its id in any spelling."""
    return state.rows.get(collection_id) or state.rows.get(canonical(collection_id))


def deleted(state: State, collection_id: str, name: str) -> Response:
    """
    Delete a collection; 404 where it does not exist, or what a second delete is to be answered.

    :param name: of the path parameter, for a 422.
    """
    if state.settings.uuid_ids and collection_id not in state.rows:
        collection_id = checked_uuid(collection_id, name)
    if state.delete(collection_id):
        return Response(status_code=204)
    status = state.settings.second_delete_status if collection_id in state.deleted else 404
    if status == 204:
        return Response(status_code=204)
    raise ApiError(status, "There is no such file collection.")


async def accepted(uploads: Sequence[UploadFile]) -> list[Document]:
    """Read uploads; 400 where one of them is not accepted."""
    documents = [await read(upload) for upload in uploads]
    for document in documents:
        if document.problem:
            raise ApiError(400, document.problem)
    return documents


def field_names(nodes: list[dict[str, Any]], fields: list[dict[str, Any]]) -> list[str]:
    """Return the names of the fields that a new workflow extracts: those of its nodes, or its own in the older form."""
    schemas = [schema for node in nodes if isinstance(schema := node.get("extraction_schema"), dict)]
    lists = [each for each in (fields, *(schema.get("fields") for schema in schemas)) if isinstance(each, list)]
    names = [field.get("name") for each in lists for field in each if isinstance(field, dict)]
    return [name for name in names if isinstance(name, str)]
