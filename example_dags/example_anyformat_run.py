"""
Run a document through a workflow, store its results, and only then delete the collection.

The document is submitted once, whatever fails: a retry of `run` waits for the collection of the earlier try.
While it is processed, a triggerer waits and no worker does (`deferrable=True`). `delete` depends on `store`, so that a
document whose results are not stored stays.

The folders for documents and results are Airflow Variables; the form asks for the workflow and the document's name.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator
from airflow_provider_anyformat.operators.workflows import GetResultsOperator, RunWorkflowOperator

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.models.param import Param

with DAG(
    "example_anyformat_run",
    description="Run a document through a workflow, store its results, delete the collection",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "workflow_id": Param(
            "11111111-2222-4333-8444-555555555555",
            type="string",
            title="Workflow",
            description="Id of the workflow that the document goes through.",
        ),
        "document": Param(
            "invoice-1.txt",
            type="string",
            title="Document",
            description="Name of a file in the folder that the Variable anyformat_documents_path names.",
        ),
    },
    tags=["anyformat", "example"],
):
    run = RunWorkflowOperator(
        task_id="run",
        workflow_id="{{ params.workflow_id }}",
        document="{{ var.value.anyformat_documents_path }}/{{ params.document }}",
        deferrable=True,
        poll_interval=5,
        timeout=timedelta(minutes=30),
        retries=2,
    )
    store = GetResultsOperator(
        task_id="store",
        workflow_id="{{ params.workflow_id }}",
        collection_id=run.output,
        results_path="{{ var.value.anyformat_results_path }}",
        retries=2,
    )
    store >> DeleteFileCollectionOperator(task_id="delete", collection_id=run.output, retries=2)
