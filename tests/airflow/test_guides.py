"""The DAGs and tests that the guides show, run as they stand there."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.documented import ROOT, blocks

WORKFLOW = "11111111-2222-4333-8444-555555555555"


def test_a_person_between_two_dags(dag_runner: Any, anyformat_sandbox: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source = blocks("docs/approval.md")[-1]
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH", str(tmp_path))
    dag_runner.connect(json.loads(anyformat_sandbox.conn_json()))
    anyformat_sandbox.add_workflow(WORKFLOW)
    old = anyformat_sandbox.add_collection(WORKFLOW, created_at="2026-01-01T00:00:00Z")
    path = dag_runner.write(source)

    planned = dag_runner.run(path, dag_id="plan_purge")
    assert planned.state == "success", planned.log
    summary = planned.tasks["plan", -1].xcoms["summary"]
    late = anyformat_sandbox.add_collection(WORKFLOW, created_at="2026-01-01T00:00:00Z")
    conf = {name: summary[name] for name in ("plan_path", "plan_digest")}
    forgotten = dag_runner.run(path, dag_id="apply_purge", conf=conf)
    assert forgotten.state == "failed"
    assert not anyformat_sandbox.deleted
    applied = dag_runner.run(path, dag_id="apply_purge", conf=conf | {"approved_by": "Jane Doe"})

    assert applied.state == "success", applied.log
    assert anyformat_sandbox.deleted == {old: 1}
    assert anyformat_sandbox.exists(late)
    (record,) = tmp_path.glob("apply_purge/**/plan.json")
    assert json.loads(record.read_text())["approved_by"] == "Jane Doe"


def test_an_approval_without_an_answer(
    dag_runner: Any, anyformat_sandbox: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Mark the approval as successful by hand, and it has no XCom: the example's apply fails, and deletes nothing."""
    example = (ROOT / "example_dags" / "example_anyformat_purge_approval.py").read_text()
    (approved_by,) = re.findall(r"^ *approved_by=(.*),$", example, re.MULTILINE)
    source = blocks("docs/approval.md")[-1]
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH", str(tmp_path))
    dag_runner.connect(json.loads(anyformat_sandbox.conn_json()))
    anyformat_sandbox.add_workflow(WORKFLOW)
    anyformat_sandbox.add_collection(WORKFLOW, created_at="2026-01-01T00:00:00Z")
    changed = re.sub(r"approved_by=.*", f"approved_by={approved_by},", source)
    path = dag_runner.write(changed)

    summary = dag_runner.run(path, dag_id="plan_purge").tasks["plan", -1].xcoms["summary"]
    conf = {name: summary[name] for name in ("plan_path", "plan_digest")}
    applied = dag_runner.run(path, dag_id="apply_purge", conf=conf)

    assert applied.state == "failed"
    assert not anyformat_sandbox.deleted
    assert "responded_by_user" in applied.log


def test_holds_from_a_task(dag_runner: Any, anyformat_sandbox: Any) -> None:
    source = blocks("docs/legal-holds.md")[-1]
    (held,) = re.findall(r'return \["(\S+)"\]', source)
    dag_runner.connect(json.loads(anyformat_sandbox.conn_json()))
    anyformat_sandbox.add_workflow(WORKFLOW)
    anyformat_sandbox.add_collection(WORKFLOW, id=held, created_at="2026-01-01T00:00:00Z")
    due = anyformat_sandbox.add_collection(WORKFLOW, created_at="2026-01-01T00:00:00Z")

    result = dag_runner.run(source)

    assert result.state == "success", result.log
    assert anyformat_sandbox.deleted == {due: 1}
    assert result.tasks["purge", -1].xcoms["summary"]["kept"] == {"held": 1}


@pytest.mark.parametrize("source", blocks("docs/testing.md"))
def test_the_tests_of_the_page_on_testing(
    source: str, dag_runner: Any, tmp_path: Path, monkeypatch: Any, request: pytest.FixtureRequest
) -> None:
    (purge,) = [text for text in blocks("README.md") if "PurgeFileCollectionsOperator" in text]
    dag_runner.write(purge.replace("file:///tmp/anyformat-ledger", (tmp_path / "ledger").as_uri()), "purge")
    monkeypatch.syspath_prepend(dag_runner.folder)
    module: dict[str, Any] = {}
    exec(source, module)

    (test,) = [value for name, value in module.items() if name.startswith("test_")]
    test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})
