"""What a retry takes from the tries before it: from their ledger, from Airflow 3.3's store, or from neither."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.operators.files import (
    DeleteFileCollectionOperator,
    DeleteFileCollectionsOperator,
    PurgeFileCollectionsOperator,
)
from airflow_provider_anyformat.retention.earlier import STORE_KEY
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.logs import Lines
from tests.support.sandboxes import FOREVER, connect, old
from tests.support.tasks import Ran, run
from tests.support.workflow_runs import StateStore

delete_one = partial(DeleteFileCollectionOperator, task_id="delete", retries=3)
delete = partial(DeleteFileCollectionsOperator, task_id="delete", retries=3)
purge = partial(PurgeFileCollectionsOperator, task_id="purge", older_than="P90D", retries=3, max_workers=1)


class Tries:
    """
    The tries of one task, of which each may know something of those before it.

    :param keeper: what tells: the task's ``ledger``, or Airflow's ``store``; anything else for neither.
    """

    def __init__(self, keeper: str, folder: Path) -> None:
        self.store = StateStore()
        self.number = 0
        self._has_store = keeper == "store"
        self._given = {"ledger_path": str(folder)} if keeper == "ledger" else {}

    def run(self, kind: Callable[..., Any], **given: Any) -> Ran:
        self.number += 1
        context: dict[str, Any] = {"task_state_store": self.store} if self._has_store else {}
        return run(kind(**given, **self._given), self.number, **context)


@pytest.fixture(params=["ledger", "store"])
def tries(request: pytest.FixtureRequest, tmp_path: Path) -> Tries:
    return Tries(request.param, tmp_path)


def nothing_left(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> None:
    """Let the connection lead to a port where nothing listens."""
    elsewhere = sandbox.conn_json({"max_attempts": 1}).replace(sandbox.url, "http://127.0.0.1:9")
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", elsewhere)


def refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> None:
    sandbox.fail_next(len(ids), 429, method="DELETE", headers={"Retry-After": "0"})
    connect(monkeypatch, sandbox, max_attempts=1)


def took_effect(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> None:
    """The server deletes each, and the answers say that it had trouble."""
    sandbox.fail_next(len(ids), 503, method="DELETE", applied=True)
    connect(monkeypatch, sandbox, max_attempts=1)


def seen_within_one_call(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> None:
    """All but the last are deleted by a request whose reply is lost, and found missing by the next one."""
    for each in ids[:-1]:
        sandbox.fail_next(1, "reset_after", method="DELETE", path=each)
    sandbox.fail_next(FOREVER, 503, method="DELETE", path=ids[-1], applied=True)


def empty(sandbox: Sandbox, ids: list[str]) -> None:
    """Let nothing be there any more, whatever became of it."""
    for each in ids:
        if each in sandbox:
            sandbox.remove_collection(each)


@pytest.mark.parametrize(
    ("keeper", "first_try", "green"),
    [
        *[(keeper, nothing_left, False) for keeper in ("ledger", "store", "neither")],
        *[(keeper, took_effect, keeper != "neither") for keeper in ("ledger", "store", "neither")],
        *[(keeper, seen_within_one_call, True) for keeper in ("ledger", "store")],
    ],
)
def test_ids_that_are_all_missing_on_a_retry_need_evidence(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: Lines,
    keeper: str,
    first_try: Any,
    green: bool,
) -> None:
    tries, ids = Tries(keeper, tmp_path), old(sandbox, sandbox.add_workflow(), 12)
    first_try(sandbox, monkeypatch, ids)
    assert tries.run(delete, collection_ids=ids).is_retryable
    assert not lines.matching("missing counts as deleted")
    sandbox.clear_faults()
    connect(monkeypatch, sandbox)
    empty(sandbox, ids)
    ran = tries.run(delete, collection_ids=ids)
    assert (ran.is_green, ran.is_final) == (green, not green)
    assert bool(lines.matching("missing counts as deleted")) is (keeper == "neither")
    assert green or "HTTP 404 for every collection" in ran.words
    assert ran.summary["already_gone"] == (0 if not green and keeper != "neither" else 12)


@pytest.mark.parametrize("keeper", ["store", "neither"])
@pytest.mark.parametrize("first_try", [nothing_left, refused, took_effect])
def test_one_id_that_is_missing_on_a_retry_needs_it_too(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    keeper: str,
    first_try: Any,
) -> None:
    tries, (collection_id,) = Tries(keeper, tmp_path), old(sandbox, sandbox.add_workflow(), 1)
    first_try(sandbox, monkeypatch, [collection_id])
    assert tries.run(delete_one, collection_id=collection_id).is_retryable
    assert tries.store == ({STORE_KEY: [collection_id]} if keeper == "store" and first_try is took_effect else {})
    sandbox.clear_faults()
    connect(monkeypatch, sandbox)
    empty(sandbox, [collection_id])
    green = keeper == "neither" or first_try is took_effect
    ran = tries.run(delete_one, collection_id=collection_id.upper())
    assert (ran.is_green, ran.is_final) == (green, not green)


def test_some_that_are_missing(sandbox: Sandbox, tries: Tries) -> None:
    """What no earlier try has sent is missing on a retry as it is at the first try."""
    gone = old(sandbox, sandbox.add_workflow(), 3)
    never_there = [str(uuid.uuid4()), str(uuid.uuid4())]
    sandbox.fail_next(FOREVER, 503, method="DELETE", path=gone[2])
    given = {"collection_ids": [*gone, *never_there], "max_deletions": 5}
    assert tries.run(delete, **given).counts() == (5, 2, 0, 3, 0)
    sandbox.clear_faults()
    ran = tries.run(delete, **given)
    assert ran.is_final
    assert ran.counts() == (5, 1, 2, 2, 0)
    assert all(each in ran.words for each in never_there)


def test_a_worker_that_dies_leaves_evidence(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is there before the first delete leaves; what is seen then is what a kill at any later moment leaves."""
    tries, ids = Tries("store", tmp_path), old(sandbox, sandbox.add_workflow(), 30)
    seen: list[dict[str, Any]] = []
    sandbox.on_request.append(lambda _: seen.append(dict(tries.store)))
    assert tries.run(delete, collection_ids=[each.replace("-", "") for each in ids]).is_green
    assert seen[0] == {STORE_KEY: sorted(ids)}
    tries.store = StateStore(seen[0])
    ran = tries.run(delete, collection_ids=ids)
    assert ran.counts() == (30, 0, 30, 0, 0)
    assert ran.is_green


