"""
Plan a purge, have a person approve it, delete exactly what was approved. For Airflow 3.1 and later.

Silence deletes nothing: an approval that nobody gives in time fails, and what hangs on it does not run. A "Reject" is
an answer and no failure: the deletion is skipped.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator, PurgeFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ModuleNotFoundError, AirflowOptionalProviderFeatureException):
    # Airflow before 3.1 knows no approvals: this file has no DAG there, rather than one that deletes unasked.
    ApprovalOperator = None

if ApprovalOperator is not None:
    with DAG(
        "example_anyformat_purge_approval",
        doc_md=__doc__,
        schedule="0 6 * * MON",
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
            "older_than": Param(
                "P90D",
                type="string",
                title="Older than",
                description="An ISO 8601 duration of weeks, days and hours: what was created before that is due.",
            ),
        },
        tags=["anyformat", "example"],
    ):
        plan = PurgeFileCollectionsOperator(
            task_id="plan",
            workflow_id="{{ params.workflow_id }}",
            older_than="{{ params.older_than }}",
            plan_only=True,
            ledger_path="{{ var.value.anyformat_ledger_path }}",
            retries=2,
        )
        approve = ApprovalOperator(
            task_id="approve",
            subject="Delete these file collections from anyformat permanently?",
            body="{{ ti.xcom_pull(task_ids='plan', key='plan_markdown') }}",
            # No defaults: an answer that nobody gave must not count as one. The time is shorter than plan_ttl below.
            response_timeout=timedelta(days=2),
            fail_on_reject=False,
            retries=0,
        )
        apply = ApplyPurgePlanOperator(
            task_id="apply",
            plan_path="{{ ti.xcom_pull(task_ids='plan')['plan_path'] }}",
            plan_digest="{{ ti.xcom_pull(task_ids='plan')['plan_digest'] }}",
            plan_ttl=timedelta(days=3),
            approved_by="{{ ti.xcom_pull(task_ids='approve')['responded_by_user'] }}",
            ledger_path="{{ var.value.anyformat_ledger_path }}",
            retries=2,
            trigger_rule="all_success",
        )
        plan >> approve >> apply
