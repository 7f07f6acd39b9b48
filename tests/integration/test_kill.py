"""A purge that is killed with SIGKILL: the plan is on disk, little is missing, and the next run settles all of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.fork_server import ForkServer
from tests.support.ledgers import GONE, Run, age, ledger_of
from tests.support.sandboxes import QUICK
from tests.support.waiting import until

pytestmark = pytest.mark.untraced

COLLECTIONS = 260
MOST_MISSING = 200


@dataclass
class Purger:
    """Starts purges of one workflow, each in a process of its own, and says what they left."""

    server: ForkServer
    sandbox: Sandbox
    workflow_id: str
    folder: Path
    runs: int = 0
    pid: int = 0

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def top_up(self, listed: int = COLLECTIONS) -> None:
        """See to it that so many are due."""
        missing = listed - len(self.sandbox.collections(self.workflow_id))
        self.sandbox.fill(self.workflow_id, missing, created_at=datetime.now(UTC) - timedelta(days=100))

    def start(self, die_at_sync: int = 0, largest_file: int = 0, **parameters: Any) -> None:
        self.runs += 1
        age(self.ledger)
        given = {"workflow_id": self.workflow_id, "ledger_path": str(self.ledger), **parameters}
        limits = {"die_at_sync": die_at_sync, "largest_file": largest_file}
        order = {"parameters": given, "run_id": f"run-{self.runs}", **limits}
        env = os.environ | self.sandbox.conn_env(QUICK)
        self.pid = self.server.start(order, env, self.folder / f"output-{self.runs}")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        until(lambda: not psutil.pid_exists(self.pid), 30, self.output)
        # What was sent takes effect, though nobody is there for the answer.
        time.sleep(0.1)

    def output(self) -> str:
        return (self.folder / f"output-{self.runs}").read_text()

    def last(self) -> Run | None:
        """The last run's folder, if it came so far."""
        return next((run for run in ledger_of(self.ledger) if f"/run-{self.runs}/" in run.name), None)


@pytest.fixture
def purger(anyformat_sandbox: Sandbox, purge_server: ForkServer, tmp_path: Path) -> Iterator[Purger]:
    anyformat_sandbox.rate_limit = None
    anyformat_sandbox.latency = 0.02
    purger = Purger(purge_server, anyformat_sandbox, anyformat_sandbox.add_workflow(), tmp_path)
    yield purger
    if purger.pid:
        purger.kill()


def check_run(purger: Purger, deleted_before: Counter[str]) -> int:
    """Hold what a killed run left against the server's own count; give how many deletes it has no record of."""
    deleted = set(Counter(purger.sandbox.deleted) - deleted_before)
    run = purger.last()
    if run is None or not run.planned:
        assert not deleted, "something was deleted before the plan was on disk"
        return 0
    assert deleted <= set(run.planned)
    outcomes = run.outcomes
    assert {each for each, outcome in outcomes.items() if outcome == "deleted"} <= deleted
    missing = deleted - outcomes.keys()
    assert len(missing) <= MOST_MISSING
    return len(missing)


def check_everything(purger: Purger) -> None:
    """Every id that any run planned has an outcome that says it is gone, and no delete took effect twice."""
    purger.start()
    purger.wait()
    assert "summary" in purger.output(), purger.output()
    assert purger.sandbox.collections(purger.workflow_id) == []
    assert set(purger.sandbox.deleted.values()) <= {1}
    runs = ledger_of(purger.ledger)
    last = purger.last()
    assert last is not None
    last.check_digests()
    said: dict[str, set[str]] = {}
    for run in runs:
        for each, outcome in run.outcomes.items():
            said.setdefault(each, set()).add(outcome)
    planned = {each for run in runs for each in run.planned}
    assert planned == set(purger.sandbox.deleted)
    assert [each for each in planned if not said.get(each, set()) & GONE] == []
    # Once more: there is nothing left to settle.
    purger.start()
    purger.wait()
    again = purger.last()
    assert again is not None
    assert (again.planned, again.outcomes) == ([], {})


