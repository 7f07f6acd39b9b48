"""
Routes under ``/_sandbox/``, which control a sandbox that runs in another process.

They need no key, because the sandbox listens on loopback only and all data is made up.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, create_model

from airflow_provider_anyformat.sandbox.common import Current
from airflow_provider_anyformat.sandbox.faults import CHANGES, TRANSIENT, Fault

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.settings import RequestRecord
    from airflow_provider_anyformat.sandbox.state import State


router = APIRouter(prefix="/_sandbox")


class Fill(BaseModel):
    """
    Body of ``POST /_sandbox/fill``.

    :param workflow_id: an unknown one is made; default: a new one.
    :param n: how many collections.
    :param status: of each, default ``processed``.
    :param name: of each; ``{}`` becomes its number.
    :param created_at: of the first, default now.
    :param step: seconds by which each is younger than the one before, default 0.
    """

    model_config = ConfigDict(extra="forbid")

    workflow_id: str | None = None
    n: int = Field(ge=0)
    status: str = "processed"
    name: str | None = "document-{}.pdf"
    created_at: datetime | None = None
    step: float = 0.0


class FailDocument(BaseModel):
    """Body of ``POST /_sandbox/documents``: the parameters of ``Sandbox.fail_document``."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Literal["error", "cancelled"] = "error"
    detail: str = ""


class _Plan(BaseModel):
    """The requests that go wrong; the fields of a fault, which say how, are added below."""

    model_config = ConfigDict(extra="forbid")

    k: int = 1
    kind: str | int = "status"
    fraction: float | None = None
    kinds: list[str | int] | None = None
    seed: int = 0
    method: str | None = None
    path: str | None = None


if TYPE_CHECKING:
    Faults = _Plan
else:
    _HINTS = get_type_hints(Fault)
    Faults = create_model("Faults", __base__=_Plan, **{name: (_HINTS[name] | None, None) for name in CHANGES})


@router.get("/state")
async def show_state(state: Current) -> dict[str, Any]:
    with state.lock:
        workflows = [
            {"id": one.id, "name": one.name, "count": one.count, "statuses": state.statuses(one.id)}
            for one in list(state.workflows.values())
        ]
        counts = {name: dict(getattr(state, name)) for name in ("submitted", "started", "deleted")}
        return {
            "workflows": workflows,
            "created": list(state.created),
            **counts,
            "cancelled": sorted(state.cancelled),
        }


@router.post("/fill")
async def fill(state: Current, body: Fill) -> dict[str, Any]:
    workflow_id = body.workflow_id
    if workflow_id is None or workflow_id not in state.workflows:
        workflow_id = state.add_workflow(workflow_id, "workflow")
    ids = state.fill(
        workflow_id,
        body.n,
        status=body.status,
        name=body.name,
        created_at=body.created_at or state.now(),
        step=timedelta(seconds=body.step),
    )
    return {"workflow_id": workflow_id, "ids": ids}


@router.get("/requests")
async def show_requests(state: Current, method: Annotated[str | None, Query()] = None) -> list[dict[str, Any]]:
    return [_shown(state, record) for record in list(state.log) if method in (None, record.method)]


@router.delete("/requests", status_code=204, response_model=None)
async def clear_requests(state: Current) -> None:
    state.log.clear()


@router.post("/faults", status_code=204, response_model=None)
async def add_faults(state: Current, body: Faults) -> None:
    changes = body.model_dump(include=set(CHANGES), exclude_unset=True)
    try:
        if body.fraction is None:
            state.faults.next(body.k, body.kind, method=body.method, path=body.path, **changes)
        else:
            kinds = TRANSIENT if body.kinds is None else body.kinds
            state.faults.rate(body.fraction, kinds, seed=body.seed, method=body.method, path=body.path, **changes)
    except ValueError as error:
        raise RequestValidationError([{"loc": ("body",), "msg": str(error), "type": "value_error"}]) from None


@router.delete("/faults", status_code=204, response_model=None)
async def clear_faults(state: Current) -> None:
    state.faults.clear()
    state.failing.clear()


@router.post("/documents", status_code=204, response_model=None)
async def fail_document(state: Current, body: FailDocument) -> None:
    state.failing.append((body.name, body.status, body.detail))


def _shown(state: State, record: RequestRecord) -> dict[str, Any]:
    # A real key may come here by mistake. The reply says whether it is valid, and never shows it.
    key: Literal["missing", "valid", "wrong"] = "missing"
    if "authorization" in record.headers:
        key = "valid" if state.key_is_valid(record.headers["authorization"].partition(" ")[2].strip()) else "wrong"
    return {
        "method": record.method,
        "path": record.path,
        "query": record.query,
        "headers": {name: value for name, value in record.headers.items() if name not in ("authorization", "cookie")},
        "key": key,
        "body_length": record.body_length,
        "time": record.time,
        "client_port": record.client_port,
        "status": record.status,
        "fault": record.fault,
    }
