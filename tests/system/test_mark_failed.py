"""A purge marked failed while it deletes: under the scheduler, by the call that the grid view's button makes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_3, LocalAirflow
from tests.support.ledgers import GONE, Run, ledger_of
from tests.support.sandboxes import fill

DAG_ID = "marked_purge"
COLLECTIONS = 400
# What the task may take from the signal until its ledger is closed; Airflow 3.3 ends it for good a second later.
MOST_SECONDS = 4.0
SECONDS_TO_SIGKILL = 5.0
# From the supervisor's word that it sends the signal until the last request has gone out, on a machine that is busy.
MOMENT = 1.0
# The first is Airflow 3's, the other 2.11's.
SIGNALS = ("Server indicated the task shouldn't be running anymore", "State of this instance has been externally set")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d{4})")


class Marked:
    """One workflow, and the runs of the purge of it."""

    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, ledger: Path) -> None:
        self.sandbox = sandbox
        self._airflow = airflow
        self._ledger = ledger
        self.workflow_id, self.due = fill(sandbox, COLLECTIONS)
        self.run_id = ""

    def start(self) -> None:
        self.run_id = self._airflow.trigger(DAG_ID, {"workflow_id": self.workflow_id}, seconds=120)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        self._airflow.processes.wait_for(condition, what, seconds)

    def deletes(self) -> list[str]:
        return [request.path.rstrip("/").rpartition("/")[2] for request in self.sandbox.requests_to("DELETE")]

    def deleted(self) -> dict[str, int]:
        counts = self.sandbox.deleted
        return {each: counts[each] for each in self.due if each in counts}

    def mark_failed(self) -> None:
        body = {"new_state": "failed"} if AIRFLOW_3 else {"new_state": "failed", "dry_run": False}
        self._airflow.ask("PATCH", f"dags/{DAG_ID}/dagRuns/{self.run_id}/taskInstances/purge", body)

    def signalled(self) -> float:
        """When the supervisor sent SIGTERM, as ``time.time()``."""

        def is_told() -> bool:
            return any(signal in self._airflow.log(DAG_ID, self.run_id, "purge") for signal in SIGNALS)

        self.wait_for(is_told, "the signal")
        log = self._airflow.log(DAG_ID, self.run_id, "purge").splitlines()
        found = TIMESTAMP.search(next(line for line in log if any(signal in line for signal in SIGNALS)))
        assert found is not None
        return datetime.fromisoformat(found[0]).timestamp()

    def ended(self) -> float:
        """When the task's process was gone, as ``time.time()`` and a little late."""
        pid = self._airflow.task(DAG_ID, self.run_id, "purge")["pid"]

        def is_gone() -> bool:
            try:
                # The supervisor collects it later.
                return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
            except psutil.NoSuchProcess:
                return True

        self.wait_for(is_gone, "the end of the task's process")
        return time.time()

    def record(self) -> Run:
        runs = [run for run in ledger_of(self._ledger) if "plan.json" in run.files]
        (run,) = [run for run in runs if json.loads(run.files["plan.json"])["run"] == self.run_id]
        return run

    def closed(self) -> float:
        return (self._ledger / self.record().name / "summary.json").stat().st_mtime

    def check_it_stays_failed(self) -> None:
        assert self._airflow.wait_for_run(DAG_ID, self.run_id) == "failed"
        task = self._airflow.task(DAG_ID, self.run_id, "purge")
        assert (task["state"], task["try_number"]) == ("failed", 1)

    def finish(self) -> Run:
        """Run the purge once more, undisturbed."""
        self.start()
        assert self._airflow.wait_for_run(DAG_ID, self.run_id) == "success"
        return self.record()


@pytest.fixture
def marked(local_airflow: LocalAirflow, sandbox: Sandbox, ledger: Path) -> Iterator[Marked]:
    sandbox.clear_requests()
    sandbox.latency = 0.2
    yield Marked(local_airflow, sandbox, ledger)
    sandbox.latency = 0.0
    sandbox.clear_faults()
    sandbox.clear_requests()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("slow", [False, True], ids=["answers come", "answers take 20 s"])
def test_marked_failed_while_it_deletes(marked: Marked, slow: bool) -> None:
    sandbox = marked.sandbox
    marked.start()
    marked.wait_for(lambda: len(marked.deletes()) > 40, "the first deletes", 120)
    if slow:
        sandbox.fail_next(COLLECTIONS, "slow", method="DELETE", delay=20)
        marked.wait_for(lambda: sum(request.fault == "slow" for request in sandbox.requests) == 4, "four that wait")
    marked.mark_failed()
    signalled = marked.signalled()
    ended = marked.ended()

    closed = marked.closed()
    assert closed - signalled <= MOST_SECONDS
    assert ended - signalled < SECONDS_TO_SIGKILL
    times = [request.time for request in sandbox.requests]
    assert max(times) <= min(signalled + MOMENT, closed)

    record, deleted, asked = marked.record(), marked.deleted(), set(marked.deletes())
    outcomes, summary = record.outcomes, record.summary
    record.check_digests()
    assert summary is not None
    assert set(record.planned) == set(marked.due)
    assert deleted.keys() == asked
    assert 0 < len(deleted) < COLLECTIONS
    assert {each for each, outcome in outcomes.items() if outcome != "not_attempted"} == asked
    assert summary["requested"] + summary["not_attempted"] == summary["due"] == COLLECTIONS
    unknown = {each for each, outcome in outcomes.items() if outcome == "unknown"}
    assert ("open.json" in record.files) == bool(unknown)
    assert summary["failed"] == len(unknown)
    if slow:
        assert len(unknown) == 4
    marked.check_it_stays_failed()
    assert len(sandbox.requests) == len(times)

    sandbox.clear_faults()
    sandbox.latency = 0.0
    later = marked.finish()
    assert later.summary is not None
    assert later.summary["failed"] == 0
    assert marked.deleted() == dict.fromkeys(marked.due, 1)
    assert {later.outcomes[each] for each in unknown} <= {"gone_unconfirmed"}
    assert {each for each, outcome in later.outcomes.items() if outcome == "deleted"} == set(marked.due) - asked
    gone = {each for run in (record, later) for each, outcome in run.outcomes.items() if outcome in GONE}
    assert gone == set(marked.due)
