"""The purge of example_anyformat_purge_batches in one task, to be measured beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

with DAG("purge_in_one_task", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id="{{ params.workflow_id }}",
        older_than=timedelta(days=90),
        exclude_collection_ids="{{ params.legal_holds }}",
        max_deletions=100_000,
        quota_reserve="{{ params.quota_reserve }}",
        ledger_path="{{ var.value.anyformat_ledger_path }}",
        retries=2,
    )
