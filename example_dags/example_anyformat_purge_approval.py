"""
Plan a purge, have a person approve it, and delete exactly what was approved. For Airflow 3.1 and later.

Trigger it, wait for the task `plan`, and answer the question under *Required Actions*. It shows the policy in words,
how old the collections are, what is kept and why, and the guards. *Approve* deletes what the plan lists; *Reject*
deletes nothing and is not a failure. A plan with nothing to delete asks no question.

Silence deletes nothing: an approval that does not come in time fails, and the task after it does not run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from inspect import signature
from typing import Any

from airflow.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator, PurgeFileCollectionsOperator

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models.param import Param

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ModuleNotFoundError, AirflowOptionalProviderFeatureException):
    # Airflow before 3.1 has no approvals: this file has no DAG there, rather than one that deletes unasked.
    ApprovalOperator = None

if ApprovalOperator is not None:
    # The standard provider that Airflow 3.1 came with has no response_timeout, and waits for execution_timeout.
    parameters = [name for each in ApprovalOperator.__mro__ for name in signature(each.__init__).parameters]
    time_to_answer = "response_timeout" if "response_timeout" in parameters else "execution_timeout"

    with DAG(
        "example_anyformat_purge_approval",
        description="Plan a purge, wait for a person's approval, delete exactly what was approved",
        doc_md=__doc__,
        # In production, for example every Monday: "0 6 * * MON".
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,
        params={
            "workflow_id": Param(
                "33333333-4444-4555-8666-777777777777",
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

        @task.short_circuit
        def anything_due(summary: dict[str, Any]) -> bool:
            """Skip the question where there is nothing to delete."""
            return bool(summary["due"])

        approve = ApprovalOperator(
            task_id="approve",
            subject="Permanently delete these file collections from anyformat?",
            body="{{ ti.xcom_pull(task_ids='plan', key='plan_markdown') }}",
            # No defaults: an answer that no person gave must not count. The time is shorter than plan_ttl below.
            **{time_to_answer: timedelta(days=2)},
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
        anything_due(plan.output) >> approve >> apply
