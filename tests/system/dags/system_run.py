"""Documents that a real triggerer waits for; killed, restarted or marked failed by a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.workflows import RunWorkflowOperator

with DAG(
    "system_run",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"workflow_id": "given by the run", "document": "/given/by/the/run"},
):
    RunWorkflowOperator(
        task_id="run",
        workflow_id="{{ params.workflow_id }}",
        document="{{ params.document }}",
        deferrable=True,
        poll_interval=1,
        cancel_on_kill=True,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
