"""DeleteFileCollectionOperator in a worker's process that is told to stop: never green, soon over, and quiet."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.support.dag_source import HEAD
from tests.support.waiting import until

KILLED = (
    HEAD
    + """
    with DAG("delete_killed", **BEGIN):
        DeleteFileCollectionOperator(task_id="delete", collection_id=ID, execution_timeout=TIMEOUT, **QUICK)
"""
)


@pytest.mark.parametrize(("busy", "way"), [("waiting", "task"), ("answer", "task"), ("answer", "timeout")])
def test_a_killed_task_is_never_green_and_sends_nothing_more(dag_runner, anyformat_sandbox, busy, way):
    sandbox = anyformat_sandbox
    collection_id = sandbox.add_collection(sandbox.add_workflow())
    extra = {"max_attempts": 5, "backoff": 0.01, "timeout": 60}
    dag_runner.connect(json.loads(sandbox.conn_json(extra)))
    if busy == "waiting":
        sandbox.fail_next(1, 429, headers={"Retry-After": "90"})
    else:
        sandbox.fail_next(1, "slow", applied=False, delay=40)
    timeout = "timedelta(seconds=3)" if way == "timeout" else "None"
    source = KILLED.replace("ID", repr(collection_id)).replace("TIMEOUT", timeout)
    process = dag_runner.start_task(source, "delete")
    until(lambda: sandbox.requests, 30, process.log)
    if busy == "waiting":
        process.wait_for_log("trying again in")
    began = time.monotonic()
    if way == "task":
        process.signal_task(signal.SIGTERM)
    done = process.wait(timeout=25)
    assert time.monotonic() - began < 20, "the wait and the answer would have taken twice that"
    assert done.state in ("failed", "up_for_retry"), done.log
    assert done.return_value is None
    assert len(sandbox.requests) == 1
    assert sandbox.deleted == {}
