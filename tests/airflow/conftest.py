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
    runner). It takes 2 to 6 s. For signals see ``TaskProcess`` in ``process.py``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.recording import Alarm
from tests.airflow.runner import DagRunner


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
def task_starter() -> Iterator[Callable[[dict[str, Any]], int]]:
    """Give what starts a task's supervisor: one helper process for the session, itself started when first used."""
    helpers: list[subprocess.Popen[str]] = []

    def start(order: dict[str, Any]) -> int:
        if not helpers:
            script = str(Path(__file__).parent / "task_process.py")
            plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
            helpers.append(
                subprocess.Popen(
                    [sys.executable, script],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=plain,
                )
            )
        stdin, stdout = helpers[0].stdin, helpers[0].stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the helper process has no pipes")
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return int(stdout.readline())

    yield start
    for helper in helpers:
        helper.communicate(timeout=10)


@pytest.fixture
def dag_runner(airflow_database: None, task_starter: Callable[[dict[str, Any]], int]) -> Iterator[DagRunner]:
    """Give the runner of real DAG runs; see the head of this file."""
    runner = DagRunner(task_starter)
    yield runner
    runner.end()
