"""Results are archived before their collection is deleted; what cannot be archived stays."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, AirflowFailException
from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import AnyformatBulkError, AnyformatError, AnyformatStoppedError
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
from airflow_provider_anyformat.retention.archive import Archive
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.storage import open_folder
from tests.support.ledgers import ledger_of
from tests.support.logs import Lines
from tests.support.s3_server import S3Server
from tests.support.sandboxes import at_request, fill, on_both_versions
from tests.support.tasks import TaskInstance, purge

_numbers = itertools.count()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server(f"s3_archive_{next(_numbers)}") as server:
        monkeypatch.setenv(*next(iter(server.connection.items())))
        yield server


@pytest.fixture(params=["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.untraced])])
def archive_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "archive")
    return str(request.getfixturevalue("s3").path("archive"))


def contents(path: str) -> dict[str, bytes]:
    folder = open_folder(path, "archive_path")
    return {name: folder.read(name) for name in folder.files()}


def run_id_of(path: str) -> str:
    return path.rstrip("/").removesuffix("/results").rpartition("/")[2]


def test_results_are_saved_before_the_delete(sandbox: Any, archive_path: str) -> None:
    workflow_id, due = fill(sandbox, 16)
    young = next(row["id"] for row in sandbox.collections(workflow_id) if row["id"] not in due)
    saved_at_delete: list[bool] = []
    folder = open_folder(archive_path, "archive_path")

    def look(request: Any) -> None:
        if request.method == "DELETE" and isinstance(folder, LocalFolder):
            saved_at_delete.append(
                Path(archive_path, workflow_id, f"{run_id_of(request.path)}.json").stat().st_size > 0
            )

    sandbox.on_request.append(look)
    summary = purge(workflow_id, archive_path=archive_path)

    assert summary["deleted"] == 16
    assert sandbox.deleted == dict.fromkeys(due, 1)
    saved = contents(archive_path)
    assert sorted(saved) == sorted(f"{workflow_id}/{each}.json" for each in due)
    for each in due:
        assert json.loads(saved[f"{workflow_id}/{each}.json"])["collection_id"] == each
        mine = [request.method for request in sandbox.requests if run_id_of(request.path) == each]
        assert mine == ["GET", "DELETE"]
    assert not any(run_id_of(request.path) == young for request in sandbox.requests)
    assert all(saved_at_delete)


def test_the_body_is_kept_as_received(sandbox: Any, archive_path: str) -> None:
    workflow_id, (each,) = fill(sandbox, 1)
    body = b'{"b": 1,\r\n  "a": "\\u00e4 \xc3\xa4", "n": 1.0e2 }\n'
    sandbox.fail_next(path="/results/", status=200, body=body)
    purge(workflow_id, archive_path=archive_path)
    assert contents(archive_path) == {f"{workflow_id}/{each}.json": body}
    assert each in sandbox.deleted


def test_the_same_content_again_is_fine_and_other_content_stays(sandbox: Any, archive_path: str) -> None:
    workflow_id, (same, other, fresh) = fill(sandbox, 3)
    folder = open_folder(archive_path, "archive_path")
    folder.put(f"{workflow_id}/{other}.json", b"{}")
    # An earlier try archived this one, then its delete did not go through.
    sandbox.fail_next(30, 503, method="DELETE", path=same)
    with pytest.raises(AnyformatBulkError):
        purge(workflow_id, archive_path=archive_path)
    assert set(sandbox.deleted) == {fresh}
    before = contents(archive_path)
    sandbox.clear_faults()

    with pytest.raises(AirflowFailException, match=other):
        purge(workflow_id, archive_path=archive_path)
    assert set(sandbox.deleted) == {fresh, same}
    assert sandbox.exists(other)
    assert contents(archive_path) == before
    assert before[f"{workflow_id}/{other}.json"] == b"{}"


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2.11 runs an operator in the main thread only")
def test_two_purges_at_once_share_an_archive(sandbox: Any, archive_path: str) -> None:
    workflow_id, due = fill(sandbox, 16)
    sandbox.latency = 0.01
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(purge, workflow_id, archive_path=archive_path) for _ in range(2)]
        summaries = [each.result() for each in runs]
    assert sandbox.deleted == dict.fromkeys(due, 1)
    assert [each["failed"] for each in summaries] == [0, 0]
    assert sum(each["deleted"] for each in summaries) == 16
    assert len(contents(archive_path)) == 16


@pytest.mark.parametrize(
    ("fault", "final"),
    [
        pytest.param({"status": 412}, True, id="412 though processed"),
        pytest.param({"status": 500}, False, id="500"),
        pytest.param({"status": 200, "body": b"[1, 2]"}, True, id="no object"),
        pytest.param({"status": 200, "body": b"<html>"}, True, id="no JSON"),
        pytest.param({"status": 204}, True, id="no body"),
        pytest.param({"status": 412, "body": b'{"error": "not ready"}'}, False, id="not ready"),
        pytest.param({"kind": "truncated"}, False, id="broken off"),
        pytest.param({"kind": "reset_before"}, False, id="reset"),
    ],
)
def test_without_its_results_a_collection_stays(
    sandbox: Any, tmp_path: Path, fault: dict[str, Any], final: bool
) -> None:
    workflow_id, due = fill(sandbox, 5)
    kind = fault.pop("kind", "status")
    sandbox.fail_next(10, kind, path=f"{due[2]}/results/", **fault)
    ti = TaskInstance()
    with pytest.raises(AirflowFailException if final else AnyformatBulkError, match=due[2]):
        purge(workflow_id, ti, archive_path=str(tmp_path / "archive"), ledger_path=str(tmp_path / "ledger"))

    assert set(sandbox.deleted) == set(due) - {due[2]}
    assert not [request for request in sandbox.requests_to("DELETE") if due[2] in request.path]
    assert not (tmp_path / "archive" / workflow_id / f"{due[2]}.json").exists()
    # Nothing was sent that could have deleted it: that is no "unknown".
    (run,) = ledger_of(tmp_path / "ledger")
    assert run.outcomes[due[2]] == "failed"
    assert (ti.xcoms["summary"]["deleted"], ti.xcoms["summary"]["failed"]) == (4, 1)


@pytest.mark.parametrize("status", ["error", "cancelled"])
@pytest.mark.parametrize("failure_status", [412, 422])
def test_what_will_never_have_results_is_deleted(
    sandbox: Any, tmp_path: Path, lines: Lines, status: str, failure_status: int
) -> None:
    workflow_id, due = fill(sandbox, 3)
    ended = sandbox.fill(workflow_id, 4, status=status, created_at=None)
    for each in ended:
        sandbox.update_collection(each, created_at="2020-01-01T00:00:00Z")
    sandbox.failure_status = failure_status
    # One of them has results all the same; of two others the server does not say that there will be none.
    body = b'{"partial": true}'
    sandbox.fail_next(path=f"{ended[0]}/results/", status=200, body=body)
    sandbox.fail_next(path=f"{ended[1]}/results/", status=412, body=b'{"error": "not ready"}')
    sandbox.fail_next(path=f"{ended[2]}/results/", status=422, body=b'{"detail": []}')
    summary = purge(
        workflow_id,
        statuses=["processed", status],
        limit=7,
        archive_path=str(tmp_path / "archive"),
        ledger_path=str(tmp_path / "ledger"),
    )

    assert set(sandbox.deleted) == {*due, ended[0], ended[3]}
    assert (tmp_path / "archive" / workflow_id / f"{ended[0]}.json").read_bytes() == body
    assert summary["kept"] == {"no_results": 2, "too_young": 1}
    assert len(lines.matching("stays: it has no results to archive")) == 2
    counts = {name: summary[name] for name in ("due", "requested", "deleted", "failed", "not_attempted")}
    assert counts == {"due": 7, "requested": 5, "deleted": 5, "failed": 0, "not_attempted": 0}
    (run,) = ledger_of(tmp_path / "ledger")
    assert [run.outcomes[each] for each in ended] == ["deleted", "not_attempted", "not_attempted", "deleted"]
    files = (tmp_path / "ledger").rglob("outcomes-*")
    archived = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert {row["collection_id"]: row["archived"] for row in archived if "archived" in row} == {ended[3]: "none"}
    run.check_digests()


@on_both_versions
def test_what_is_gone_before_its_results_are_asked_for_is_not_deleted(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 3)
    at_request(sandbox, 2, lambda: sandbox.remove_collection(due[1]), method="GET")
    summary = purge(workflow_id, archive_path=str(tmp_path / "archive"), ledger_path=str(tmp_path / "ledger"))
    assert (summary["deleted"], summary["already_gone"], summary["failed"]) == (2, 1, 0)
    assert due[1] not in {request.path.split("/")[-2] for request in sandbox.requests_to("DELETE")}
    saved = contents(str(tmp_path / "archive"))
    assert saved.keys() == {f"{workflow_id}/{each}.json" for each in (due[0], due[2])}
    assert all("extractions" in json.loads(results) for results in saved.values())
    (run,) = ledger_of(tmp_path / "ledger")
    assert run.outcomes[due[1]] == "already_gone"


def test_an_archive_that_cannot_be_written_keeps_everything(sandbox: Any, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("no folder")
    workflow_id, _ = fill(sandbox, 100)
    with pytest.raises(AnyformatError) as caught:
        purge(workflow_id, archive_path=str(tmp_path / "archive"), ledger_path=str(tmp_path / "ledger"))
    assert caught.value.retryable
    assert sandbox.requests_to("DELETE") == []
    # After twenty in a row it does not ask for a million results in vain.
    assert len(sandbox.requests_to("GET", "/results/")) < 40


@pytest.mark.s3
@pytest.mark.parametrize("way", ["refuses", "is gone"])
def test_a_bucket_that_takes_nothing_keeps_everything(sandbox: Any, s3: S3Server, way: str) -> None:
    workflow_id, _ = fill(sandbox, 5)
    open_folder(s3.path("archive"), "archive_path")
    if way == "refuses":
        s3.denies = lambda request: request.method == "PUT"
    else:
        s3.stop()
    with pytest.raises(AnyformatBulkError) as caught:
        purge(workflow_id, archive_path=s3.path("archive"))
    assert caught.value.retryable
    assert sandbox.requests_to("DELETE") == []


def test_what_is_read_back_otherwise_stays(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow_id, due = fill(sandbox, 2)
    put = LocalFolder.put

    def lossy(self: LocalFolder, name: str, data: bytes) -> None:
        put(self, name, data[:-1] if due[0] in name else data)

    monkeypatch.setattr(LocalFolder, "put", lossy)
    with pytest.raises(AnyformatBulkError, match=due[0]):
        purge(workflow_id, archive_path=str(tmp_path))
    assert set(sandbox.deleted) == {due[1]}


def test_a_kill_while_threads_wait_for_the_archive(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id, due = fill(sandbox, 60)
    put = LocalFolder.put
    operator = PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id=workflow_id,
        older_than="P30D",
        archive_path=str(tmp_path / "archive"),
        ledger_path=str(tmp_path / "ledger"),
    )
    saved = itertools.count(1)

    def slow(self: LocalFolder, name: str, data: bytes) -> None:
        if workflow_id in name and next(saved) == 20:
            operator.on_kill()
            # The other threads have their results by now, and wait.
            time.sleep(0.3)
        put(self, name, data)

    monkeypatch.setattr(LocalFolder, "put", slow)
    with pytest.raises(AnyformatStoppedError):
        operator.execute({})
    ended = time.time()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("anyformat-delete")] == []
    time.sleep(0.2)
    assert [request for request in sandbox.requests if request.time > ended] == []
    (run,) = ledger_of(tmp_path / "ledger")
    run.check_digests()
    assert {each for each, outcome in run.outcomes.items() if outcome == "deleted"} == set(sandbox.deleted)
    assert 0 < len(sandbox.deleted) <= 20
    # What is gone is in the archive.
    assert set(sandbox.deleted) <= {path.stem for path in (tmp_path / "archive" / workflow_id).iterdir()}
    assert run.summary is not None
    assert run.summary["deleted"] + run.summary["failed"] + run.summary["not_attempted"] == len(due)

    monkeypatch.setattr(LocalFolder, "put", put)
    purge(workflow_id, archive_path=str(tmp_path / "archive"), ledger_path=str(tmp_path / "ledger"))
    assert sandbox.deleted == dict.fromkeys(due, 1)


@pytest.mark.parametrize(("size", "together"), [(10, True), (2_000_000, False)], ids=["small", "large"])
def test_large_results_are_in_memory_one_after_the_other(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, together: bool
) -> None:
    workflow_id, due = fill(sandbox, 8)
    body = json.dumps({"text": "x" * size}).encode()
    for each in due:
        sandbox.fail_next(2, path=f"{each}/results/", status=200, body=body)
    held: set[str] = set()
    seen: list[int] = []
    get, save = AnyformatClient.get_results, Archive.save

    def get_and_hold(self: Any, workflow_id: str, collection_id: str, **bounds: int) -> bytes:
        body = get(self, workflow_id, collection_id, **bounds)
        held.add(collection_id)
        seen.append(len(held))
        return body

    def save_slowly(self: Any, row: Any, body: bytes) -> None:
        time.sleep(0.05)
        save(self, row, body)
        held.remove(row.collection_id)

    monkeypatch.setattr(AnyformatClient, "get_results", get_and_hold)
    monkeypatch.setattr(Archive, "save", save_slowly)
    assert purge(workflow_id, archive_path=str(tmp_path))["deleted"] == 8
    assert {path.stat().st_size for path in (tmp_path / workflow_id).iterdir()} == {len(body)}
    assert (max(seen) > 1) is together


def test_archive_and_ledger_take_turns_when_many_are_deleted(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 300)
    summary = purge(
        workflow_id, archive_path=str(tmp_path / "archive"), ledger_path=str(tmp_path / "ledger"), max_workers=32
    )
    assert summary["deleted"] == 300
    assert sandbox.deleted == dict.fromkeys(due, 1)
    (run,) = ledger_of(tmp_path / "ledger")
    run.check_digests()
    assert len(list((tmp_path / "archive" / workflow_id).iterdir())) == 300
