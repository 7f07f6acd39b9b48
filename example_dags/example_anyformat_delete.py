"""
Run a document through a workflow, load its results, and only then delete the collection.

The delete depends on the task that loads the results, with the default trigger rule: if loading fails, the document
stays. The id of the collection goes from task to task by XCom. Trigger it with the workflow and, if you like, another
text.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

try:
    from airflow.sdk import DAG, Param, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models.param import Param

CONN_ID = "anyformat_default"
WAIT_SECONDS = 300


def call(method: str, path: str, **options: Any) -> Any:
    """Send a request to the API that the connection names, and return the reply."""
    import requests

    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

    settings = AnyformatHook(CONN_ID).settings
    headers = {"Authorization": f"Bearer {settings.api_key}"}
    url = f"{settings.base_url}{path}"
    return requests.request(method, url, headers=headers, timeout=30, allow_redirects=False, **options)


with DAG(
    "example_anyformat_delete_after_load",
    description="Run a document, load its results, then delete the collection",
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
        "text": Param(
            "Invoice 4711, total 99.00 EUR",
            type="string",
            title="Text",
            description="What the document says.",
        ),
    },
    tags=["anyformat", "example"],
    doc_md=__doc__,
):

    @task
    def run_document(workflow_id: str, text: str) -> str:
        """Run a document through the workflow; return the id of the new collection."""
        document = {"file": ("invoice.txt", text.encode(), "text/plain")}
        reply = call("POST", f"/v2/workflows/{workflow_id}/run/", files=document)
        reply.raise_for_status()
        collection_id: str = reply.json()["id"]
        print(f"anyformat made the collection {collection_id}")
        return collection_id

    @task
    def wait_until_processed(workflow_id: str, collection_id: str) -> None:
        """Ask for the results until they are there: 412 means not yet."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            reply = call("GET", f"/v2/workflows/{workflow_id}/files/{collection_id}/results/")
            if reply.status_code == 200:
                print(f"the collection {collection_id} is processed")
                return
            if reply.status_code != 412:
                reply.raise_for_status()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{collection_id} was not processed within {WAIT_SECONDS} s")
            time.sleep(0.5)

    @task
    def load(workflow_id: str, collection_id: str) -> None:
        """Take the results to where they are needed; here, to the log."""
        reply = call("GET", f"/v2/workflows/{workflow_id}/files/{collection_id}/results/")
        reply.raise_for_status()
        print(f"loaded the results: fields {sorted(reply.json()['extractions'][0]['fields'])}")

    workflow = "{{ params.workflow_id }}"
    collection = run_document(workflow, "{{ params.text }}")
    # It depends on the load with the default trigger rule: if loading fails, the document stays.
    delete = DeleteFileCollectionOperator(
        task_id="delete",
        collection_id="{{ ti.xcom_pull(task_ids='run_document') }}",
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
    wait_until_processed(workflow, collection) >> load(workflow, collection) >> delete
