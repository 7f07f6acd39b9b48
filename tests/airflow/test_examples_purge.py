"""The purge examples, run for real against the sandbox."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.dag_results import AIRFLOW_VERSION

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture
def due(anyformat_sandbox: Any, dag_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A workflow with six collections that are due and four that are too young."""
    sandbox = anyformat_sandbox
    workflow_id = sandbox.add_workflow()
    now = datetime.now(UTC)
    ages = [timedelta(days=100 + n, hours=1) for n in range(6)]
    sandbox.due_ids = [sandbox.add_collection(workflow_id, created_at=now - age) for age in ages]
    for n in range(4):
        sandbox.add_collection(workflow_id, name=f"young-{n}.pdf", created_at=now - timedelta(days=n))
    dag_runner.connect(json.loads(sandbox.conn_json()))
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH", str(tmp_path / "ledger"))
    sandbox.workflow_id = workflow_id
    return sandbox


def run(dag_runner: Any, name: str, sandbox: Any, **conf: Any) -> Any:
    return dag_runner.run(EXAMPLES / f"{name}.py", conf={"workflow_id": sandbox.workflow_id, **conf})


def summaries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.rglob("summary.json")]


def test_nightly_purge(due: Any, dag_runner: Any, tmp_path: Path) -> None:
    result = run(dag_runner, "example_anyformat_nightly_purge", due)

    assert result.state == "success", result.log
    assert due.deleted == dict.fromkeys(due.due_ids, 1)
    assert len(due.collections(due.workflow_id)) == 4
    summary = result["purge"].xcoms["summary"]
    assert summary == result["purge"].return_value
    assert (summary["listed"], summary["due"], summary["deleted"], summary["kept"]) == (10, 6, 6, {"too_young": 4})
    (written,) = summaries(tmp_path / "ledger")
    assert written["deleted"] == 6


def test_plan_only(due: Any, dag_runner: Any) -> None:
    result = run(dag_runner, "example_anyformat_plan_only", due, older_than="P101D")

    assert result.state == "success", result.log
    assert due.deleted == {}
    assert due.requests_to("DELETE") == []
    summary = result["plan"].return_value
    assert (summary["due"], summary["kept"]) == (5, {"too_young": 5})


def test_batches(due: Any, dag_runner: Any, tmp_path: Path) -> None:
    result = run(dag_runner, "example_anyformat_purge_batches", due, batch_size=4)

    assert result.state == "success", result.log
    assert [len(batch) for batch in result["due"].return_value] == [4, 2]
    assert [task.state for task in result.mapped("delete")] == ["success"] * 2
    assert due.deleted == dict.fromkeys(due.due_ids, 1)
    assert sorted(summary["deleted"] for summary in summaries(tmp_path / "ledger")) == [2, 4]


def test_legal_holds(due: Any, dag_runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = due.due_ids[2]
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_LEGAL_HOLDS", json.dumps([held.upper()]))
    result = run(dag_runner, "example_anyformat_legal_holds", due)

    assert result.state == "success", result.log
    assert due.exists(held)
    assert sorted(due.deleted) == sorted(set(due.due_ids) - {held})
    assert result["purge"].return_value["kept"] == {"held": 1, "too_young": 4}


def test_legal_holds_without_the_variable(due: Any, dag_runner: Any) -> None:
    result = run(dag_runner, "example_anyformat_legal_holds", due)

    assert result.state == "failed"
    assert due.deleted == {}


@pytest.mark.skipif(AIRFLOW_VERSION < (3, 1), reason="approvals came with Airflow 3.1")
def test_silence_approves_nothing(dag_runner: Any) -> None:
    dag = dag_runner.load(EXAMPLES / "example_anyformat_purge_approval.py")
    plan, asking, approve, apply = (dag.get_task(name) for name in ("plan", "anything_due", "approve", "apply"))

    assert plan.plan_only is True
    assert not approve.defaults
    # Of an answer that comes last, the plan must still be young enough.
    wait = getattr(approve, "response_timeout", approve.execution_timeout)
    assert timedelta() < wait < apply.plan_ttl
    assert approve.fail_on_reject is False
    assert apply.trigger_rule == "all_success"
    assert apply.upstream_task_ids == {"approve"}
    assert approve.upstream_task_ids == {"anything_due"}
    assert asking.upstream_task_ids == {"plan"}
