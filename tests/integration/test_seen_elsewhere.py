"""What a run leaves for the rest of Airflow: asset events, rendered fields, and the wait before the next try."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import Asset, AssetAlias
from airflow_provider_anyformat.operators._task import EVENT_KEYS
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator, PurgeFileCollectionsOperator
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.sandboxes import connect, old
from tests.support.tasks import run

pytestmark = pytest.mark.untraced

purge = partial(PurgeFileCollectionsOperator, task_id="purge", older_than="P90D")


class Events:
    """As much of ``outlet_events`` as an operator looks at."""

    def __init__(self) -> None:
        self.extras: dict[str, Any] = {}

    def __getitem__(self, asset: Any) -> SimpleNamespace:
        event = SimpleNamespace()
        self.extras[asset.uri] = event
        return event


def test_the_event_of_each_asset_has_the_numbers_and_no_ids(sandbox: Sandbox, workflow: str, tmp_path: Any) -> None:
    ids = old(sandbox, workflow, 3)
    sandbox.fill(workflow, 2, name="secret-name-{}.pdf")
    events = Events()
    outlets = [Asset("s3://audit/one"), Asset("s3://audit/two"), AssetAlias("some")]
    task = purge(workflow_id=workflow, outlets=outlets, include_names=["*"], ledger_path=str(tmp_path))
    ran = run(task, outlet_events=events)
    assert ran.is_green
    assert sorted(events.extras) == ["s3://audit/one", "s3://audit/two"]
    for event in events.extras.values():
        assert event.extra == {key: ran.summary[key] for key in EVENT_KEYS if key in ran.summary}
        assert event.extra["deleted"] == 3
        assert event.extra["kept"] == {"too_young": 2}
        assert {"due", "ledger", "plan_digest"} <= event.extra.keys()
        for word in (*ids, workflow, "secret-name"):
            assert word not in str(event.extra)


def test_a_red_run_leaves_no_event_but_its_numbers(sandbox: Sandbox, workflow: str) -> None:
    old(sandbox, workflow, 3)
    events = Events()
    task = purge(workflow_id=workflow, outlets=[Asset("s3://audit/one")], max_deletions=2)
    ran = run(task, outlet_events=events)
    assert not ran.is_green
    assert events.extras == {}
    # Airflow reads these once more when the task has ended.
    assert task.overwrite_rtif_after_execution
    assert task.template_fields == (*PurgeFileCollectionsOperator.template_fields, "summary")
    assert task.summary == ran.summary
    assert "summary" not in PurgeFileCollectionsOperator.template_fields


@pytest.mark.parametrize("waits", [(2, 4, 3), (4, 2, 3)])
def test_a_bulk_error_has_the_longest_wait_of_what_failed(
    sandbox: Sandbox, workflow: str, monkeypatch: pytest.MonkeyPatch, waits: tuple[int, ...]
) -> None:
    connect(monkeypatch, sandbox, max_attempts=1)
    ids = old(sandbox, workflow, 4)
    for collection_id, seconds in zip(ids, waits, strict=False):
        sandbox.fail_next(1, 503, path=collection_id, headers={"Retry-After": str(seconds)})
    ran = run(DeleteFileCollectionsOperator(task_id="delete", collection_ids=ids))
    assert ran.is_retryable
    assert ran.counts("deleted", "failed") == (1, 3)
    assert getattr(ran.error, "retry_after", None) == 4
