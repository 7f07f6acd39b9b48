"""The example that runs a document, and the refusal of the demo, for real against the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_dags" / "example_anyformat_run.py"
DOCUMENT = "content that no log shows"


@pytest.fixture
def workflow_id(anyformat_sandbox: Any, dag_runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty workflow, a document and a folder for results."""
    dag_runner.connect(anyformat_sandbox.conn_json())
    (tmp_path / "invoice-1.txt").write_text(DOCUMENT)
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_DOCUMENTS_PATH", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_VAR_ANYFORMAT_RESULTS_PATH", str(tmp_path / "results"))
    workflow: str = anyformat_sandbox.add_workflow()
    return workflow


def test_a_document_is_run_stored_and_deleted(anyformat_sandbox: Any, dag_runner: Any, workflow_id: str) -> None:
    result = dag_runner.run(EXAMPLE, conf={"workflow_id": workflow_id})

    assert result.state == "success", result.log
    collection_id = result["run"].return_value
    assert anyformat_sandbox.created == [collection_id]
    assert anyformat_sandbox.deleted == {collection_id: 1}
    assert json.loads(Path(result["store"].return_value).read_bytes())["collection_id"] == collection_id
    assert DOCUMENT not in result.log
    assert anyformat_sandbox.key not in result.log


def test_where_storing_fails_nothing_is_deleted(
    anyformat_sandbox: Any, dag_runner: Any, workflow_id: str, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")

    result = dag_runner.run(EXAMPLE, conf={"workflow_id": workflow_id})

    assert (result["run"].state, result["store"].state) == ("success", "failed"), result.log
    assert result["delete"].state == "upstream_failed"
    assert anyformat_sandbox.requests_to("DELETE") == []
    assert len(anyformat_sandbox.collections(workflow_id)) == 1


def test_a_malformed_id_fails_at_once_and_shows_the_422(
    anyformat_sandbox: Any, dag_runner: Any, workflow_id: str
) -> None:
    result = dag_runner.run(ROOT / "scripts" / "demo_dags" / "malformed_id.py")

    assert (result["delete"].state, result["delete"].try_number) == ("failed", 1)
    assert "HTTP 422" in result["delete"].log
    assert "path.collection_id: " in result["delete"].log
    assert len(anyformat_sandbox.requests_to("DELETE")) == 1


def test_the_documents_of_a_folder_in_one_task(
    anyformat_sandbox: Any, dag_runner: Any, workflow_id: str, tmp_path: Path
) -> None:
    dag_runner.connect(anyformat_sandbox.conn_json({"api_version": "v3"}))
    for number in range(3):
        (tmp_path / f"{number}.pdf").write_text("content that no log shows")
    anyformat_sandbox.fail_document("1.pdf", "error", "too blurred")

    result = dag_runner.run(
        ROOT / "example_dags" / "example_anyformat_run_batch.py",
        conf={"workflow_id": workflow_id, "pattern": "*.pdf"},
    )

    assert result.state == "success", result.log
    summary = result["run"].return_value
    assert (summary["documents"], summary["processed"], summary["failed"]) == (3, 2, 1)
    assert set(anyformat_sandbox.deleted) == set(summary["collection_ids"])
    assert [row["name"] for row in anyformat_sandbox.collections(workflow_id)] == ["1.pdf"]
