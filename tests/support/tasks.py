"""A task as Airflow runs it, without Airflow: a task instance, ``execute``, and how it ended."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import AnyformatError
from airflow_provider_anyformat.operators.files import ListFileCollectionsOperator, PurgeFileCollectionsOperator

COUNTS = ("listed", "due", "requested", "deleted", "already_gone", "failed", "not_attempted")
SUMMARY = {"workflow_ids", "cutoff", *COUNTS, "kept", "plan_path", "plan_digest", "ledger", "summary_sha256"}


@dataclass
class TaskInstance:
    """As much of a task instance as the operators look at."""

    dag_id: str = "nightly"
    task_id: str = "purge"
    run_id: str = "run-1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        assert key not in self.xcoms, f"{key} was pushed twice"
        self.xcoms[key] = json.loads(json.dumps(value))


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
    most = operator.retries if max_tries is None else max_tries
    instance = TaskInstance(task_id=operator.task_id, try_number=try_number, max_tries=most)
    returned, error = None, None
    try:
        # Airflow 2.11 wraps it in a check that knows of no thread but the main one.
        returned = inspect.unwrap(type(operator).execute)(operator, {"ti": instance, **context})
    except Exception as raised:  # noqa: BLE001 - how it ended is what the test asks
        error = raised
    assert instance.xcoms.keys() <= {"summary", "plan_markdown"}
    return Ran(returned, error, instance.xcoms.get("summary"), instance.xcoms.get("plan_markdown"))


list_task = rendered(ListFileCollectionsOperator, task_id="list")
purge_task = rendered(PurgeFileCollectionsOperator, task_id="purge", older_than="P90D")


def listed(**given: Any) -> list[Any]:
    """Run a listing that ends green, and give what it returned."""
    ran = run(list_task(**given))
    assert ran.is_green, ran.words
    assert ran.pushed is None
    found: list[Any] = ran.returned
    return found


def purged(**given: Any) -> dict[str, Any]:
    """Run a purge of what is older than 90 days that ends green, and give its summary."""
    ran = run(purge_task(**given))
    assert ran.is_green, ran.words
    return ran.summary


def purge(workflow_id: str, ti: TaskInstance | None = None, /, **parameters: Any) -> dict[str, Any]:
    """Run ``execute`` of a purge of what is older than 30 days, and give its summary."""
    given = {"older_than": "P30D", "max_deletions": "unlimited", **parameters}
    operator = PurgeFileCollectionsOperator(task_id="purge", workflow_id=workflow_id, **given)
    return operator.execute({} if ti is None else {"ti": ti})
