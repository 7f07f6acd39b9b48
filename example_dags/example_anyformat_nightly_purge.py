"""Every night: delete what a retention period has run out for, with guards and a ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_nightly_purge",
    doc_md=__doc__,
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1),
    # A missed night needs no run of its own, for the next one deletes what is due by then; and one purge at a time is
    # enough, for they would share one rate limit.
    catchup=False,
    max_active_runs=1,
    params={
        "workflow_id": Param(
            "11111111-2222-4333-8444-555555555555",
            type="string",
            title="Workflow",
            description="Id of the workflow whose collections are purged.",
        ),
    },
    tags=["anyformat", "example"],
):
    PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id="{{ params.workflow_id }}",
        older_than=timedelta(days=90),
        # Guards stand a little above an ordinary night: a mistake upstream should fail here, not delete.
        max_deletions=2000,
        max_deletions_percent=60,
        ledger_path="{{ var.value.anyformat_ledger_path }}",
        retries=2,
        retry_delay=timedelta(minutes=10),
    )
