"""``make airflow``: it comes up, says where it is and what is true, and leaves no process behind however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from scripts.airflow import HOME
from scripts.local_airflow import AIRFLOW_3, LocalAirflow

ROOT = Path(__file__).resolve().parents[2]
# The terminal that Ctrl-C comes from has to be taken by the process itself.
AT_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "scripts.airflow"])
"""
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not AIRFLOW_3, reason="make airflow starts the newest line alone"),
]


class Terminal:
    """
    ``make airflow`` at a terminal of its own.

    The command is the one of the Makefile, in the environment of the tests: that make has made.
    """

    def __init__(self) -> None:
        self.said = ""
        self._seen: set[psutil.Process] = set()
        self._screen, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_A_TERMINAL],
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, text: str, seconds: float = 150) -> str:
        """Read what is said until a text comes."""
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, self.said
            if not select.select([self._screen], [], [], 0.5)[0]:
                continue
            try:
                self.said += os.read(self._screen, 4096).decode()
            except OSError:  # the other end has closed it
                assert text in self.said, self.said
        return self.said

    def family(self) -> list[psutil.Process]:
        """Give every process that it has started and that runs."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update(found)
        return found

    def press_ctrl_c(self) -> None:
        """Send what the key sends."""
        os.write(self._screen, b"\x03")

    def end_by(self, number: signal.Signals) -> None:
        """Send a signal, and see that it ends all of it."""
        family = self.family()
        self.process.send_signal(number)
        self.read_until("ended", 40)
        assert self.process.wait(10) == 0
        wait_until_gone(family)

    def end(self) -> None:
        """End it, whatever state it is in, and what it should have ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self._screen)
        for left in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.end()


def wait_until_gone(family: list[psutil.Process]) -> None:
    assert psutil.wait_procs(family, timeout=5)[1] == []


def scheduler_of(terminal: Terminal) -> psutil.Process:
    """Wait until the scheduler has been started."""
    end = time.monotonic() + 60
    while not (found := [child for child in terminal.family() if "scheduler" in child.cmdline()]):
        assert time.monotonic() < end, terminal.said
        time.sleep(0.2)
    return found[0]


def visit(said: str) -> LocalAirflow:
    """Give the Airflow that was started, as a user has it who has read what was said."""
    (port,) = re.findall(r"^Airflow 3\.\S+ +http://127\.0\.0\.1:(\d+)", said, re.MULTILINE)
    airflow = LocalAirflow(HOME, port=int(port))
    (airflow.password,) = re.findall(r"admin, password (\S+)", said)
    return airflow


def check_the_approval(airflow: LocalAirflow, said: str) -> None:
    """Approve the plan: as many go as was promised, without a warning, and no field shows what is internal."""
    ((dag_id, promised),) = re.findall(
        r"Dags > (\w+) > Trigger\..*approve it, and (\d+) collections go", said, re.DOTALL
    )
    run_id = airflow.trigger(dag_id)
    assert f"**{promised} file collections will be" in airflow.question(dag_id, run_id, "approve")["body"]
    airflow.answer(dag_id, run_id, "approve", "Approve")
    assert airflow.wait_for_run(dag_id, run_id) == "success"

    (url,) = re.findall(r"^sandbox +(\S+),", said, re.MULTILINE)
    deleted = requests.get(f"{url}/_sandbox/state", timeout=30).json()["deleted"]
    assert list(deleted.values()) == [1] * int(promised)
    for task_id, end in (
        ("plan", f"plan only, nothing was deleted: would delete {promised}, keep 50 of 190"),
        ("apply", f"done: deleted {promised}, already gone 0, failed 0, not attempted 0, kept 0"),
    ):
        lines = [json.loads(line) for line in airflow.log(dag_id, run_id, task_id).splitlines()]
        assert {line["level"] for line in lines} == {"info"}
        assert end in {line["event"] for line in lines}
        shown = json.dumps(airflow.task(dag_id, run_id, task_id)["rendered_fields"])
        assert not re.search(r"object at|not_?given|not_?set|left_out", shown, re.IGNORECASE)


def test_what_it_promises_comes_true_and_ctrl_c_ends_all_of_it(terminal: Terminal) -> None:
    said = terminal.read_until("Ctrl-C ends all of it.").replace("\r", "")
    airflow = visit(said)
    assert airflow.ask("GET", "connections/anyformat_default")["conn_type"] == "anyformat"
    check_the_approval(airflow, said)
    family = terminal.family()
    assert len(family) >= 4

    terminal.press_ctrl_c()
    terminal.read_until("ending Airflow")
    # Impatience changes nothing.
    terminal.press_ctrl_c()

    terminal.read_until("ended", 40)
    assert terminal.process.wait(10) == 0
    wait_until_gone(family)


def test_a_closed_terminal_ends_what_is_just_starting(terminal: Terminal) -> None:
    """It begins right after another has ended, in the same folder."""
    scheduler_of(terminal)
    terminal.end_by(signal.SIGHUP)


def test_a_part_that_dies_ends_the_rest_and_is_named(terminal: Terminal) -> None:
    scheduler = scheduler_of(terminal)
    family = terminal.family()

    scheduler.kill()

    terminal.read_until("airflow: scheduler ended with exit code -9:", 40)
    assert terminal.process.wait(10) == 1
    wait_until_gone(family)


def test_a_second_one_leaves_the_first_alone_and_sigterm_ends_that(terminal: Terminal) -> None:
    terminal.read_until("starting Airflow")
    second = Terminal()
    try:
        second.read_until("airflow: one is running already in .airflow/local: end that first", 40)
        assert second.process.wait(10) == 1
    finally:
        second.end()
    assert terminal.process.poll() is None
    terminal.end_by(signal.SIGTERM)
