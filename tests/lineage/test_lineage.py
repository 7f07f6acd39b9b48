"""OpenLineage's events of a green and of a red purge, as its file transport writes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox

DAGS = """
from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

for dag_id, most in (("green", 1000), ("red", 2)):
    with DAG(dag_id, schedule=None):
        PurgeFileCollectionsOperator(
            task_id="purge", workflow_id="{workflow}", older_than="P90D", max_deletions=most, ledger_path="{ledger}"
        )
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run a DAG with a lineage that is written to a file; give the last event of its task."""
    events = tmp_path / "events.jsonl"
    with Sandbox(rate_limit=None) as sandbox:
        workflow = sandbox.add_workflow()
        sandbox.fill(workflow, 3, created_at=datetime.now(UTC) - timedelta(days=120))
        sandbox.fill(workflow, 2)
        (tmp_path / "dags").mkdir()
        source = DAGS.format(workflow=workflow, ledger=tmp_path / "ledger")
        (tmp_path / "dags" / "purges.py").write_text(source)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(events), "append": True}
            ),
            **sandbox.conn_env({"max_attempts": 1}),
        }

        def airflow(*arguments: str) -> None:
            command = [sys.executable, "-m", "airflow", *arguments]
            subprocess.run(command, env=environment, capture_output=True, timeout=240, check=False)

        airflow("db", "migrate")

        def run_dag(dag_id: str) -> dict[str, Any]:
            airflow("dags", "test", dag_id)
            rows = [json.loads(line) for line in events.read_text().splitlines()]
            of_task = [row for row in rows if row["job"]["name"] == f"{dag_id}.purge"]
            assert [row["eventType"] for row in of_task][:1] == ["START"]
            return {"workflow": workflow, **of_task[-1]}

        yield run_dag


@pytest.mark.timeout(600)
def test_a_green_and_a_red_run(run: Any, tmp_path: Path) -> None:
    red, green = run("red"), run("green")
    assert (red["eventType"], green["eventType"]) == ("FAIL", "COMPLETE")
    for event, deleted in ((red, 0), (green, 3)):
        (facet,) = [value for key, value in event["run"]["facets"].items() if key.startswith("anyformat")]
        assert (facet["due"], facet["deleted"], facet["failed"], facet["kept"]) == (3, deleted, 0, {"too_young": 2})
        (workflow,) = event["inputs"]
        assert workflow["namespace"] == "https://api.anyformat.ai"
        assert workflow["name"] == f"workflows/{event['workflow']}"
        (ledger,) = event["outputs"]
        assert ledger["namespace"] == "file"
        assert Path(ledger["name"]).is_relative_to(tmp_path / "ledger")
        assert (Path(ledger["name"]) / "plan.json").is_file()
