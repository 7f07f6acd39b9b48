"""The example that deletes after loading, and the demo's malformed id, run for real against the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_dags" / "example_anyformat_delete.py"


@pytest.fixture
def workflow_id(anyformat_sandbox: Any, dag_runner: Any) -> str:
    dag_runner.connect(anyformat_sandbox.conn_json())
    workflow: str = anyformat_sandbox.add_workflow()
    anyformat_sandbox.fill(workflow, 2)
    return workflow


def test_a_document_is_run_loaded_and_then_deleted(anyformat_sandbox: Any, dag_runner: Any, workflow_id: str) -> None:
    result = dag_runner.run(EXAMPLE, conf={"workflow_id": workflow_id})

    assert result.state == "success", result.log
    made = result["run_document"].return_value
    assert anyformat_sandbox.deleted == {made: 1}
    assert result["delete"].return_value == made
    assert len(anyformat_sandbox.collections(workflow_id)) == 2


def test_where_loading_fails_nothing_is_deleted(anyformat_sandbox: Any, dag_runner: Any, workflow_id: str) -> None:
    # The first answer that is 200 tells wait_until_processed that it is done; the one after it is load's.
    anyformat_sandbox.processing_seconds = 0
    results = iter([False])

    def break_the_second(request: Any) -> None:
        if request.path.endswith("/results/") and next(results, True):
            anyformat_sandbox.fail_next(1, "status", path="/results/", status=500)

    anyformat_sandbox.on_request.append(break_the_second)
    result = dag_runner.run(EXAMPLE, conf={"workflow_id": workflow_id})

    assert (result["wait_until_processed"].state, result["load"].state) == ("success", "failed"), result.log
    assert result["delete"].state == "upstream_failed"
    assert anyformat_sandbox.requests_to("DELETE") == []
    assert len(anyformat_sandbox.collections(workflow_id)) == 3


def test_a_malformed_id_fails_at_once_and_shows_the_422(
    anyformat_sandbox: Any, dag_runner: Any, workflow_id: str
) -> None:
    result = dag_runner.run(ROOT / "scripts" / "demo_dags" / "malformed_id.py")

    assert result["delete"].state == "failed"
    assert result["delete"].try_number == 1
    assert "HTTP 422" in result["delete"].log
    assert "path.collection_id: " in result["delete"].log
    assert len(anyformat_sandbox.requests_to("DELETE")) == 1
