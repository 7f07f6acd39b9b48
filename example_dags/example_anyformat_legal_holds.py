"""
A purge that honours legal holds, kept in the Airflow Variable `anyformat_legal_holds` as a JSON list of ids.

A held collection is never deleted, however old it is; the summary counts it as `held`. Without the Variable the task
fails and deletes nothing, because a missing list of holds is not a list without holds. An id that matches nothing is
a warning.

It has no schedule here, so that nothing runs unasked. In production, give it `schedule="17 2 * * *"`, every night.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_legal_holds",
    description="A purge that never deletes what is on legal hold",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
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
        exclude_collection_ids="{{ var.json.anyformat_legal_holds }}",
        ledger_path="{{ var.value.anyformat_ledger_path }}",
        retries=2,
    )
