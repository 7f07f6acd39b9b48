"""The sensor, look by look: what it takes for an end, and what for a passing error."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_anyformat._airflow import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sensors.files import FileCollectionSensor


def sensor(workflow: str, collection: str, **given: Any) -> FileCollectionSensor:
    return FileCollectionSensor(
        task_id="s", **{"workflow_id": workflow, "collection_id": collection, "deferrable": False, **given}
    )


@pytest.mark.parametrize(("status", "expected"), [("queued", False), ("in_progress", False), ("processed", True)])
def test_a_look(server: Sandbox, workflow: str, status: str, expected: bool) -> None:
    collection_id = server.add_collection(workflow, status=status)
    assert sensor(workflow, collection_id).poke({}) is expected
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_another_end_is_final(server: Sandbox, workflow: str, status: str) -> None:
    collection_id = server.add_collection(workflow, status=status)
    with pytest.raises(AirflowFailException, match=f"ended as {status}"):
        sensor(workflow, collection_id).poke({})


def test_passing_errors_are_looked_past_and_final_ones_are_not(server: Sandbox, workflow: str) -> None:
    collection_id = server.add_collection(workflow)
    made = sensor(workflow, collection_id)
    for kind in (503, 429, "gateway_404", "reset_after"):
        server.fail_next(1, kind)
        assert made.poke({}) is False
    assert made.poke({}) is True
    server.fail_next(1, 401)
    with pytest.raises(AirflowFailException, match="HTTP 401"):
        made.poke({})


BAD: list[dict[str, Any]] = [
    {"workflow_id": "a/b"},
    {"workflow_id": None},
    {"workflow_id": ["a", "b"]},
    {"collection_id": ["a"]},
    {"collection_id": "None"},
    {"deferrable": "perhaps"},
    {"anyformat_conn_id": "nobody_made_this"},
]


@pytest.mark.parametrize("given", BAD, ids=str)
def test_bad_input_is_named_before_a_request(server: Sandbox, workflow: str, given: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=rf"^{next(iter(given))}: "):
        sensor(workflow, "c1", **given).poke({})
    assert server.requests == []


def test_deferred_it_ends_as_the_trigger_says(server: Sandbox, workflow: str) -> None:
    made = sensor(workflow, "c1", deferrable=True, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute({})
    assert deferred.value.method_name == "execute_complete"
    event = {"workflow_id": workflow, "collection_id": "c1", "status": "processed", "detail": ""}
    assert made.execute_complete({}, event) is None
    with pytest.raises(AirflowFailException, match="ended as error"):
        made.execute_complete({}, {**event, "status": "error"})
    with pytest.raises(AirflowSensorTimeout, match="too late"):
        made.execute_complete({}, {**event, "status": "timeout", "detail": "too late"})
    with pytest.raises(AirflowSkipException):
        sensor(workflow, "c1", soft_fail=True).execute_complete({}, {**event, "status": "timeout"})
