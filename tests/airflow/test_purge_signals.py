"""A purge task that is told to end is red, closes its ledger in time, and sends nothing after; the next run settles."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.dag_results import AIRFLOW_VERSION
from tests.support.ledgers import GONE, Run, ledger_of
from tests.support.sandboxes import QUICK, at_request, fill
from tests.support.tasks import TaskInstance, purge
from tests.support.waiting import until

COLLECTIONS = 150
# What the task may take from the signal until its ledger is closed.
MOST_SECONDS = 4.0

DAG = """
    from __future__ import annotations
    from datetime import timedelta, datetime, timezone
    from airflow_provider_anyformat._airflow import DAG
    from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

    with DAG("purge_signals", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        PurgeFileCollectionsOperator(
            task_id="purge", workflow_id=WORKFLOW, older_than="P30D", ledger_path=LEDGER, max_workers=4,
            OTHER
        )
"""


class Purging:
    """One purge task, and what it left."""

    def __init__(self, sandbox: Any, dag_runner: Any, folder: Path) -> None:
        self.sandbox = sandbox
        self.ledger = folder / "ledger"
        self.archive = folder / "archive"
        self._runner = dag_runner
        self.workflow_id, self.due = fill(sandbox, COLLECTIONS)
        sandbox.rate_limit = None

    def start(self, **parameters: str) -> Any:
        self._runner.connect(json.loads(self.sandbox.conn_json(QUICK | {"timeout": 60})))
        other = "".join(f"{name}={value}, " for name, value in parameters.items())
        source = DAG.replace("WORKFLOW", repr(self.workflow_id)).replace("LEDGER", repr(str(self.ledger)))
        self.process = self._runner.start_task(source.replace("OTHER", other), "purge")
        return self.process

    def wait_until(self, reached: Callable[[], bool], seconds: float = 40) -> None:
        until(reached, seconds, self.process.log)

    def closed(self) -> bool:
        return next(self.ledger.rglob("summary.json"), None) is not None

    def run(self) -> Run:
        (run,) = ledger_of(self.ledger)
        return run

    def deletes(self) -> int:
        return len(self.sandbox.requests_to("DELETE"))


@pytest.fixture
def purging(anyformat_sandbox: Any, dag_runner: Any, tmp_path: Path) -> Purging:
    return Purging(anyformat_sandbox, dag_runner, tmp_path)


def check_end(purging: Purging, signalled: float, *, signals: int = 1) -> Run:
    """Hold the end against what was promised; ``signalled`` is by ``time.time()``."""
    purging.wait_until(purging.closed, MOST_SECONDS + 6)
    (summary,) = purging.ledger.rglob("summary.json")
    assert summary.stat().st_mtime - signalled <= MOST_SECONDS
    done = purging.process.wait()
    # On 2.11 a later signal may hit Airflow while it writes the state; then its scheduler finds the dead task.
    left_running = ("running",) if signals > 1 and AIRFLOW_VERSION < (3, 0) else ()
    assert done.state in ("failed", "up_for_retry", *left_running), done.log
    seen = len(purging.sandbox.requests)
    # A request under way takes effect, though nobody waits for its answer; none is sent.
    assert [request for request in purging.sandbox.requests if request.time > summary.stat().st_mtime] == []
    time.sleep(0.5)
    assert len(purging.sandbox.requests) == seen
    run = purging.run()
    run.check_digests()
    outcomes = run.outcomes
    asked = {request.path.rstrip("/").rpartition("/")[2] for request in purging.sandbox.requests_to("DELETE")}
    assert asked <= outcomes.keys()
    assert {each for each, outcome in outcomes.items() if outcome == "deleted"} <= purging.sandbox.deleted.keys()
    assert run.summary is not None
    counted = run.summary["deleted"] + run.summary["failed"] + run.summary["not_attempted"]
    assert counted == COLLECTIONS
    return run


def check_next_run(purging: Purging, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> None:
    """Run the purge again: each id is gone, once, and some run says so."""
    purging.sandbox.latency = 0.0
    purging.sandbox.clear_faults()
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", purging.sandbox.conn_json(QUICK))

    later = TaskInstance("purge_signals", run_id="later")
    purge(purging.workflow_id, later, ledger_path=str(purging.ledger), **parameters)
    assert purging.sandbox.deleted == dict.fromkeys(purging.due, 1)
    known = {e for run in ledger_of(purging.ledger) for e, outcome in run.outcomes.items() if outcome in GONE}
    assert known == set(purging.due)


def test_sigterm_in_the_middle_and_again(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    purging.sandbox.latency = 0.05
    process = purging.start()
    purging.wait_until(lambda: purging.deletes() > 40)
    signalled = time.time()
    for _ in range(3):
        process.signal_task(signal.SIGTERM)
        time.sleep(0.03)
    run = check_end(purging, signalled, signals=3)
    assert 0 < len(purging.sandbox.deleted) < COLLECTIONS
    assert run.outcomes.keys() >= purging.sandbox.deleted.keys()
    check_next_run(purging, monkeypatch)


def test_sigterm_while_answers_take_half_a_minute(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    process = purging.start()
    purging.wait_until(lambda: purging.deletes() > 20)
    for applied in (True, False) * 5:
        purging.sandbox.fail_next(1, "slow", method="DELETE", delay=30, applied=applied)
    stuck: list[str] = []

    def four_wait() -> bool:
        waiting = [r for r in purging.sandbox.requests_to("DELETE") if r.fault == "slow" and r.status is None]
        stuck[:] = [request.path.rstrip("/").rpartition("/")[2] for request in waiting]
        return len(stuck) == 4

    purging.wait_until(four_wait)
    signalled = time.time()
    process.signal_task(signal.SIGTERM)
    run = check_end(purging, signalled)
    assert {each: run.outcomes[each] for each in stuck} == dict.fromkeys(stuck, "unknown")
    assert "open.json" in run.files
    gone = set(stuck) & purging.sandbox.deleted.keys()
    assert 0 < len(gone) < 4
    check_next_run(purging, monkeypatch)
    later = next(run for run in ledger_of(purging.ledger) if "/later/" in run.name)
    expected = {each: "gone_unconfirmed" if each in gone else "deleted" for each in stuck}
    assert {each: later.outcomes[each] for each in stuck} == expected


def test_execution_timeout_while_answers_take_half_a_minute(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    at_request(purging.sandbox, 40, lambda: purging.sandbox.fail_rate(1.0, ["slow"], method="DELETE", delay=30))
    process = purging.start(execution_timeout="timedelta(seconds=4)", retries="1")
    purging.wait_until(lambda: purging.deletes() >= 40)
    started = time.time()
    done = process.wait(20)
    assert done.state == "up_for_retry", done.log
    assert "AirflowTaskTimeout" in done.log
    assert time.time() - started < 15
    run = check_end(purging, time.time())
    outcomes = Counter(run.outcomes.values())
    assert outcomes["unknown"] == 4
    assert outcomes["deleted"] >= 36
    check_next_run(purging, monkeypatch)


def test_sigterm_while_threads_wait_for_the_archive(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    process = purging.start(archive_path=repr(str(purging.archive)))
    purging.wait_until(lambda: purging.deletes() > 30)
    signalled = time.time()
    process.signal_task(signal.SIGTERM)
    check_end(purging, signalled)
    archived = {path.stem for path in purging.archive.rglob("*.json")}
    assert purging.sandbox.deleted.keys() <= archived
    check_next_run(purging, monkeypatch, archive_path=str(purging.archive))


def test_sigterm_while_it_lists(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    purging.sandbox.fail_next(10, "slow", method="GET", path="/files/", delay=30)
    process = purging.start()
    purging.wait_until(lambda: bool(purging.sandbox.requests_to("GET")))
    signalled = time.time()
    process.signal_task(signal.SIGTERM)
    done = process.wait(20)
    assert done.state == "failed", done.log
    assert time.time() - signalled < MOST_SECONDS + 4
    assert purging.deletes() == 0
    assert ledger_of(purging.ledger) == []
    check_next_run(purging, monkeypatch)


@pytest.mark.skipif(AIRFLOW_VERSION == (3, 1), reason="this line's supervisor does not pass the signal on")
def test_a_worker_that_is_shut_down(purging: Purging, monkeypatch: pytest.MonkeyPatch) -> None:
    purging.sandbox.latency = 0.05
    process = purging.start()
    purging.wait_until(lambda: purging.deletes() > 40)
    signalled = time.time()
    process.signal_supervisor(signal.SIGTERM)
    check_end(purging, signalled)
    check_next_run(purging, monkeypatch)
