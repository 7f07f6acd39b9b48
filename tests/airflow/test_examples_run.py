"""The examples that run documents, for real against the sandbox: deferred, stored, deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def test_a_document_is_run_stored_and_deleted(anyformat_sandbox: Any, dag_runner: Any, tmp_path: Path) -> None:
    dag_runner.connect(anyformat_sandbox.conn_json())
    workflow = anyformat_sandbox.add_workflow()
    document, out = tmp_path / "invoice.pdf", tmp_path / "out"
    document.write_text("content that no log shows")

    result = dag_runner.run(
        ROOT / "example_dags" / "example_anyformat_run.py",
        conf={"workflow_id": workflow, "document": str(document), "results": str(out)},
    )

    assert result.state == "success", result.log
    collection_id = result["run"].return_value
    assert anyformat_sandbox.created == [collection_id]
    assert anyformat_sandbox.deleted == {collection_id: 1}
    assert json.loads(Path(result["store"].return_value).read_bytes())["collection_id"] == collection_id
    assert "content that no log shows" not in result.log
    assert anyformat_sandbox.key not in result.log
