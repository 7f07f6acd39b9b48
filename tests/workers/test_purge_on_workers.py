"""A purge that is spread over Celery workers, of which one dies, and the same in one task."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from tests.workers.cluster import HOSTS, Cluster
from tests.workers.measuring import LIMIT, WINDOW, measure

pytestmark = pytest.mark.timeout(480)

# Nobody else uses this key; what is left is for what the tasks cannot know of each other.
QUOTA_RESERVE = 0.02
OUTAGE = 3.0
GONE = {"deleted", "already_gone"}


@dataclass(frozen=True)
class Workflow:
    """Collections on the server: those that a purge is to delete, and those that it must not."""

    id: str
    due: list[str]
    held: list[str]
    others: list[str]

    @property
    def conf(self) -> dict[str, Any]:
        """What a run is started with."""
        return {"workflow_id": self.id, "legal_holds": self.held, "quota_reserve": QUOTA_RESERVE}


def fill(sandbox: Sandbox, due: int) -> Workflow:
    workflow_id = sandbox.add_workflow()
    old, young = (datetime.now(UTC) - timedelta(days=days) for days in (120, 10))
    ids = sandbox.fill(workflow_id, due, created_at=old, step=timedelta(seconds=1))
    held = sandbox.fill(workflow_id, 20, created_at=old)
    others = sandbox.fill(workflow_id, 100, created_at=young)
    for status in ("in_progress", "error"):
        others += sandbox.fill(workflow_id, 20, status=status, created_at=old)
    return Workflow(workflow_id, ids, held, others)


def tries(ledger: Path) -> dict[tuple[int, int], tuple[dict[str, str], bool]]:
    """Read of each map index and try what became of each id, and whether the try was brought to its end."""
    found: dict[tuple[int, int], tuple[dict[str, str], bool]] = {}
    for plan in ledger.rglob("plan.json"):
        *_, map_index, _, try_number, _, _ = plan.parts
        outcomes: dict[str, str] = {}
        for part in sorted(plan.parent.glob("outcomes-*.jsonl")):
            rows = map(json.loads, part.read_text().splitlines())
            outcomes |= {row["collection_id"]: row["outcome"] for row in rows}
        found[int(map_index), int(try_number)] = (outcomes, (plan.parent / "summary.json").exists())
    return found


def check_server(sandbox: Sandbox, *workflows: Workflow) -> None:
    """See that all that was due is gone, was deleted once, and nothing else was."""
    assert sandbox.deleted == {each: 1 for workflow in workflows for each in workflow.due}
    for workflow in workflows:
        left = {row["id"] for row in sandbox.collections(workflow.id)}
        assert left == {*workflow.held, *workflow.others}
    assert sandbox.cancelled == set()


def check_ledger(ledger: Path, workflow: Workflow) -> tuple[int, int]:
    """
    See that each id has its outcome, also those whose try was killed.

    :return: how many tries were killed, and how many deletes had gone through that these had no time to write down.
    """
    by_try = tries(ledger)
    last: dict[str, str] = {}
    told: defaultdict[str, list[str]] = defaultdict(list)
    for _, (outcomes, _) in sorted(by_try.items()):
        last |= outcomes
        for collection_id, outcome in outcomes.items():
            told[collection_id].append(outcome)
    assert set(last) == set(workflow.due)
    assert set(last.values()) <= GONE
    assert max(outcomes.count("deleted") for outcomes in told.values()) == 1
    killed = [outcomes for outcomes, ended in by_try.values() if not ended]
    lost = [collection_id for collection_id, outcomes in told.items() if "deleted" not in outcomes]
    assert all(told[collection_id][-1] == "already_gone" for collection_id in lost)
    return len(killed), len(lost)


def test_batches_survive_a_dead_worker_an_outage_and_a_new_scheduler_and_one_task_is_as_fast(
    cluster: Cluster, tell: list[str]
) -> None:
    airflow, sandbox = cluster.airflow, cluster.sandbox
    spread = fill(sandbox, 4000)
    dag_id = "example_anyformat_purge_batches"
    run_id = airflow.trigger(dag_id, spread.conf)

    cluster.wait_for_deletes(1000, 120)
    killed_at = time.time()
    airflow.processes.kill("worker-2")
    # As long as Kubernetes takes for a new pod.
    time.sleep(10)
    cluster.start_workers("worker-2")

    cluster.wait_for_deletes(2300, 120)
    outage = time.time()
    sandbox.fail_rate(1.0, (503,))
    time.sleep(OUTAGE)
    sandbox.clear_faults()
    outage_ends = time.time()

    cluster.wait_for_deletes(3000, 120)
    airflow.processes.stop("scheduler")
    airflow.start("scheduler")

    assert airflow.wait_for_run(dag_id, run_id, 240) == "success"
    check_server(sandbox, spread)
    killed, lost = check_ledger(cluster.ledger / dag_id, spread)
    replaced = next(
        record.time
        for record in sandbox.requests
        if record.time > killed_at + 1 and record.headers["host"].startswith(HOSTS["worker-2"])
    )
    figures = measure(sandbox.requests, len(HOSTS), [(killed_at, replaced), (outage, outage_ends)])
    tell.append(f"mapped batches on two workers: {figures}; {killed} tries killed, {lost} deletes without a record")
    # Else it was no death amid its work.
    assert killed > 0
    assert lost > 0
    assert any(record.status == 503 for record in sandbox.requests)
    assert figures.refused <= 0.02
    assert figures.measured >= 3 * WINDOW
    assert figures.throughput >= 0.9

    # The server's window in which the batches ended is over, so that the next request begins one.
    time.sleep(max(0.0, sandbox.requests[-1].time + WINDOW - time.time()))
    sandbox.clear_requests()
    single = fill(sandbox, 2000)
    run_id = airflow.trigger("purge_in_one_task", single.conf)

    assert airflow.wait_for_run("purge_in_one_task", run_id, 240) == "success"
    check_server(sandbox, spread, single)
    check_ledger(cluster.ledger / "purge_in_one_task", single)
    figures = measure(sandbox.requests, 1)
    tell.append(f"one task: {figures}")
    tell.append(f"the limit: {LIMIT} requests in {WINDOW:g} s; the machine: {os.cpu_count()} cores")
    assert figures.refused <= 0.02
    assert figures.measured >= 3 * WINDOW
    assert figures.throughput >= 0.9
