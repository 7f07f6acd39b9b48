"""
Real DAG runs: one process and one migrated SQLite database for the whole session.

Two ways of running, both on every supported Airflow line:

``dag_runner.run(dag_file)``
    ``DAG.test()``, which is what ``airflow dags test`` calls, in this process: the scheduling loop, templates, XComs,
    mapping, retries, callbacks and state changes are Airflow's own, and on 3.x the task speaks with the execution API
    through the in-process supervisor. A task with ``retries=1`` really runs twice, its ``retry_delay`` cut to nothing.
    ``dag_runner.clear(result, "task")`` clears a finished task instance as the UI does and runs it again.

``dag_runner.start_task(dag_file, "task")``
    The task in a process of its own under the supervisor that a worker uses (2.11: ``airflow tasks run --local``, the
    LocalTaskJob that forks the raw task; 3.x: ``supervise`` with the in-process execution API, which forks the task
    runner). It takes 2 to 6 s. For signals see ``TaskProcess`` in ``tests/support/task_process.py``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dag_results import Alarm
from tests.support.dag_runner import DagRunner
from tests.support.fork_server import ForkServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trace the rules alone: the other tests run Airflow for the most part, and what is ours runs elsewhere, too."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.path.stem != "test_rules":
            item.add_marker("untraced")


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Migrate the session's database, once."""
    alarm = Alarm()
    from airflow.utils import db

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        db.initdb()
    alarm.set()


@pytest.fixture(scope="session")
def task_server() -> Iterator[ForkServer]:
    """Yield what starts a task's supervisor in a process of its own."""
    running = ForkServer("tests.support.task_server")
    yield running
    running.stop()


@pytest.fixture
def dag_runner(airflow_database: None, task_server: ForkServer) -> Iterator[DagRunner]:
    """Give the runner of real DAG runs; see the head of this file."""
    runner = DagRunner(task_server)
    yield runner
    runner.end()
