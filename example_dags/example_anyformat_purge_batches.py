"""
A purge spread over workers: one task lists what is due, mapped tasks delete a batch each.

One purge task is almost always enough, because the rate limit is the server's: see the example of the nightly purge.
This is for keys with a limit that one machine cannot reach. Each batch paces itself by the rate-limit headers, and
has a ledger.

It has no schedule here, so that nothing runs unasked. In production, give it `schedule="17 3 * * 0"`, every Sunday.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator, ListFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_purge_batches",
    description="A purge spread over workers: one task lists, mapped ones delete",
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
        "batch_size": Param(
            500,
            type="integer",
            minimum=1,
            title="Batch size",
            description="How many collections one mapped task deletes.",
        ),
        "legal_holds": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Legal holds",
            description="Ids of collections or files that are never deleted, a line each.",
        ),
        "quota_reserve": Param(
            0.1,
            type="number",
            minimum=0,
            maximum=0.9,
            title="Quota reserve",
            description="Share of the rate limit that is left to others; less only for a key that nobody else uses.",
        ),
    },
    tags=["anyformat", "example"],
):
    due = ListFileCollectionsOperator(
        task_id="due",
        workflow_id="{{ params.workflow_id }}",
        older_than=timedelta(days=90),
        exclude_collection_ids="{{ params.legal_holds }}",
        max_deletions=100_000,
        batch_size="{{ params.batch_size }}",
        retries=2,
    )
    DeleteFileCollectionsOperator.partial(
        task_id="delete",
        # A pool bounds how many batches run at once; they share the key's rate limit and pace themselves by it.
        pool="default_pool",
        max_active_tis_per_dagrun=4,
        quota_reserve="{{ params.quota_reserve }}",
        ledger_path="{{ var.value.anyformat_ledger_path }}",
        # Each batch deletes what was listed a while ago: one may have been deleted by hand since.
        ignore_if_missing=True,
        # A batch whose worker dies is retried, and sends the deletes of all its ids again.
        retries=2,
    ).expand(collection_ids=due.output)
