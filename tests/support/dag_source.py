"""What the tests of DAGs that delete share."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.support.dag_results import AIRFLOW_3, TaskResult

HEAD = """
    from __future__ import annotations
    from datetime import datetime, timedelta, timezone
    from airflow_provider_anyformat._airflow import DAG, BaseOperator, task
    from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

    BEGIN = {"schedule": None, "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    QUICK = {"retries": 2, "retry_delay": timedelta(0)}
"""


def failed_at_once(task: TaskResult, *words: str) -> str:
    """Assert that Airflow did not try again although it might have, and give the reason as the task log has it."""
    assert (task.state, [attempt.state for attempt in task.attempts]) == ("failed", ["failed"]), task.log
    assert type(task.exception).__name__ == "AirflowFailException"
    text = str(task.exception)
    for word in words:
        assert word in text
    log = unescaped(task.log)
    for line in text.splitlines():
        assert line.strip() in log
    return text


def unescaped(log: str) -> str:
    """Give the log twice, once with those characters plain that some of Airflow's formats escape."""
    plain = log
    for escaped, character in [("\\n", "\n"), ("\\\\", "\\"), ("\\'", "'"), ('\\"', '"')]:
        plain = plain.replace(escaped, character)
    return log + plain


@functools.cache
def _kept() -> Any:
    from airflow.sdk.execution_time import supervisor

    return functools.cache(supervisor.in_process_api_server)


def keep_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tasks of ``DAG.test()`` share one API: 3.1 builds a new one, which takes seconds, for each of them."""
    if AIRFLOW_3:
        monkeypatch.setattr("airflow.sdk.execution_time.supervisor.in_process_api_server", _kept())