def test_limit_counts_a_dag_run_with_all_its_tries(sandbox: Sandbox, workflow: str, tries: Tries) -> None:
    ids = old(sandbox, workflow, 12)
    given = {"workflow_id": workflow, "limit": 5, "max_deletions": 5}
    sandbox.fail_next(FOREVER, 503, method="DELETE", path=ids[1])
    for _ in range(3):
        assert not tries.run(purge, **given).is_green
    assert sandbox.deleted == dict.fromkeys([ids[0], *ids[2:5]], 1)
    sandbox.clear_faults()
    assert tries.run(purge, **given).is_green
    assert sandbox.deleted == dict.fromkeys(ids[:5], 1)
    ran = tries.run(purge, workflow_id=workflow, max_deletions=5)
    assert ran.is_final
    assert "7 file collections after 5 in earlier tries" in ran.words


def test_the_guard_counts_ids_that_earlier_tries_deleted(sandbox: Sandbox, workflow: str, tries: Tries) -> None:
    ids = old(sandbox, workflow, 6)
    assert tries.run(delete, collection_ids=ids[:3], max_deletions=5).is_green
    ran = tries.run(delete, collection_ids=ids[3:], max_deletions=5)
    assert ran.is_final
    assert "3 file collections after 3 in earlier tries" in ran.words
    assert sandbox.deleted == dict.fromkeys(ids[:3], 1)


def test_where_nothing_is_known_limit_counts_each_try_and_says_so(
    sandbox: Sandbox, workflow: str, tmp_path: Path, lines: Lines
) -> None:
    tries = Tries("neither", tmp_path)
    old(sandbox, workflow, 12)
    for deleted in (5, 10):
        assert not lines.matching("count this try alone")
        assert tries.run(purge, workflow_id=workflow, limit=5).is_green
        assert len(sandbox.deleted) == deleted
    assert len(lines.matching("limit and max_deletions count this try alone; set ledger_path")) == 1


def test_more_ids_than_the_store_should_hold_are_evidence_all_the_same(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    monkeypatch.setattr("airflow_provider_anyformat.retention.earlier._LARGEST", 400)
    tries, ids = Tries("store", tmp_path), old(sandbox, sandbox.add_workflow(), 11)
    sandbox.fail_next(len(ids), 503, method="DELETE", applied=True)
    connect(monkeypatch, sandbox, max_attempts=1)
    assert tries.run(delete, collection_ids=ids).is_retryable
    assert isinstance(tries.store[STORE_KEY], str)
    assert tries.run(delete, collection_ids=ids).counts() == (11, 0, 11, 0, 0)
    assert lines.matching("count this try alone")
    assert isinstance(tries.store[STORE_KEY], str)
    # What is left of them in the end may be few enough to be named.
    fewer = Tries("store", tmp_path)
    more = old(sandbox, sandbox.add_workflow(), 11)
    sandbox.fail_next(1, 422, method="DELETE", path=more[0])
    assert fewer.run(delete, collection_ids=more).is_final
    assert fewer.store == {STORE_KEY: sorted(more[1:])}


class Broken(StateStore):
    """A store whose server is away for some calls."""

    fails: tuple[str, ...] = ()

    def get(self, key: str, default: Any = None) -> Any:
        self._check("get")
        return super().get(key, default)

    def set(self, key: str, value: Any) -> None:
        self._check("set")
        super().set(key, value)

    def delete(self, key: str) -> None:
        self._check("delete")
        super().delete(key)

    def _check(self, call: str) -> None:
        if call in self.fails:
            raise ConnectionError(f"{call} went wrong")


@pytest.mark.parametrize("kind", ["one", "many", "purge"])
@pytest.mark.parametrize("call", ["get", "set"])
def test_without_evidence_nothing_is_sent(sandbox: Sandbox, workflow: str, kind: str, call: str) -> None:
    ids = old(sandbox, workflow, 3)
    tasks = {
        "one": lambda: delete_one(collection_id=ids[0]),
        "many": lambda: delete(collection_ids=ids),
        "purge": lambda: purge(workflow_id=workflow),
    }
    store = Broken()
    store.fails = (call,)
    ran = run(tasks[kind](), task_state_store=store)
    assert ran.is_retryable
    assert f"ConnectionError: {call} went wrong. Nothing was deleted" in ran.words
    assert sandbox.requests_to("DELETE") == []
    store.fails = ()
    assert run(tasks[kind](), 2, task_state_store=store).is_green


def test_evidence_that_cannot_be_taken_back_stays(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    """It then says too much: that is not a reason to fail, and never lets more be deleted."""
    ids = old(sandbox, sandbox.add_workflow(), 3)
    store = Broken()
    store.fails = ("delete",)
    nothing_left(sandbox, monkeypatch, ids)
    ran = run(delete(collection_ids=ids), task_state_store=store)
    assert "Connection refused" in ran.words
    assert store == {STORE_KEY: sorted(ids)}
    assert lines.matching("task_state_store could not be written: delete went wrong")
