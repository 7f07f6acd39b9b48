"""The triggers on an event loop of their own: one event, no key, turns that leave half of the limit to others."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, AirflowFailException, TaskDeferred
from airflow_provider_anyformat.exceptions import AnyformatTimeoutError
from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.triggers.files import FileCollectionsTrigger, FileCollectionTrigger, WorkflowTrigger
from tests.support.sandboxes import QUICK, submits
from tests.support.workflow_runs import TaskRuns, first_event, run_operator


def trigger(workflow: str, collection_id: str, seconds: float = 20.0, **given: Any) -> FileCollectionTrigger:
    return FileCollectionTrigger(workflow, collection_id, 0.5, time.time() + seconds, **given)


def test_an_operator_defers_and_goes_on_with_the_event(server: Sandbox, workflow: str, tmp_path: Any) -> None:
    document = tmp_path / "a.pdf"
    document.write_text("x")
    runs = TaskRuns()
    made = run_operator(workflow, document, deferrable=True, results_path=str(tmp_path / "out"))
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(runs.context())
    assert server.created == [runs.xcoms["collection_id"]]
    path, kwargs = deferred.value.trigger.serialize()
    assert server.key not in json.dumps([path, kwargs])

    # In another process, and moved once.
    event = json.loads(json.dumps(asyncio.run(first_event(FileCollectionTrigger(**kwargs)))))
    again = run_operator(workflow, document, deferrable=True, results_path=str(tmp_path / "out"))
    assert getattr(again, deferred.value.method_name)(runs.resumed(), event) == server.created[0]

    assert runs.xcoms["results_path"].endswith(f"/{workflow}/{server.created[0]}.json")
    assert submits(server) == 1


def test_what_a_resumed_task_says_of_other_events(server: Sandbox, workflow: str, tmp_path: Any) -> None:
    made = run_operator(workflow, "/tmp/a.pdf", deferrable=True)
    event = {"workflow_id": workflow, "collection_id": "c1", "status": "error", "detail": "too blurred"}
    with pytest.raises(AirflowFailException, match="too blurred"):
        made.execute_complete(TaskRuns().context(), event)
    with pytest.raises(AnyformatTimeoutError, match="too late"):
        made.execute_complete(TaskRuns().context(), {**event, "status": "timeout", "detail": "too late"})
    with pytest.raises(AirflowFailException, match="not known"):
        made.execute_complete(TaskRuns().context(), {**event, "status": "done"})


def test_the_event_of_a_wait_that_fails(server: Sandbox, workflow: str) -> None:
    collection_id = server.add_collection(workflow, status="in_progress")
    late = asyncio.run(first_event(trigger(workflow, collection_id, 0.6)))
    assert (late["status"], late["retryable"]) == ("timeout", True)
    server.fail_next(1, 401)
    refused = asyncio.run(first_event(trigger(workflow, collection_id)))
    assert (refused["status"], refused["retryable"]) == ("failed", False)
    unknown = asyncio.run(first_event(trigger(workflow, collection_id, anyformat_conn_id="nobody_made_this")))
    assert unknown["status"] == "failed"
    assert "nobody_made_this" in unknown["detail"]


@pytest.mark.parametrize("cancel", [False, True])
def test_a_user_ends_the_deferred_task(server: Sandbox, workflow: str, cancel: bool) -> None:
    collection_id = server.add_collection(workflow, status="in_progress")
    asyncio.run(trigger(workflow, collection_id, cancel_on_kill=cancel).on_kill())
    assert (collection_id in server) != cancel


def test_a_user_ends_a_deferred_batch(server: Sandbox, workflow: str) -> None:
    over, running, gone = (server.add_collection(workflow, status=s) for s in ("processed", "in_progress", "error"))
    server.remove_collection(gone)
    waiting = FileCollectionsTrigger(
        workflow, [over, running, gone], 0.5, time.time() + 1, time.time(), cancel_on_kill=True
    )

    assert asyncio.run(first_event(waiting))["status"] == "done"
    asyncio.run(waiting.on_kill())

    assert server.deleted == {running: 1}
    assert len(server.requests_to("GET", gone)) <= 1


def test_many_waits_use_half_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(rate_limit=60, window=2) as server:
        for name, value in server.conn_env(QUICK).items():
            monkeypatch.setenv(name, value)
        workflow = server.add_workflow()
        ids = server.fill(workflow, 200, status="in_progress")

        async def wait_for_all() -> None:
            waits = [asyncio.create_task(first_event(trigger(workflow, id_))) for id_ in ids]
            await asyncio.sleep(6.5)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

        asyncio.run(wait_for_all())
        statuses = [record.status for record in server.requests]
        assert 429 not in statuses
        # Three and a bit windows, of which each may have 30.
        assert 65 <= len(statuses) <= 125


async def events(watcher: WorkflowTrigger, change: Any, count: int) -> list[Any]:
    """Collect events; after the first look, change something."""
    seen: list[Any] = []

    async def collect() -> None:
        async for event in watcher.run():
            seen.append(event.payload)
            if len(seen) == count:
                return

    collecting = asyncio.create_task(collect())
    await asyncio.sleep(0.4)
    change()
    await asyncio.wait_for(collecting, 10)
    return seen


class AssetStore(dict[str, Any]):
    async def aget(self, key: str) -> Any:
        return self.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="assets are watched from 3.0 on")
def test_a_watcher_tells_what_became_processed(server: Sandbox, workflow: str) -> None:
    server.add_collection(workflow, status="processed")
    waiting = server.add_collection(workflow, status="in_progress")
    watcher = WorkflowTrigger(workflow, 0.5)
    path, kwargs = watcher.serialize()
    assert server.key not in json.dumps([path, kwargs])
    store = AssetStore()
    watcher.asset_state_store = store

    (event,) = asyncio.run(events(watcher, lambda: server.update_collection(waiting, status="processed"), 1))
    assert set(event) == {"collection_id", "workflow_id", "processed_at"}
    assert (event["collection_id"], event["workflow_id"]) == (waiting, workflow)

    # After a restart, with the event's cursor or the one before it: nothing is lost.
    again = WorkflowTrigger(**kwargs)
    again.asset_state_store = store
    added = server.add_collection(workflow, status="processed")
    later = asyncio.run(events(again, lambda: server.fail_next(1, 503), 2))
    assert {one["collection_id"] for one in later} <= {waiting, added}


def test_a_timeout_given_as_text_becomes_the_deadline(server: Sandbox, workflow: str, tmp_path: Any) -> None:
    document = tmp_path / "a.pdf"
    document.write_text("x")
    made = run_operator(workflow, document, deferrable="true", timeout="PT90S", poll_interval="2")
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(TaskRuns().context())
    _, kwargs = deferred.value.trigger.serialize()
    assert kwargs["deadline"] - time.time() == pytest.approx(timedelta(seconds=90).total_seconds(), abs=3)
    assert kwargs["poll_interval"] == 2.0
