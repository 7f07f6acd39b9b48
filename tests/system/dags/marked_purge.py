"""A purge that a test marks failed while it deletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

with DAG(
    "marked_purge",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"workflow_id": "given by the run"},
):
    PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id="{{ params.workflow_id }}",
        older_than="P30D",
        max_workers=4,
        ledger_path="{{ var.value.anyformat_ledger_path }}",
        # Were the mark forgotten, another try would soon show it.
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
