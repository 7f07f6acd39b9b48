"""Runs of documents: the tries of a task, Airflow's store between them, and the operators with short waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow_provider_anyformat.bulk import batch
from airflow_provider_anyformat.operators.workflows import RunWorkflowBatchOperator, RunWorkflowOperator


class WorkerCrash(BaseException):
    """The worker dies here: nothing that follows is carried out."""


class StateStore(dict[str, Any]):
    """Airflow's ``task_state_store`` as far as it is used; it outlives a try."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


class TaskRuns:
    """
    The tries of one task.

    :param store: what outlives a try; ``None`` for Airflow before 3.3.
    """

    def __init__(self, store: StateStore | None = None, retries: int = 2) -> None:
        self.store = store
        self.retries = retries
        self.started = datetime.now(UTC)
        self.try_number = 0
        self.max_tries = retries
        self.xcoms: dict[str, Any] = {}
        self.crash_at: str | None = None

    def clear(self) -> None:
        """As a person who clears the finished task."""
        self.max_tries = self.try_number + self.retries
        self.started = datetime.now(UTC)

    def context(self) -> dict[str, Any]:
        """Begin the next try."""
        self.try_number += 1
        self.xcoms = {}
        return self.resumed()

    def resumed(self) -> dict[str, Any]:
        """Go on with a try that was deferred."""
        instance = SimpleNamespace(
            dag_id="d",
            task_id="t",
            run_id="r",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            xcom_push=self._push,
        )
        context = {"ti": instance, "dag_run": SimpleNamespace(start_date=self.started)}
        return context if self.store is None else context | {"task_state_store": self.store}

    def _push(self, key: str, value: Any) -> None:
        if key == self.crash_at:
            raise WorkerCrash
        self.xcoms[key] = value


def run_operator(workflow: str, document: Path | str, **given: Any) -> RunWorkflowOperator:
    """Make the operator, with short waits."""
    quick = {"poll_interval": 0.5, "deferrable": False, "retries": 2}
    return RunWorkflowOperator(task_id="t", workflow_id=workflow, document=str(document), **{**quick, **given})


def batch_operator(workflow: str, documents: Any, results_path: Path | str, **given: Any) -> RunWorkflowBatchOperator:
    """Make the operator, with short waits."""
    quick = {"poll_interval": 0.5, "deferrable": False, "retries": 2}
    return RunWorkflowBatchOperator(
        task_id="t", workflow_id=workflow, documents=documents, results_path=str(results_path), **{**quick, **given}
    )


def run_batch(try_number: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run a try of a batch whose DAG run began an hour ago."""
    # The server of a test is near.
    batch._SETTLE = 0.5
    runs = TaskRuns(retries=1000)
    runs.try_number, runs.started = try_number - 1, datetime.now(UTC) - timedelta(hours=1)
    summary: dict[str, Any] = batch_operator(**parameters, retries=1000).execute(runs.context())
    return summary


async def first_event(waiting: Any) -> Any:
    async for event in waiting.run():
        return event.payload
    return None
