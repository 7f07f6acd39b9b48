"""The approval example, run by the scheduler, with the answer given through Airflow's API, or not given at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_VERSION, USER, LocalAirflow
from tests.support.ledgers import Run, ledger_of

pytestmark = [
    pytest.mark.skipif(AIRFLOW_VERSION < (3, 1), reason="approvals came with Airflow 3.1"),
    pytest.mark.timeout(400),
]

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "example_anyformat_purge_approval.py"
DUE = 12
YOUNG = 3
RULES = """\
from pathlib import Path

from airflow_provider_anyformat.rules import retention_dags

retention_dags(Path(__file__).with_name("approvals.yaml"))
"""
# A day that comes in 2028, so that they run when they are told to.
APPROVALS = """\
version: 1
defaults: {{schedule: "0 0 29 2 *", ledger_path: {ledger}, owner: legal@example.org, basis: law, approval: true}}
rules:
  - {{name: asked, workflow_id: {workflow}, older_than: P90D}}
  - {{name: empty, workflow_id: {workflow}, older_than: P1000D}}
"""


@pytest.fixture(scope="module", autouse=True)
def approval_in_seconds(local_airflow: LocalAirflow) -> str:
    """Give the example with five seconds for the answer, which Airflow has read by the time that it is needed."""
    dag_id, source = "approval_in_seconds", EXAMPLE.read_text()
    for before, after in {
        '"example_anyformat_purge_approval"': f'"{dag_id}"',
        "time_to_answer: timedelta(days=2)": "time_to_answer: timedelta(seconds=5)",
    }.items():
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    (local_airflow.home / "dags" / f"{dag_id}.py").write_text(source)
    return dag_id


class Approval:
    """One run of the example: what it plans, asks and deletes."""

    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, ledger: Path) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self._ledger = ledger
        self.workflow_id = sandbox.add_workflow()
        now = datetime.now(UTC)
        self.due = sandbox.fill(self.workflow_id, DUE, created_at=now - timedelta(days=120), step=timedelta(hours=1))
        sandbox.fill(self.workflow_id, YOUNG, name="young-{}.pdf", created_at=now - timedelta(days=5))
        self.dag_id = self.run_id = ""

    def start(self, dag_id: str) -> None:
        self.dag_id = dag_id
        self.run_id = self.airflow.trigger(dag_id, {"workflow_id": self.workflow_id}, seconds=120)

    def question(self) -> dict[str, Any]:
        return self.airflow.question(self.dag_id, self.run_id, "approve")

    def answer(self, option: str) -> None:
        self.airflow.answer(self.dag_id, self.run_id, "approve", option)

    def end(self) -> tuple[str, dict[str, str]]:
        """The state of the run in the end, and those of its tasks."""
        run = self.airflow.wait_for_run(self.dag_id, self.run_id)
        tasks = ("plan", "approve", "apply")
        return run, {task: self.airflow.task(self.dag_id, self.run_id, task)["state"] for task in tasks}

    def records(self, task_id: str) -> list[Run]:
        """What a task of the run has left in the ledger."""
        runs = [run for run in ledger_of(self._ledger) if run.name.startswith(f"{self.dag_id}/{task_id}/")]
        return [run for run in runs if json.loads(run.files["plan.json"])["run"] == self.run_id]

    def asked_to_delete(self) -> list[str]:
        return [request.path.rstrip("/").rpartition("/")[2] for request in self.sandbox.requests_to("DELETE")]


@pytest.fixture
def approval(local_airflow: LocalAirflow, sandbox: Sandbox, ledger: Path) -> Iterator[Approval]:
    sandbox.clear_requests()
    yield Approval(local_airflow, sandbox, ledger)
    sandbox.clear_requests()


def test_approved(approval: Approval) -> None:
    sandbox = approval.sandbox
    approval.start("example_anyformat_purge_approval")
    question = approval.question()
    (plan,) = approval.records("plan")
    assert question["options"] == ["Approve", "Reject"]
    assert not question["defaults"]
    body = question["body"]
    assert f"**{DUE} file collections will be permanently deleted**, of {DUE + YOUNG} listed." in body
    assert f"| `{approval.workflow_id}` | {DUE} |" in body
    assert f"| too_young | {YOUNG} |" in body
    assert [each for each in approval.due if each in body] == approval.due[:10]
    assert f"Digest: `{json.loads(plan.files['plan.json'])['digest']}`" in body
    assert approval.asked_to_delete() == []

    changed, *rest = approval.due
    sandbox.update_collection(changed, updated_at=datetime.now(UTC))
    since = sandbox.add_collection(approval.workflow_id, created_at=datetime.now(UTC) - timedelta(days=150))
    approval.answer("Approve")

    assert approval.end() == ("success", {"plan": "success", "approve": "success", "apply": "success"})
    assert sorted(approval.asked_to_delete()) == sorted(rest)
    assert {each: sandbox.deleted[each] for each in rest} == dict.fromkeys(rest, 1)
    assert changed in sandbox
    assert since in sandbox
    assert len(sandbox.collections(approval.workflow_id)) == YOUNG + 2
    (applied,) = approval.records("apply")
    assert json.loads(applied.files["plan.json"])["approved_by"] == USER
    assert applied.outcomes == dict.fromkeys(rest, "deleted")
    assert applied.summary is not None
    assert applied.summary["kept"] == {"changed": 1}


def test_rules_rejected_and_with_nothing_due(approval: Approval, local_airflow: LocalAirflow, ledger: Path) -> None:
    dags = local_airflow.home / "dags"
    (dags / "approvals.yaml").write_text(APPROVALS.format(ledger=ledger, workflow=approval.workflow_id))
    (dags / "approvals.py").write_text(RULES)
    approval.start("anyformat_retention_empty")
    assert approval.end() == ("success", {"plan": "success", "approve": "skipped", "apply": "skipped"})

    approval.start("anyformat_retention_asked")
    assert f"**{DUE} file collections will be permanently deleted**" in approval.question()["body"]
    approval.answer("Reject")

    # An answer is no failure: the run is green, and nothing was deleted.
    assert approval.end() == ("success", {"plan": "success", "approve": "success", "apply": "skipped"})
    assert approval.asked_to_delete() == []
    assert approval.records("apply") == []


def test_nobody_answers(approval: Approval, approval_in_seconds: str) -> None:
    approval.start(approval_in_seconds)

    assert approval.end() == ("failed", {"plan": "success", "approve": "failed", "apply": "upstream_failed"})
    assert approval.asked_to_delete() == []
    assert approval.records("apply") == []
