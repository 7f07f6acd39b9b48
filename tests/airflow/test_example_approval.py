"""
The example of plan and apply, run for real: a stand-in says yes at once, so that it runs on every Airflow line.

All else, templates above all, is the example's own. The stand-in pushes what Airflow's ``ApprovalOperator`` pushes.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.dag_source import keep_api

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "example_anyformat_purge_approval.py"

STAND_IN = """
from airflow_provider_anyformat._airflow import BaseOperator


class ApprovalOperator(BaseOperator):
    template_fields = ("subject", "body")

    def __init__(self, *, subject, body, response_timeout, fail_on_reject, **kwargs):
        super().__init__(**kwargs)
        self.subject = subject
        self.body = body

    def execute(self, context):
        context["ti"].xcom_push(key="body", value=self.body)
        return {{
            "chosen_options": ["Approve"],
            "params_input": {{}},
            "responded_at": datetime.now().astimezone(),
            "responded_by_user": {responder!r},
        }}
"""


def example(responder: dict[str, str] | None, *, native: bool) -> str:
    """Return the example with the stand-in."""
    text, number = re.subn(
        r"^try:\n    from airflow\.providers.*?^    ApprovalOperator = None\n",
        lambda _: STAND_IN.format(responder=responder),
        EXAMPLE.read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    assert number == 1
    head = '        "example_anyformat_purge_approval",\n'
    assert head in text
    return text.replace(head, head + "        render_template_as_native_obj=True,\n") if native else text


@pytest.fixture
def sandbox(anyformat_sandbox: Any, dag_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A workflow with six collections that are due and four that are too young."""
    keep_api(monkeypatch)
    anyformat_sandbox.workflow_id = anyformat_sandbox.add_workflow()
    begin = datetime.now(UTC) - timedelta(days=100)
    anyformat_sandbox.due_ids = anyformat_sandbox.fill(anyformat_sandbox.workflow_id, 6, created_at=begin)
    anyformat_sandbox.fill(anyformat_sandbox.workflow_id, 4)
    dag_runner.connect(json.loads(anyformat_sandbox.conn_json()))
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH", str(tmp_path / "ledger"))
    return anyformat_sandbox


def meanwhile(sandbox: Any) -> tuple[str, str]:
    """See to it that something happens between plan and apply; give what is changed then, and what becomes due."""
    changed, since = sandbox.due_ids[0], "5f0c7e0e-6a57-4c6e-8a51-6a4e4b0c9d11"
    listings: list[Any] = []

    def look(record: Any) -> None:
        if record.method == "GET":
            listings.append(record)
            if len(listings) == 2:
                sandbox.update_collection(changed, updated_at=datetime.now(UTC))
                sandbox.add_collection(
                    sandbox.workflow_id, id=since, created_at=datetime.now(UTC) - timedelta(days=300)
                )

    sandbox.on_request.append(look)
    return changed, since


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
@pytest.mark.parametrize(
    ("responder", "approved_by"),
    [
        pytest.param({"id": "7", "name": "Ann O'Neill-Müller"}, "Ann O'Neill-Müller", id="somebody"),
        pytest.param(None, None, id="nobody"),
    ],
)
def test_what_was_approved_goes_and_nothing_else(
    sandbox: Any,
    dag_runner: Any,
    tmp_path: Path,
    responder: dict[str, str] | None,
    approved_by: str | None,
    native: bool,
) -> None:
    changed, since = meanwhile(sandbox)
    result = dag_runner.run(example(responder, native=native), conf={"workflow_id": sandbox.workflow_id})

    assert result.state == "success", result.log
    assert sandbox.deleted == dict.fromkeys(sandbox.due_ids[1:], 1)
    assert sandbox.exists(changed)
    assert sandbox.exists(since)
    assert len(sandbox.requests_to("DELETE")) == 5

    plan, summary = result["plan"].return_value, result["apply"].return_value
    assert result["approve"].xcoms["body"] == result["plan"].xcoms["plan_markdown"]
    assert plan["plan_digest"] in result["approve"].xcoms["body"]
    assert (summary["due"], summary["deleted"], summary["kept"]) == (6, 5, {"changed": 1})
    assert (summary["plan_path"], summary["plan_digest"]) == (plan["plan_path"], plan["plan_digest"])
    assert Path(summary["ledger"]).is_relative_to(tmp_path / "ledger")
    written = json.loads((Path(summary["ledger"]) / "plan.json").read_text())
    assert written["approved_by"] == approved_by
    assert written["task"] == "apply"


def test_where_nothing_is_due_nobody_is_asked(sandbox: Any, dag_runner: Any) -> None:
    result = dag_runner.run(
        example({"id": "7", "name": "jane"}, native=False),
        conf={"workflow_id": sandbox.workflow_id, "older_than": "P1000D"},
    )

    assert result.state == "success", result.log
    assert (result["approve"].state, result["apply"].state) == ("skipped", "skipped")
    assert sandbox.requests_to("DELETE") == []


def test_a_plan_whose_guard_tripped_cannot_be_approved(sandbox: Any, dag_runner: Any) -> None:
    text = example({"id": "7", "name": "jane"}, native=False)
    limited = text.replace(
        "            plan_only=True,\n", "            plan_only=True,\n            max_deletions=5,\n"
    )
    assert limited != text
    result = dag_runner.run(limited, conf={"workflow_id": sandbox.workflow_id})

    assert result["plan"].state == "success", result.log
    assert "max_deletions" in result["approve"].xcoms["body"]
    # Two retries, and none was made.
    assert [attempt.state for attempt in result["apply"].attempts] == ["failed"]
    assert "max_deletions tripped" in str(result["apply"].exception)
    assert sandbox.requests_to("DELETE") == []
