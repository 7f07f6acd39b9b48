"""A task on Airflow 3.3 whose second try comes when the server said."""

from __future__ import annotations

import time

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS

WAIT = 3


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="retry policies came with Airflow 3.3")
def test_the_second_try_begins_when_the_server_said(dag_runner, anyformat_sandbox):
    collection_id = anyformat_sandbox.add_collection(anyformat_sandbox.add_workflow())
    anyformat_sandbox.fail_next(1, 503, method="DELETE", headers={"Retry-After": str(WAIT)})
    asked = []
    anyformat_sandbox.on_request.append(
        lambda record: asked.append(time.monotonic()) if record.method == "DELETE" else None
    )
    # What a longer wait than max_backoff does in a night: the client gives up, and the next try is Airflow's.
    dag_runner.connect(anyformat_sandbox.conn_json({"max_attempts": 1}))
    result = dag_runner.run(
        dag_runner.write(
            f"""
            from airflow_provider_anyformat._airflow import DAG
            from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator

            with DAG("waits", schedule=None):
                DeleteFileCollectionsOperator(task_id="delete", collection_ids=["{collection_id}"], retries=1)
            """
        )
    )
    (task,) = result.tasks.values()
    assert (task.state, task.try_number) == ("success", 2)
    assert anyformat_sandbox.deleted[collection_id] == 1
    first, second = asked
    # The runner has cut the task's own retry_delay to nothing.
    assert second - first >= WAIT
    assert f"anyformat asked to wait {WAIT} s" in task.log
