"""What the tests of listing, bulk delete and purge share: a task instance, a run's outcome, the log, the ledger."""

from __future__ import annotations

import inspect
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import AnyformatError
from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.settings import RequestRecord

# Waits that a test can afford. "min_retention" and the rest are what the table of the connection says.
QUICK = {"timeout": 5, "max_attempts": 3, "backoff": 0.001, "max_backoff": 5}
COUNTS = ("listed", "due", "requested", "deleted", "already_gone", "failed", "not_attempted")
SUMMARY = {"workflow_ids", "cutoff", *COUNTS, "kept", "plan_path", "plan_digest", "ledger", "summary_sha256"}
FOREVER = 1_000_000


@contextmanager
def connected_sandbox(
    monkeypatch: pytest.MonkeyPatch, extra: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Sandbox]:
    """Give a sandbox without a rate limit that the default connection leads to."""
    with Sandbox(**{"rate_limit": None, **settings}) as sandbox:
        connect(monkeypatch, sandbox, **(extra or {}))
        yield sandbox


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


@dataclass
class Instance:
    """As much of a task instance as an operator looks at."""

    max_tries: int
    try_number: int = 1
    dag_id: str = "retention"
    task_id: str = "purge"
    run_id: str = "scheduled__2026-11-24T00:00:00+00:00"
    map_index: int = -1
    pushed: list[tuple[str, Any]] = field(default_factory=list)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, json.loads(json.dumps(value))))


@dataclass(frozen=True)
class Ran:
    """
    How a run ended: what it returned, what it raised, and the summary it pushed.

    :param markdown: the plan as a ``plan_only`` run shows it to whoever approves it.
    """

    returned: Any
    error: BaseException | None
    pushed: dict[str, Any] | None
    markdown: str | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """The summary; where the task was green, the one it returned is the one it pushed."""
        assert self.pushed is not None, f"no summary was pushed; the task raised {self.error!r}"
        # A listing has a forecast, and ids that were given have none.
        assert set(self.pushed) - {"forecast"} == SUMMARY
        assert all(type(self.pushed[name]) is int for name in COUNTS)
        done = self.pushed["deleted"] + self.pushed["already_gone"] + self.pushed["failed"]
        assert self.pushed["requested"] == done
        assert self.error is not None or self.returned == self.pushed
        assert len(json.dumps(self.pushed)) < 2000
        return self.pushed

    def counts(self, *names: str) -> tuple[int, ...]:
        return tuple(self.summary[name] for name in names or COUNTS[2:])

    @property
    def is_green(self) -> bool:
        return self.error is None

    @property
    def is_final(self) -> bool:
        return isinstance(self.error, AirflowFailException)

    @property
    def is_retryable(self) -> bool:
        return isinstance(self.error, AnyformatError) and self.error.retryable

    @property
    def words(self) -> str:
        return str(self.error)


def rendered(kind: Any, **given: Any) -> Callable[..., Any]:
    """Return what makes tasks whose values came out of templates: they are read when a task runs, and not before."""

    def make(**more: Any) -> Any:
        values = given | more
        templated = {name: values[name] for name in values if name in kind.template_fields}
        task = kind(**values | dict.fromkeys(templated, "{{ params.x }}"))
        for name, value in templated.items():
            setattr(task, name, value)
        return task

    return make


def run(operator: Any, try_number: int = 1, max_tries: int | None = None, **context: Any) -> Ran:
    """Run a task's ``execute``; ``max_tries`` is other than ``retries`` after a clear."""
    instance = Instance(operator.retries if max_tries is None else max_tries, try_number, task_id=operator.task_id)
    returned, error = None, None
    try:
        # Airflow 2.11 wraps it in a check that knows of no thread but the main one.
        returned = inspect.unwrap(type(operator).execute)(operator, {"ti": instance, **context})
    except Exception as raised:  # noqa: BLE001 - how it ended is what the test asks
        error = raised
    pushed = dict(instance.pushed)
    assert len(pushed) == len(instance.pushed)
    assert pushed.keys() <= {"summary", "plan_markdown"}
    return Ran(returned, error, pushed.get("summary"), pushed.get("plan_markdown"))


class Lines(logging.Handler):
    """What the provider logged while a task ran."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def matching(self, pattern: str) -> list[re.Match[str]]:
        found = (re.search(pattern, record.getMessage()) for record in self.records)
        return [match for match in found if match]

    @property
    def last(self) -> logging.LogRecord:
        return self.records[-1]

    @property
    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self.records)


@contextmanager
def listening() -> Iterator[Lines]:
    """Collect what the provider logs."""
    lines, logger = Lines(), logging.getLogger("airflow_provider_anyformat")
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)


def statuses(sandbox: Sandbox, method: str = "DELETE") -> Counter[int | None]:
    """Count what the server answered."""
    return Counter(record.status for record in sandbox.requests_to(method))


def left(sandbox: Sandbox, workflow_id: str) -> set[str]:
    return {row["id"] for row in sandbox.collections(workflow_id)}


def passes(sandbox: Sandbox) -> int:
    """Count how often a listing was begun."""
    return sum("page=1&" in f"{record.query}&" for record in sandbox.requests_to("GET", "/files/"))


def at_request(sandbox: Sandbox, number: int, act: Callable[[], object], method: str = "DELETE") -> None:
    """Do something just before the server handles the ``number``-th request of a method."""
    seen = 0

    def look(record: RequestRecord) -> None:
        nonlocal seen
        seen += record.method == method
        if record.method == method and seen == number:
            act()

    sandbox.on_request.append(look)


def any_of(ids: Sequence[str]) -> str:
    """Return the ``path`` of a fault that befalls these ids."""
    return "|".join(ids)


def ledger_rows(folder: str, name: str = "outcomes-*.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(Path(folder).glob(name)) for line in file.read_text().splitlines()]


def ledger_outcomes(folder: str) -> dict[str, str]:
    """Return the outcome of each id; a later one outranks an earlier one, ``deleted`` outranks all."""
    outcomes: dict[str, str] = {}
    for row in ledger_rows(folder):
        if outcomes.get(row["collection_id"]) != "deleted":
            outcomes[row["collection_id"]] = row["outcome"]
    return outcomes


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)