def kill_at_request(
    purger: Purger, number: int, delay: float = 0.0, method: str | None = None, **parameters: Any
) -> None:
    """Kill the next run a moment after its n-th request has arrived."""
    numbers = itertools.count(1)

    def kill(request: Any) -> None:
        if method in (None, request.method) and next(numbers) == number:
            threading.Timer(delay, os.killpg, (purger.pid, signal.SIGKILL)).start()

    purger.sandbox.on_request[:] = [kill]
    purger.start(**parameters)
    purger.wait()
    purger.sandbox.on_request.clear()


@pytest.mark.timeout(300)
def test_at_twenty_random_moments(purger: Purger) -> None:
    # The next run asks for each collection of which it knows nothing.
    purger.sandbox.latency = 0.005
    dice = random.Random(20)
    seen = Counter[str]()
    pages = COLLECTIONS // 100
    for number in range(20):
        purger.top_up()
        before = Counter(purger.sandbox.deleted)
        # From the first page of the listing until almost all is deleted.
        request = int((number + dice.random()) * (pages + COLLECTIONS - 10) / 20) + 1
        kill_at_request(purger, request, dice.random() * 0.03)
        missing = check_run(purger, before)
        deleted = (Counter(purger.sandbox.deleted) - before).total()
        assert deleted < COLLECTIONS
        seen["while deleting"] += deleted > 0
        seen["with deletes that nobody wrote down"] += missing > 0
    check_everything(purger)
    assert seen["while deleting"] >= 15, seen
    assert seen["with deletes that nobody wrote down"] >= 10, seen


@pytest.mark.parametrize("workers", [1, 64])
def test_as_soon_as_two_hundred_are_deleted(purger: Purger, workers: int) -> None:
    purger.sandbox.latency = 0.0
    purger.top_up()
    kill_at_request(purger, 230, method="DELETE", max_workers=workers)
    check_run(purger, Counter())
    assert len(purger.sandbox.deleted) >= 200
    check_everything(purger)


def test_at_every_page_of_the_listing(purger: Purger) -> None:
    purger.top_up(250)
    for page in range(1, 4):
        kill_at_request(purger, page)
        assert purger.last() is None
    assert purger.sandbox.deleted == {}
    check_everything(purger)


def test_while_the_plan_and_the_first_outcomes_are_written(purger: Purger) -> None:
    """Each write is brought to the disk in several steps; it dies at each of the first ones."""
    purger.sandbox.latency = 0.0
    seen = Counter[str]()
    for step in range(1, 17):
        purger.top_up(40)
        before = Counter(purger.sandbox.deleted)
        purger.start(die_at_sync=step)
        purger.wait()
        check_run(purger, before)
        run = purger.last()
        seen["no plan" if run is None else ",".join(sorted(run.files))] += 1
    assert seen["no plan"] >= 1, seen
    assert seen["plan.jsonl"] >= 1, seen
    assert seen["plan.json,plan.jsonl"] >= 1, seen
    check_everything(purger)


def test_plans_of_killed_runs_that_are_due_no_more_stay_open_until_they_are_gone(purger: Purger) -> None:
    purger.top_up(30)
    rows = purger.sandbox.collections(purger.workflow_id)
    purger.sandbox.latency = 0.2
    purger.start(max_workers=1)
    until(lambda: purger.sandbox.deleted)
    purger.kill()
    purger.sandbox.latency = 0.0
    run = purger.last()
    assert run is not None
    assert len(run.planned) == 30
    # One is reprocessed and so not due for now; a person deletes it later by hand.
    odd = next(row["id"] for row in rows if row["id"] in purger.sandbox)
    purger.sandbox.update_collection(odd, status="in_progress")
    purger.start()
    purger.wait()
    later = purger.last()
    assert later is not None
    assert odd not in later.outcomes
    assert [row["id"] for row in purger.sandbox.collections(purger.workflow_id)] == [odd]
    purger.sandbox.remove_collection(odd)
    purger.start()
    purger.wait()
    last = purger.last()
    assert last is not None
    assert last.outcomes == {odd: "gone_unconfirmed"}


def test_a_disk_that_is_full_from_the_start(purger: Purger) -> None:
    purger.top_up(100)
    # The plan's rows do not fit.
    purger.start(largest_file=12_000)
    purger.wait()
    assert "AnyformatLedgerError" in purger.output()
    assert purger.sandbox.requests_to("DELETE") == []
    assert [path for path in purger.ledger.rglob("*") if path.is_file()] == []
    check_everything(purger)
