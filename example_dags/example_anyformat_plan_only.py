"""
What would a purge delete, and why would it keep the rest? This is the dry run: it deletes nothing.

Trigger it with a workflow and an age. The log has the plan: how many collections are due, how many are kept and for
which reason, how old they are, and the first ten ids. Contracts are kept by name. Run it before you switch on a
purge.
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_plan_only",
    description="The dry run of a purge: says what would be deleted, and deletes nothing",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "workflow_id": Param(
            "11111111-2222-4333-8444-555555555555",
            type="string",
            title="Workflow",
            description="Id of the workflow that a purge is planned for.",
        ),
        "older_than": Param(
            "P90D",
            type="string",
            title="Older than",
            description="An ISO 8601 duration of weeks, days and hours: what was created before that is due.",
        ),
    },
    tags=["anyformat", "example"],
):
    PurgeFileCollectionsOperator(
        task_id="plan",
        workflow_id="{{ params.workflow_id }}",
        older_than="{{ params.older_than }}",
        statuses=["processed", "error", "cancelled"],
        exclude_names=["contract-*"],
        plan_only=True,
    )
