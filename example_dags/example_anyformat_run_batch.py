"""
All documents of a folder go through a workflow in one task, and the collections whose results are stored are deleted.

The task keeps to the rate limit for submits, looks at all runs by one page of the listing, and writes a manifest before
the first submit: if a worker dies, a retry submits only what was not submitted. `delete` gets the ids of what is
safely stored, and of nothing else; a document that failed keeps its collection, and the task is green
(`on_partial_failure="continue"`), so that the manifest has to be looked at.

Run it with your workflow and folders:
`airflow dags test example_anyformat_run_batch --conf '{"workflow_id": "…", "folder": "/in", "results": "/out"}'`.
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
    description="Run the documents of a folder through a workflow, store the results, delete what is safely stored.",
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
        "folder": Param(
            "/in",
            type="string",
            title="Documents",
            description="Folder of the documents, as an absolute path or a URL such as s3://bucket/in.",
        ),
        "results": Param(
            "/out",
            type="string",
            title="Results",
            description="Folder for results and manifest, as an absolute path or a URL.",
        ),
    },
    tags=["anyformat", "example"],
    doc_md=__doc__,
):
    run = RunWorkflowBatchOperator(
        task_id="run",
        workflow_id="{{ params.workflow_id }}",
        documents="{{ params.folder }}",
        pattern="*.pdf",
        results_path="{{ params.results }}",
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
