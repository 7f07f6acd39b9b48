"""A sandbox as tests use it: connected to, filled, and asked what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from tests.support.tracing import untraced

# Waits that a test can afford. "min_retention" and the rest are what the table of the connection says.
QUICK = {"timeout": 5, "max_attempts": 3, "backoff": 0.001, "max_backoff": 5}
FOREVER = 1_000_000
# For tests whose meaning is the same on either version of the API, and whose way through ``api/`` is not.
on_both_versions = pytest.mark.parametrize("version", ["v2", "v3"])
# Where either version is asked for a page of a listing, and for one collection.
LISTINGS, LOOKS = r"/(files|document-packets)/$", r"(/results/|/v3/document-packets/[^/]+/)$"


@contextmanager
def connected_sandbox(
    monkeypatch: pytest.MonkeyPatch, extra: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Sandbox]:
    """Give a sandbox without limits that the default connection leads to; its own tests trace it."""
    sandbox = Sandbox(**{"rate_limit": None, "submission_limit": None, **settings})
    with untraced():
        sandbox.start()
    try:
        connect(monkeypatch, sandbox, **(extra or {}))
        yield sandbox
    finally:
        sandbox.stop()


def connect(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, conn_id: str = "anyformat_default", **extra: Any
) -> None:
    for name, value in sandbox.conn_env({**QUICK, **extra}, conn_id).items():
        monkeypatch.setenv(name, value)


def ago(days: float = 0, **more: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days, **more)


def old(sandbox: Sandbox, workflow_id: str, n: int, days: float = 100) -> list[str]:
    """Add ``n`` processed collections, a minute apart, the oldest first; return their ids in this order."""
    return sandbox.fill(workflow_id, n, created_at=ago(days), step=timedelta(minutes=1))


def fill(sandbox: Sandbox, count: int, days: int = 100, **fields: Any) -> tuple[str, list[str]]:
    """Make a workflow with ``count`` due collections and one that is too young; give its id and those of the due."""
    workflow_id = sandbox.add_workflow()
    due = sandbox.fill(workflow_id, count, created_at=ago(days), **fields)
    sandbox.add_collection(workflow_id, name="young.pdf")
    return workflow_id, due


def any_of(ids: Sequence[str]) -> str:
    """Return the ``path`` of a fault that befalls these ids."""
    return "|".join(ids)


def at_request(sandbox: Sandbox, number: int, act: Callable[[], object], method: str = "DELETE") -> None:
    """Do something just before the server handles the ``number``-th request of a method."""
    seen = 0

    def look(record: RequestRecord) -> None:
        nonlocal seen
        seen += record.method == method
        if record.method == method and seen == number:
            act()

    sandbox.on_request.append(look)


def statuses(sandbox: Sandbox, method: str = "DELETE") -> Counter[int | None]:
    """Count what the server answered."""
    return Counter(record.status for record in sandbox.requests_to(method))


def asked(sandbox: Sandbox) -> list[str]:
    """Return the ids that the server was asked to delete, each as often as it was asked."""
    return [record.path.rstrip("/").rpartition("/")[2] for record in sandbox.requests_to("DELETE")]


def left(sandbox: Sandbox, workflow_id: str) -> set[str]:
    return {row["id"] for row in sandbox.collections(workflow_id)}


def passes(sandbox: Sandbox) -> int:
    """Count how often a listing was begun."""
    return sum(map(is_first_page, sandbox.requests_to("GET", LISTINGS)))


def is_first_page(record: RequestRecord) -> bool:
    """Say whether the first page of a listing was asked for."""
    return "page=1&" in f"{record.query}&" or record.query == "limit=100"


def versions_asked(sandbox: Sandbox) -> set[str]:
    """Return the versions of the API that were asked for anything."""
    return {record.path.split("/")[1] for record in sandbox.requests} & {"v2", "v3"}


def submits(sandbox: Sandbox) -> int:
    """Count the documents that the server took."""
    return sum(sandbox.submitted.values())
