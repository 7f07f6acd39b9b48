"""A file of rules as Airflow sees it: a DAG a rule, and what each does when it runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import BaseOperator
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
from airflow_provider_anyformat.rules import dags, models, retention_dags
from tests.support.dag_results import AIRFLOW_VERSION
from tests.support.dag_source import keep_api

DAG_FILE = """\
from pathlib import Path

from airflow_provider_anyformat.rules import retention_dags

retention_dags(Path(__file__).with_name("retention.yaml"))
"""
RULES = """\
version: 1
defaults: {{schedule: "17 2 * * *", ledger_path: {ledger}, retries: 2, owner: privacy@example.org}}
rules:
  - name: invoices
    workflow_id: {workflow}
    older_than: P30D
    basis: contract 4711
    holds: holds.yaml
  - {{name: wrong, workflow_id: {workflow}, older_than: P3M, basis: none}}
  - {{name: asked, workflow_id: {workflow}, older_than: P30D, basis: contract 4712, approval: true, max_workers: 2}}
"""


class StandIn(BaseOperator):
    """Says yes at once, and pushes what Airflow's ``ApprovalOperator`` pushes."""

    template_fields = ("subject", "body")

    def __init__(self, *, subject: str, body: str, response_timeout: timedelta, fail_on_reject: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.subject = subject
        self.body = body

    def execute(self, context: Any) -> Any:
        return {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "Ann"}}


@pytest.fixture
def rules(anyformat_sandbox: Any, dag_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Three rules about a workflow with four collections that are due; the file of holds is not valid yet."""
    keep_api(monkeypatch)
    sandbox = anyformat_sandbox
    sandbox.workflow = sandbox.add_workflow()
    sandbox.due = sandbox.fill(sandbox.workflow, 4, created_at=datetime.now(UTC) - timedelta(days=100))
    sandbox.fill(sandbox.workflow, 2)
    dag_runner.connect(json.loads(sandbox.conn_json()))
    sandbox.dag_file = dag_runner.write(DAG_FILE, "retention_rules")
    for name, text in (
        ("retention.yaml", RULES.format(ledger=tmp_path / "ledger", workflow=sandbox.workflow)),
        ("holds.yaml", "holds: [{case: A-1}]\n"),
    ):
        path = sandbox.dag_file.with_name(name)
        path.write_text(text)
        dag_runner._files.append(path)
    return sandbox


def test_each_rule_is_a_dag_and_a_wrong_one_fails_alone(
    rules: Any, dag_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dags, "_approval_operator", lambda: StandIn)
    found = {name: dag_runner.load(rules.dag_file, f"anyformat_retention_{name}") for name in ("invoices", "asked")}
    for dag in found.values():
        assert set(dag.tags) == {"anyformat", "retention"}
        assert dag.catchup is False
        # Else a run of a git bundle would read the holds of the day it began.
        assert getattr(dag, "disable_bundle_versioning", True) is True
        assert dag.fileloc == str(rules.dag_file)
        assert "older than 30 days" in dag.doc_md
    (purge,) = found["invoices"].tasks
    assert isinstance(purge, PurgeFileCollectionsOperator)
    assert (purge.task_id, purge.retries, purge.owner, purge.basis) == (
        "purge",
        2,
        "privacy@example.org",
        "contract 4711",
    )

    wrong = dag_runner.run(rules.dag_file, dag_id="anyformat_retention_wrong")
    assert wrong.state == "failed"
    # Two retries, and none was made.
    assert [attempt.state for attempt in wrong["purge"].attempts] == ["failed"]
    assert "retention.yaml, rule wrong, line 9: older_than: 'P3M' cannot be used" in str(wrong["purge"].exception)
    assert rules.requests == []

    asked = dag_runner.run(rules.dag_file, dag_id="anyformat_retention_asked")
    assert asked.state == "success", asked.log
    assert [task.task_id for task in asked.dag.topological_sort()] == ["plan", "approve", "apply"]
    assert rules.deleted == dict.fromkeys(rules.due, 1)
    written = json.loads((Path(asked["apply"].return_value["ledger"]) / "plan.json").read_text())
    assert (written["owner"], written["basis"]) == ("privacy@example.org", "contract 4712")
    assert written["approved_by"] == "Ann"

    # Now nothing is due, and nobody is asked.
    again = dag_runner.run(rules.dag_file, dag_id="anyformat_retention_asked")
    assert again.state == "success", again.log
    assert [again[task].state for task in ("plan", "approve", "apply")] == ["success", "skipped", "skipped"]


def test_holds_are_read_when_the_task_runs(rules: Any, dag_runner: Any) -> None:
    # Parsing the file with bad holds was no error; the task is the one that refuses them.
    refused = dag_runner.run(rules.dag_file, dag_id="anyformat_retention_invoices")
    assert [attempt.state for attempt in refused["purge"].attempts] == ["failed"]
    assert "holds: holds.yaml, line 1: hold A-1: it has no selector" in str(refused["purge"].exception)
    assert rules.requests == []

    held, *rest = rules.due
    rules.dag_file.with_name("holds.yaml").write_text(f"holds: [{{case: A-1, collection_ids: [{held}]}}]\n")
    result = dag_runner.clear(refused, "purge")
    assert result.state == "success", result.log
    assert rules.deleted == dict.fromkeys(rest, 1)
    assert result["purge"].return_value["kept"] == {"held": 1, "too_young": 2}
    written = json.loads((Path(result["purge"].return_value["ledger"]) / "plan.json").read_text())
    assert [(each["case"], each["held"]) for each in written["holds"]] == [("A-1", 1)]


def test_in_a_worker_only_the_dag_that_is_needed_is_made(rules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "anyformat_retention_wrong")
    made = retention_dags(rules.dag_file.with_name("retention.yaml"))
    assert [dag.dag_id for dag in made] == ["anyformat_retention_wrong"]


@pytest.mark.skipif(AIRFLOW_VERSION >= (3, 1), reason="there are approvals")
def test_before_airflow_3_1_a_rule_with_approval_is_wrong(rules: Any) -> None:
    asked = retention_dags(str(rules.dag_file.with_name("retention.yaml")))[-1]
    assert "approval: True cannot be used: it requires Airflow 3.1" in asked.tasks[0].sentence


@pytest.mark.skipif(AIRFLOW_VERSION < (3, 1), reason="there are no approvals")
def test_from_airflow_3_1_on_an_approval_waits_shorter_than_a_plan_lasts(rules: Any) -> None:
    plan, approve, apply = retention_dags(rules.dag_file.with_name("retention.yaml"))[-1].tasks
    assert type(approve).__name__ == "ApprovalOperator"
    assert approve.response_timeout < apply.plan_ttl
    assert not approve.defaults
    assert (plan.plan_only, plan.max_workers, apply.max_workers) == (True, 2, 2)


def test_a_file_that_cannot_be_used_is_an_import_error(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    with pytest.raises(AnyformatValueError, match=r"^retention\.yaml: it cannot be read: No such file"):
        retention_dags(path)
    path.write_text("version: 1\nrules:\n  - name: a\n    colour: red\n")
    with pytest.raises(AnyformatValueError, match=r"^retention\.yaml, rule a, line 4: colour: it is not a key"):
        retention_dags(path)


def test_a_rule_takes_every_parameter_of_the_purge() -> None:
    theirs = set(PurgeFileCollectionsOperator.template_fields) - {"anyformat_conn_id", "holds"}
    assert set(models.PURGE_PARAMETERS) == theirs
    assert {"conn_id", "holds"} < set(models.KEYS)
