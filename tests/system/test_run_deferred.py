"""A document that a real triggerer waits for: restarted in between, and marked failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS
from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_3, LocalAirflow

DAG_ID = "system_run"


def start(airflow: LocalAirflow, sandbox: Sandbox, folder: Path) -> tuple[str, str]:
    """Begin a run, and wait until its task is deferred; return the run's and the collection's id."""
    document = folder / "a.pdf"
    document.write_text("content that nobody shows")
    before = len(sandbox.created)
    run_id = airflow.trigger(DAG_ID, {"workflow_id": sandbox.add_workflow(), "document": str(document)}, seconds=120)
    airflow.processes.wait_for(
        lambda: airflow.task(DAG_ID, run_id, "run")["state"] == "deferred", "the deferred task", 120
    )
    (collection_id,) = sandbox.created[before:]
    return run_id, collection_id


@pytest.mark.timeout(400)
def test_a_triggerer_that_is_restarted_waits_on(local_airflow: LocalAirflow, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.processing_seconds = 3600
    run_id, collection_id = start(local_airflow, sandbox, tmp_path)
    local_airflow.processes.kill("triggerer")
    local_airflow.start("triggerer")
    sandbox.update_collection(collection_id, status="processed")

    assert local_airflow.wait_for_run(DAG_ID, run_id, 240) == "success"

    assert local_airflow.task(DAG_ID, run_id, "run")["try_number"] == 1
    assert sandbox.started[collection_id] == 1
    assert collection_id in sandbox
    assert "content that nobody shows" not in local_airflow.log(DAG_ID, run_id, "run")


@pytest.mark.timeout(400)
def test_marked_failed_while_deferred(local_airflow: LocalAirflow, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.processing_seconds = 3600
    run_id, collection_id = start(local_airflow, sandbox, tmp_path)
    body = {"new_state": "failed"} if AIRFLOW_3 else {"new_state": "failed", "dry_run": False}
    local_airflow.ask("PATCH", f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/run", body)

    assert local_airflow.wait_for_run(DAG_ID, run_id, 120) == "failed"
    if AIRFLOW_V_3_3_PLUS:
        local_airflow.processes.wait_for(lambda: collection_id not in sandbox, "the cancelled collection", 60)
    else:
        # Airflow does not tell the trigger.
        assert collection_id in sandbox
