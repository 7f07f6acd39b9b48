"""One delete, by a connection and of a collection that the run names."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

with DAG(
    "system_one_delete",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"conn_id": "", "collection_id": ""},
):
    DeleteFileCollectionOperator(
        task_id="delete",
        anyformat_conn_id="{{ params.conn_id }}",
        collection_id="{{ params.collection_id }}",
    )
