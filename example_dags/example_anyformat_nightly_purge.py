"""
Delete the collections of a workflow that are older than 90 days, with guards, and with a record in the ledger.

Trigger it: the form asks for the workflow, and the run purges that one and nothing else. The log says what was
listed, what is due and why the rest is kept, then how the deletes go on; the same numbers are in XCom, under the key
`summary`.

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
    "example_anyformat_nightly_purge",
    description="Delete what is past its retention period, with guards and a ledger",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    # A missed night needs no run of its own, because the next one deletes what is due by then; and one purge at a time
    # is enough, because they would share one rate limit.
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
