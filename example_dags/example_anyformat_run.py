"""
A document goes through a workflow, its results are stored, and only then is the collection deleted.

While the document is processed, a triggerer waits and no worker does (`deferrable=True`). The document is submitted
once, whatever fails: a retry of `run` waits on for the collection that the try before submitted. `delete` hangs on
`run`, so that nothing is deleted whose results are not stored.

Run it with your workflow and files:
`airflow dags test example_anyformat_run --conf '{"workflow_id": "…", "document": "/in/a.pdf", "results": "/out"}'`.
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
    description="Run a document through a workflow, store its results, delete the collection.",
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
            "/in/invoice.pdf",
            type="string",
            title="Document",
            description="Absolute path of the document, or its URL in an object store.",
        ),
        "results": Param(
            "/out",
            type="string",
            title="Results",
            description="Folder for the results, as an absolute path or a URL such as s3://bucket/results.",
        ),
    },
    tags=["anyformat", "example"],
    doc_md=__doc__,
):
    run = RunWorkflowOperator(
        task_id="run",
        workflow_id="{{ params.workflow_id }}",
        document="{{ params.document }}",
        deferrable=True,
        poll_interval=5,
        timeout=timedelta(minutes=30),
        retries=2,
    )
    store = GetResultsOperator(
        task_id="store",
        workflow_id="{{ params.workflow_id }}",
        collection_id=run.output,
        results_path="{{ params.results }}",
        retries=2,
    )
    store >> DeleteFileCollectionOperator(task_id="delete", collection_id=run.output, retries=2)
