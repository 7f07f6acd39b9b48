"""Processes that a script or a test starts, and ends by their ids, whatever becomes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

# What a developer's shell may hold and what is started here must not see.
FOREIGN = ("AIRFLOW_", "_AIRFLOW_", "ANYFORMAT_", "PYTHON", "COV", "PYTEST_")


class NotStartedError(Exception):
    """What did not start, or ended by itself, and the last it said."""


def bare_environment(**extra: str) -> dict[str, str]:
    """Give this process's environment without what would change how Airflow behaves, and with ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"} | extra


def free_port(wanted: int = 0) -> int:
    """Give a port of loopback on which nobody listens now: the wanted one if it is such a one."""
    with socket.socket() as listener:
        # Connections of a server that has just ended keep a port busy for others only.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """
    Let SIGTERM and a closed terminal unwind as Ctrl-C does, so that no process is left behind.

    Only the first signal does: one more, such as a second Ctrl-C, would cut short the ending of the processes.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Processes:
    """
    Named processes, each in a session of its own, so that Ctrl-C at a terminal reaches only who started them.

    :param logs: folder of the files that hold what they print, made if it is missing.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> int:
        """Start a command; return its process id. What it prints is added to ``<name>.log``."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as output:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._running[name].pid

    def log(self, name: str) -> str:
        """Give what a process has printed so far."""
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """
        See that all still run.

        :raises NotStartedError: one has ended by itself.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                last = "\n".join(self.log(name).splitlines()[-30:])
                raise NotStartedError(f"{name} ended with exit code {process.returncode}:\n{last}")

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """
        Wait until something is so, while all run.

        :raises NotStartedError: it did not become so, or a process ended.
        """
        end = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > end:
                raise NotStartedError(f"{what} did not come about within {seconds:.0f} s; the logs are in {self._logs}")
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """End one and all that it started at once, as a machine that fails does."""
        process = self._running.pop(name)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()

    def stop(self, name: str, seconds: float = 15) -> None:
        """End one as a user would, with SIGTERM; what is left of it and its children after a while, at once."""
        process = self._running.pop(name)
        self._end([process], seconds)

    def stop_all(self, seconds: float = 15) -> None:
        """End all of them at the same time, likewise."""
        processes = list(self._running.values())
        self._running.clear()
        self._end(processes, seconds)

    def _end(self, processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
        family = set()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                family.update(psutil.Process(process.pid).children(recursive=True))
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + seconds
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                family.update(psutil.Process(process.pid).children(recursive=True))
        # Tasks that outlive their supervisor, first as a worker ends them, then for good.
        _, left = psutil.wait_procs(family, timeout=0.1)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        _, left = psutil.wait_procs(left, timeout=6)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
