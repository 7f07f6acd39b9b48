"""A delete whose id has the form of an id, but is no UUID: the server refuses it, and so does the task, at once."""

from __future__ import annotations

from datetime import datetime

from airflow import DAG

from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

with DAG(
    "anyformat_malformed_id",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["anyformat", "example"],
    doc_md=__doc__,
):
    DeleteFileCollectionOperator(task_id="delete", collection_id="not-a-uuid", retries=2)
