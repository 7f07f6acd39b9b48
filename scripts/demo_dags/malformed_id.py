"""
A delete whose id looks like an id but is not a UUID: the server refuses it, and the task fails at once.

The log has the server's own words, `path.collection_id: Input should be a valid UUID`. The task has two retries and
uses neither, because no retry can make a UUID of that. Nothing is deleted.
"""

from __future__ import annotations

from datetime import datetime

from airflow import DAG

from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

with DAG(
    "example_anyformat_malformed_id",
    description="A refusal: the server does not take the id, and the task fails at once",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["anyformat", "example"],
    doc_md=__doc__,
):
    DeleteFileCollectionOperator(task_id="delete", collection_id="not-a-uuid", retries=2)
