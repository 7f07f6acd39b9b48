"""
A purge into which a signal raises, at any line of the main thread: nothing is lost, and nothing is counted twice.

On Airflow 2.11 SIGTERM, and everywhere ``execution_timeout``, raise a ``BaseException`` in the main thread, wherever
that happens to be. Here it is raised at a chosen line, so that each test hits another one and can be repeated.
"""

from __future__ import annotations

import itertools
import linecache
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.bulk import pool, recorder, report, signals
from airflow_provider_anyformat.bulk import run as bulk_run
from airflow_provider_anyformat.exceptions import AnyformatStoppedError
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
from airflow_provider_anyformat.retention import folder, ledger, settling
from tests.support.ledgers import GONE, Run, age, ledger_of
from tests.support.sandboxes import QUICK, fill
from tests.support.tasks import TaskInstance, purge

# A file that is open when the exception comes is closed with its last reference.
pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore::ResourceWarning")]

COLLECTIONS = 60
TRACED = {str(module.__file__) for module in (pool, bulk_run, recorder, signals, ledger, settling, folder)}


class Interrupted(BaseException):
    """Stands for ``AirflowTaskTerminated`` and ``AirflowTaskTimeout``."""


class Interrupter:
    """
    Counts the lines that the main thread runs in the traced files, and raises at one of them.

    :param at: the number of that line; 0 for none.
    :param since: the function with whose first call the counting begins; default: it begins at once.
    """

    def __init__(self, at: int = 0, since: Any = None) -> None:
        self.lines = 0
        self.at = at
        self.raised = ""
        self._since = since and since.__code__

    def trace(self, frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if self._since in (None, frame.f_code):
            self._since = None
        if name not in TRACED or self._since is not None:
            return None
        # Leaving a "with" is one step to a signal; at its line a tracer would come in between.
        if event == "line" and not linecache.getline(name, frame.f_lineno).strip().startswith("with "):
            self.lines += 1
            if self.lines == self.at:
                self.raised = f"{Path(name).name}:{frame.f_lineno}"
                raise Interrupted(self.raised)
        return self.trace

    @contextmanager
    def watching(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


class Case:
    """One purge of a few dozen collections, interrupted, and what it left."""

    def __init__(self, sandbox: Any, folder: Path, seed: int, **parameters: Any) -> None:
        self.sandbox = sandbox
        self.folder = folder / str(seed)
        self.workflow_id, self.due = fill(sandbox, COLLECTIONS)
        self.parameters = {"ledger_path": str(self.folder), "max_workers": 4, **parameters}

    def run(self, interrupter: Interrupter) -> None:
        with interrupter.watching():
            if not interrupter.at:
                purge(self.workflow_id, TaskInstance(), **self.parameters)
                return
            with pytest.raises(Interrupted):
                purge(self.workflow_id, TaskInstance(), **self.parameters)

    def deleted(self) -> set[str]:
        return {each for each, times in self.sandbox.deleted.items() if each in self.due and times == 1}

    def check(self, interrupter: Interrupter) -> None:
        where = interrupter.raised
        asked = len(self.sandbox.requests)
        alive = [thread.name for thread in threading.enumerate() if thread.name.startswith("anyformat-delete")]
        assert alive == [], where
        runs = ledger_of(self.folder)
        for run in runs:
            self.check_run(run, where)
        if self.deleted():
            assert runs[0].summary is not None, where
        assert len(self.sandbox.requests) == asked, where

    def check_run(self, run: Run, where: str) -> None:
        outcomes = run.outcomes
        assert self.deleted() <= outcomes.keys(), where
        assert {e for e, outcome in outcomes.items() if outcome in ("deleted", "already_gone")} <= self.deleted(), where
        if run.summary is None:
            return
        run.check_digests()
        counts = {name: list(outcomes.values()).count(name) for name in ("deleted", "unknown", "not_attempted")}
        assert run.summary["deleted"] == counts["deleted"], where
        assert run.summary["failed"] == counts["unknown"], where
        # Those that were never handed out have no row.
        assert run.summary["not_attempted"] == COLLECTIONS - counts["deleted"] - counts["unknown"], where
        assert ("open.json" in run.files) == (counts["unknown"] > 0), where

    def check_next(self, where: str) -> None:
        age(self.folder)
        purge(self.workflow_id, TaskInstance(run_id="run-2"), **self.parameters)
        assert self.deleted() == set(self.due), where
        runs = ledger_of(self.folder)
        known = {e for run in runs for e, outcome in run.outcomes.items() if outcome in GONE}
        assert known == set(self.due), where


@pytest.fixture
def sandbox(anyformat_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    anyformat_sandbox.rate_limit = None
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", anyformat_sandbox.conn_json(QUICK))
    # So that a few dozen outcomes take several parts, and the threads have to wait for the record.
    for module, name, value in ((pool, "MOST_UNRECORDED", 16), (recorder, "MOST_UNRECORDED", 16)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(pool, "_POLL", 0.001)
    return anyformat_sandbox


def count_lines(sandbox: Any, folder: Path, since: Any = None) -> int:
    case, interrupter = Case(sandbox, folder, -1), Interrupter(since=since)
    case.run(interrupter)
    return interrupter.lines


# Of the whole run, most lines are those of deleting; half of the moments are in its last tenth, where it all ends.
@pytest.mark.parametrize("part", [(0.0, 1.0), (0.85, 1.0)], ids=["anywhere", "at the end"])
def test_once(sandbox: Any, tmp_path: Path, part: tuple[float, float]) -> None:
    lines, dice = count_lines(sandbox, tmp_path), random.Random(1)
    hit = set()
    for seed in range(14):
        case = Case(sandbox, tmp_path, seed)
        interrupter = Interrupter(int(lines * dice.uniform(*part)) or 1)
        try:
            case.run(interrupter)
        except pytest.fail.Exception:
            # It would have come after this run's last line: how many there are varies with the threads.
            assert not interrupter.raised
            lines = interrupter.lines
            continue
        case.check(interrupter)
        case.check_next(interrupter.raised)
        hit.add(interrupter.raised)
    assert len(hit) >= 6, hit


class Signals:
    """
    Real signals, several in a row, each of which raises in the main thread while it carries out a plan.

    :param after: the number of deletes after which the first one comes.
    :param gaps: seconds between the others.
    """

    def __init__(self, sandbox: Any, after: int, gaps: list[float]) -> None:
        self.raised = 0
        self._gaps = gaps
        self._numbers = itertools.count(1)
        self._after = after
        self._thread = threading.Thread(target=self._send)
        sandbox.on_request[:] = [self._look]

    def _look(self, request: Any) -> None:
        if request.method == "DELETE" and next(self._numbers) == self._after:
            self._thread.start()

    def _send(self) -> None:
        for gap in [0.0, *self._gaps]:
            time.sleep(gap)
            os.kill(os.getpid(), signal.SIGUSR1)

    def _handle(self, _: int, frame: Any) -> None:
        while frame is not None:
            if frame.f_code is bulk_run.DeletionRun.carry_out.__code__:
                self.raised += 1
                raise Interrupted
            frame = frame.f_back

    @contextmanager
    def coming(self) -> Iterator[None]:
        before = signal.signal(signal.SIGUSR1, self._handle)
        try:
            yield
        finally:
            self._thread.join()
            signal.signal(signal.SIGUSR1, before)


def test_again_and_again(sandbox: Any, tmp_path: Path) -> None:
    """More signals while it ends must not undo that."""
    dice = random.Random(2)
    sandbox.latency = 0.02
    several = closed = 0
    for seed in range(12):
        case = Case(sandbox, tmp_path, seed)
        signals = Signals(sandbox, dice.randint(5, 40), [dice.random() * 0.02 for _ in range(3)])
        with signals.coming(), pytest.raises(Interrupted):
            purge(case.workflow_id, TaskInstance(), **case.parameters)
        sandbox.on_request.clear()
        several += signals.raised > 1
        (run,) = ledger_of(case.folder)
        closed += run.summary is not None
        case.check_run(run, str(seed))
        case.check_next(str(seed))
    assert several >= 3
    # There are a few instructions, before the guarded ones, at which a second signal leaves the rest to the next run.
    assert closed >= 10


def test_at_every_line_of_the_end(sandbox: Any, tmp_path: Path) -> None:
    """From when the last delete is recorded to the end; no thread is left that could make the lines vary."""
    since = bulk_run.DeletionRun._end
    lines = count_lines(sandbox, tmp_path, since)
    hit = set()
    for at in range(1, lines, 8):
        case, interrupter = Case(sandbox, tmp_path, at), Interrupter(at, since)
        case.run(interrupter)
        case.check(interrupter)
        hit.add(interrupter.raised)
    assert len(hit) >= 10, hit


def test_while_answers_are_slow(sandbox: Any, tmp_path: Path) -> None:
    """What is under way is unknown, until its answer comes within the two seconds."""
    lines, dice = count_lines(sandbox, tmp_path), random.Random(3)
    sandbox.latency = 0.03
    unknown = 0
    for seed in range(8):
        case = Case(sandbox, tmp_path, seed)
        interrupter = Interrupter(int(lines * dice.uniform(0.3, 0.8)))
        try:
            case.run(interrupter)
        except pytest.fail.Exception:
            assert not interrupter.raised
            lines = interrupter.lines
            continue
        case.check(interrupter)
        (run,) = ledger_of(case.folder)
        unknown += any(row["outcome"] == "unknown" for row in run.rows("outcomes-"))
        case.check_next(interrupter.raised)
    assert unknown >= 3


@pytest.mark.parametrize("deletes", [1, 30, COLLECTIONS], ids=["first", "in the middle", "last"])
def test_a_killed_task_is_never_green(sandbox: Any, tmp_path: Path, deletes: int) -> None:
    """On Airflow 3 SIGTERM raises nothing: ``on_kill`` is all that is called, and ``execute`` goes on."""
    case = Case(sandbox, tmp_path, 0)
    operator = PurgeFileCollectionsOperator(
        task_id="purge", workflow_id=case.workflow_id, older_than="P30D", **case.parameters
    )
    numbers = itertools.count(1)
    sandbox.on_request.append(
        lambda request: operator.on_kill() if request.method == "DELETE" and next(numbers) == deletes else None
    )
    ti = TaskInstance()
    with pytest.raises(AnyformatStoppedError):
        operator.execute({"ti": ti})
    (run,) = ledger_of(case.folder)
    case.check_run(run, "")
    assert ti.xcoms["summary"]["deleted"] == len(case.deleted())
    assert len(sandbox.requests_to("DELETE")) <= deletes + case.parameters["max_workers"]
    case.check_next("")


@pytest.mark.parametrize(
    "parameters", [{"plan_only": True}, {"older_than": "P9999D"}], ids=["plan_only", "nothing due"]
)
def test_a_killed_task_that_deletes_nothing_is_not_green_either(
    sandbox: Any, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    workflow_id, _ = fill(sandbox, 3)
    given = {"older_than": "P30D", **parameters}
    operator = PurgeFileCollectionsOperator(task_id="purge", workflow_id=workflow_id, **given)
    plan = report.make_summary

    def late(*args: Any) -> Any:
        operator.on_kill()
        return plan(*args)

    monkeypatch.setattr(bulk_run, "make_summary", late)
    with pytest.raises(AnyformatStoppedError):
        operator.execute({})
    assert sandbox.deleted == {}


def test_a_stop_while_thousands_are_recorded(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow a store is, a stop costs a few puts and not one for each hundred rows."""
    workflow_id, _ = fill(sandbox, 4000)
    sandbox.fail_next(1000, 401, method="DELETE")
    operator = PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id=workflow_id,
        older_than="P30D",
        max_deletions="unlimited",
        ledger_path=str(tmp_path / "ledger"),
    )
    put, puts = folder.LocalFolder.put, itertools.count(1)
    after: list[str] = []

    def counted(self: folder.LocalFolder, name: str, data: bytes) -> None:
        if next(puts) == 8:
            operator.on_kill()
        if operator._killed:
            after.append(name)
        put(self, name, data)

    monkeypatch.setattr(folder.LocalFolder, "put", counted)
    ti = TaskInstance()
    with pytest.raises(AnyformatStoppedError):
        operator.execute({"ti": ti})
    assert 1 <= len(after) <= 5
    assert after[-1] == "summary.json"
    assert ti.xcoms["summary"]["not_attempted"] + ti.xcoms["summary"]["failed"] == 4000
