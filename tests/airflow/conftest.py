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
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support.dag_results import Alarm
from tests.support.dag_runner import DagRunner
from tests.support.fork_server import ForkServer


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Measure no coverage: what these tests run is Airflow for the most part, at half the speed where it is traced."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Set a test of this folder up untraced."""
    with _untraced():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Run a test of this folder untraced."""
    with _untraced():
        return (yield)


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
