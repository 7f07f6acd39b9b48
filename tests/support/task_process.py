"""A task that runs in a process of its own, and what a test can do to it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.support.dag_results import TaskResult
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.dag_runner import DagRunner


@dataclass
class TaskProcess:
    """
    A task that runs under its supervisor, both in a process group that is not the tests' own.

    What the lines do when they are signalled: SIGTERM to the *task* makes 2.11 raise ``AirflowTaskTerminated`` in
    ``execute``, 3.x only call ``on_kill``. SIGTERM to the *supervisor*: 2.11 and 3.3 pass it on, 3.1 dies and leaves
    the task behind.

    :param supervisor: pid of the process that a worker would have started.
    :param pid: pid of the forked process that runs ``execute``.
    """

    runner: DagRunner
    dag: Any
    run_id: str
    task_id: str
    map_index: int
    supervisor: int
    pid: int
    output: Path

    def signal_task(self, number: int = signal.SIGTERM) -> None:
        """Signal the process that runs ``execute``, as a stopping pod or an operator at a shell does."""
        os.kill(self.pid, number)

    def signal_supervisor(self, number: int = signal.SIGTERM) -> None:
        """Signal the supervisor, as a worker that is shut down does."""
        os.kill(self.supervisor, number)

    def running(self) -> bool:
        """Say whether the task's own process is still there."""
        return bool(psutil.pid_exists(self.pid))

    def log(self) -> str:
        """Give the task's log so far: its log file, and what the supervisor printed."""
        folder = Path(os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])
        files = [path for path in sorted(folder.rglob("*.log")) if f"run_id={self.run_id}" in str(path)]
        return "".join(path.read_text(errors="replace") for path in [*files, self.output])

    def wait_for_log(self, pattern: str, timeout: float = 30) -> str:
        """Wait until the log matches the regular expression."""
        alive = True

        def is_there() -> bool:
            nonlocal alive
            found = re.search(pattern, self.log()) is not None
            assert found or alive, self.log()
            alive = psutil.pid_exists(self.supervisor)
            return found

        until(is_there, timeout, lambda: f"the task never logged {pattern!r}, it logged:\n{self.log()}")
        return self.log()

    def wait(self, timeout: float = 60) -> TaskResult:
        """Wait until task and supervisor have ended, and give what the task instance left behind."""
        until(lambda: not self.running() and not psutil.pid_exists(self.supervisor), timeout, self.log)
        result = self.runner.collect(self.dag, self.run_id, {}, "")
        task = result[self.task_id, self.map_index]
        return replace(task, log=self.log())

    def end(self) -> None:
        """Kill whatever is left of it."""
        for group in {self.supervisor, self.pid} - {0}:  # on 2.11 the task leads a group of its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
