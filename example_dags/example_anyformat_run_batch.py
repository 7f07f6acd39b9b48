"""
Run all documents of a folder through a workflow in one task, and delete the collections whose results are stored.

The task keeps to the rate limit for submits and writes a manifest before the first submit: if a worker dies, a retry
submits only what was not submitted. `delete` gets the ids of what is safely stored, and of nothing else. A document
that failed keeps its collection; the task is green all the same (`on_partial_failure="continue"`), so look at the
manifest.

The folders for documents and results are Airflow Variables; the form asks for the workflow and a pattern.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.operators.workflows import RunWorkflowBatchOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_run_batch",
    description="Run the documents of a folder through a workflow, store the results, delete what is safely stored",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "workflow_id": Param(
            "11111111-2222-4333-8444-555555555555",
            type="string",
            title="Workflow",
            description="Id of the workflow that the documents go through.",
        ),
        "pattern": Param(
            "*",
            type="string",
            title="Pattern",
            description="Which files of the folder that the Variable anyformat_documents_path names, such as *.pdf.",
        ),
    },
    tags=["anyformat", "example"],
    doc_md=__doc__,
):
    run = RunWorkflowBatchOperator(
        task_id="run",
        workflow_id="{{ params.workflow_id }}",
        documents="{{ var.value.anyformat_documents_path }}",
        pattern="{{ params.pattern }}",
        results_path="{{ var.value.anyformat_results_path }}",
        on_partial_failure="continue",
        poll_interval=5,
        timeout=timedelta(minutes=30),
        retries=2,
    )
    run >> DeleteFileCollectionsOperator(
        task_id="delete",
        collection_ids="{{ ti.xcom_pull(task_ids='run')['collection_ids'] }}",
        retries=2,
    )
