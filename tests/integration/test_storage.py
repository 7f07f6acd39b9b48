"""Ledgers on every kind of storage: a local path, ``file://``, and S3 through Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

import builtins
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.storage import open_folder
from tests.support.ledgers import Run, age, ledger_of, read_runs
from tests.support.s3_server import Request, S3Server
from tests.support.sandboxes import QUICK, fill
from tests.support.tasks import TaskInstance, purge

pytestmark = pytest.mark.untraced

_numbers = itertools.count()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server(f"s3_storage_{next(_numbers)}") as server:
        for name, value in server.connection.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(params=["path", "file", pytest.param("s3", marks=pytest.mark.s3)])
def ledger_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet, on each kind of storage."""
    if request.param == "path":
        return str(tmp_path / "led ger" / "x+y")
    if request.param == "file":
        return (tmp_path / "led ger" / "100%").as_uri()
    return str(request.getfixturevalue("s3").path("led ger/x%20y"))


def stored(path: str) -> list[Run]:
    folder = open_folder(path, "ledger_path")
    return read_runs(folder.files(), folder.read)


def test_a_folder_gives_back_what_was_put_and_never_puts_over_it(ledger_path: str) -> None:
    folder = open_folder(ledger_path, "ledger_path")
    assert list(folder.files()) == []
    run = folder.folder("dag%3A1/a+b=c/manual__2026-01-01T00%3A00%3A00%2B00%3A00")
    run.put("plan.json", b"first")
    with pytest.raises(FileExistsError):
        run.put("plan.json", b"second")
    run.put("empty", b"")
    run.put("sub/umlaut-ä.json", "ä".encode())

    assert run.read("plan.json") == b"first"
    assert run.read("empty") == b""
    with pytest.raises(FileNotFoundError):
        run.read("missing")
    assert sorted(run.files()) == ["empty", "plan.json", "sub/umlaut-ä.json"]
    prefix = "dag%3A1/a+b=c/manual__2026-01-01T00%3A00%3A00%2B00%3A00/"
    assert prefix + "plan.json" in set(open_folder(ledger_path, "ledger_path").files())
    # A run's folder can be named to a later task by its URL.
    again = open_folder(run.url, "plan_path")
    assert again.read("plan.json") == b"first"
    assert again.url == run.url


def test_listings_are_never_stale(ledger_path: str) -> None:
    one, other = (open_folder(ledger_path, "ledger_path") for _ in range(2))
    one.put("a/1", b"")
    assert list(other.files()) == ["a/1"]
    one.put("a/2", b"")
    assert sorted(other.files()) == ["a/1", "a/2"]
    with pytest.raises(FileExistsError):
        other.put("a/2", b"")


def test_a_purge_keeps_its_ledger_there(sandbox: Any, ledger_path: str) -> None:
    workflow_id, due = fill(sandbox, 230)
    ti = TaskInstance(dag_id="team/nightly", run_id="manual__2026-01-01T00:00:00+00:00")
    summary = purge(workflow_id, ti, ledger_path=ledger_path)

    assert sandbox.deleted == dict.fromkeys(due, 1)
    (run,) = stored(ledger_path)
    assert run.name.startswith("team%2Fnightly/purge/-1/manual__2026-01-01T00%3A00%3A00+00%3A00/1/")
    assert sorted(run.planned) == sorted(due)
    assert run.outcomes == dict.fromkeys(due, "deleted")
    run.check_digests()
    assert run.summary is not None
    assert run.summary.items() >= {key: value for key, value in summary.items() if key != "summary_sha256"}.items()
    assert sorted(open_folder(summary["plan_path"], "plan_path").files()) == sorted(run.files)


def test_what_a_killed_run_left_is_settled_there(sandbox: Any, ledger_path: str) -> None:
    workflow_id, due = fill(sandbox, 5)
    purge(workflow_id, TaskInstance(), ledger_path=ledger_path, plan_only=True)
    (planned,) = stored(ledger_path)
    # The same plan, of an earlier try that was killed after two deletes and before it could write anything of them.
    killed = open_folder(ledger_path, "ledger_path").folder("nightly/purge/-1/run-2/0/00000000")
    for name in ("plan.jsonl", "plan.json"):
        killed.put(name, planned.files[name])
    assert abs(time.time() - killed.modified("plan.json")) < 60
    for collection_id in due[:2]:
        sandbox.remove_collection(collection_id)

    purge(workflow_id, TaskInstance(run_id="run-2"), ledger_path=ledger_path)
    last = next(run for run in stored(ledger_path) if "run-2/1" in run.name)
    assert last.outcomes == dict.fromkeys(due[:2], "gone_unconfirmed") | dict.fromkeys(due[2:], "deleted")
    last.check_digests()
    assert last.summary is not None
    assert (last.summary["requested"], last.summary["already_gone"]) == (3, 0)

    purge(workflow_id, TaskInstance(run_id="run-3"), ledger_path=ledger_path)
    assert next(run for run in stored(ledger_path) if "run-3" in run.name).outcomes == {}


def test_what_a_killed_run_left_stays_open_until_the_server_says_that_it_is_gone(sandbox: Any, tmp_path: Path) -> None:
    """That no listing shows it is not enough."""
    workflow_id, (hidden, *_) = fill(sandbox, 3)
    purge(workflow_id, TaskInstance(), ledger_path=str(tmp_path), plan_only=True)
    (planned,) = stored(str(tmp_path))
    killed = open_folder(str(tmp_path), "ledger_path").folder("nightly/purge/-1/run-2/0/00000000")
    for name in ("plan.jsonl", "plan.json"):
        killed.put(name, planned.files[name])

    def hide(_: int, page: dict[str, Any]) -> dict[str, Any]:
        rows = [row for row in page["results"] if row["id"] != hidden]
        return {**page, "results": rows, "count": len(rows)}

    sandbox.mangle_page = hide
    for number, trouble in enumerate(("none", "unclear", "gone"), 1):
        if trouble == "unclear":
            sandbox.fail_next(3, 503, path=f"{hidden}/results/")
        if trouble == "gone":
            sandbox.remove_collection(hidden)
        purge(workflow_id, TaskInstance(run_id="run-2", try_number=number), ledger_path=str(tmp_path))
        last = next(run for run in stored(str(tmp_path)) if f"run-2/{number}" in run.name)
        assert last.outcomes.get(hidden) == ("gone_unconfirmed" if trouble == "gone" else None)


@pytest.mark.s3
def test_each_file_is_one_put_and_nothing_is_copied_or_deleted(sandbox: Any, s3: S3Server) -> None:
    s3.denies = lambda request: request.method == "DELETE" or request.copies or "delete" in request.query
    workflow_id, due = fill(sandbox, 250)
    purge(workflow_id, TaskInstance(), ledger_path=s3.path("ledger"))

    (run,) = stored(s3.path("ledger"))
    assert run.outcomes == dict.fromkeys(due, "deleted")
    puts = s3.asked("PUT", "POST", "DELETE")
    assert {request.method for request in puts} == {"PUT"}
    assert not any(request.copies or request.query for request in puts)
    assert all(request.conditional for request in puts)
    assert sorted(request.key for request in puts) == sorted(f"ledger/{run.name}/{name}" for name in run.files)
    run.check_digests()


@pytest.mark.s3
def test_a_task_that_may_only_add_to_the_bucket_still_purges(
    sandbox: Any, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    s3.denies = lambda request: request.method != "PUT"
    workflow_id, due = fill(sandbox, 30)
    purge(workflow_id, TaskInstance(), ledger_path=s3.path("ledger"))
    assert sandbox.deleted == dict.fromkeys(due, 1)
    # Nothing of earlier runs can be settled then, and it says so.
    assert any("settled" in record.message for record in caplog.records if record.levelname == "WARNING")

    s3.denies = lambda request: False
    (run,) = stored(s3.path("ledger"))
    assert run.outcomes == dict.fromkeys(due, "deleted")
    run.check_digests()


@pytest.mark.s3
def test_without_a_connection_id_it_is_the_default_one_and_the_command_verifies_it(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, sandbox: Any
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", next(iter(s3.connection.values())))
    # Where the URL names no connection, Airflow's file system takes boto's own settings.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    workflow_id, _ = fill(sandbox, 3)
    ledger = f"s3://{s3.bucket}/plain"
    summary = purge(workflow_id, TaskInstance(), ledger_path=ledger)
    assert summary["deleted"] == 3
    assert {request.key.partition("/")[0] for request in s3.asked("PUT")} == {"plain"}

    def verify() -> tuple[int, Any]:
        command = [sys.executable, "-m", "airflow_provider_anyformat", "verify", ledger, "--json"]
        head = ["--head", summary["summary_sha256"]]
        done = subprocess.run([*command, *head], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, json.loads(done.stdout)

    code, found = verify()
    assert (code, found["ok"], found["runs"], found["collections"]) == (0, True, 1, 3), found
    folder = open_folder(ledger, "ledger_path")
    (outcomes,) = [name for name in folder.files() if "outcomes" in name]
    folder.replace(outcomes, folder.read(outcomes).replace(b'"deleted"', b'"missing"', 1))
    code, found = verify()
    assert (code, {each["problem"] for each in found["problems"]}) == (1, {"changed"})


@pytest.mark.s3
@pytest.mark.parametrize(
    "denies",
    [
        pytest.param(lambda request: request.method == "PUT", id="put denied"),
        pytest.param(lambda request: request.key.endswith("plan.json"), id="second file denied"),
    ],
)
def test_a_bucket_that_takes_nothing_stops_the_purge(
    sandbox: Any, s3: S3Server, denies: Callable[[Request], bool]
) -> None:
    s3.denies = denies
    workflow_id, _ = fill(sandbox, 5)
    with pytest.raises(AnyformatLedgerError):
        purge(workflow_id, ledger_path=s3.path("ledger"))
    assert sandbox.requests_to("DELETE") == []


@pytest.mark.s3
def test_a_bucket_that_is_missing_is_not_made(sandbox: Any, s3: S3Server) -> None:
    workflow_id, _ = fill(sandbox, 5)
    with pytest.raises(AnyformatLedgerError):
        purge(workflow_id, ledger_path=f"s3://{s3.conn_id}@nobucket/ledger")
    assert sandbox.requests_to("DELETE") == []
    # A PUT on the bucket itself would make it.
    assert all(request.key.startswith("nobucket/ledger/") for request in s3.asked("PUT"))


@pytest.mark.s3
@pytest.mark.parametrize("way", ["refuses", "is gone"])
def test_s3_that_breaks_half_way_stops_the_purge(
    sandbox: Any, s3: S3Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    workflow_id, due = fill(sandbox, 600)
    deletes, puts = itertools.count(1), itertools.count(1)
    if way == "refuses":
        # The two files of the plan and one part are stored.
        s3.denies = lambda request: request.method == "PUT" and next(puts) > 3
    else:
        sandbox.on_request.append(
            lambda request: s3.stop() if request.method == "DELETE" and next(deletes) == 150 else None
        )
    with pytest.raises(AnyformatLedgerError):
        purge(workflow_id, ledger_path=s3.path("ledger"), max_workers=4)
    with S3Server(f"s3_storage_{next(_numbers)}", keep=True) as again:
        monkeypatch.setenv(*next(iter(again.connection.items())))
        (run,) = stored(again.path("ledger"))
    check_nothing_is_lost(sandbox, run, caplog)
    assert len(sandbox.deleted) < len(due)


def test_a_local_disk_that_breaks_half_way_stops_the_purge(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workflow_id, due = fill(sandbox, 600)
    opened: list[Any] = []

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" in mode:
            opened.append(path)
            if len(opened) > 3:
                raise OSError(28, "No space left on device")
        return builtins.open(path, mode, *args, **kwargs)  # noqa: PTH123

    monkeypatch.setattr(Path, "open", full)
    ti = TaskInstance()
    with pytest.raises(AnyformatLedgerError):
        purge(workflow_id, ti, ledger_path=str(tmp_path), max_workers=4)
    (run,) = ledger_of(tmp_path)
    check_nothing_is_lost(sandbox, run, caplog)
    assert len(sandbox.deleted) < len(due)
    # The summary says it all the same, and a later run settles what is missing in the folder.
    assert ti.xcoms["summary"]["deleted"] == len(sandbox.deleted)
    assert ti.xcoms["summary"]["not_attempted"] == len(due) - len(sandbox.deleted)
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", sandbox.conn_json(QUICK))
    age(tmp_path)
    purge(workflow_id, TaskInstance(run_id="run-2"), ledger_path=str(tmp_path))
    known = {each for run in ledger_of(tmp_path) for each in run.outcomes}
    assert known == set(due)
    assert sandbox.deleted == dict.fromkeys(due, 1)


def check_nothing_is_lost(sandbox: Any, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """What is not in the ledger is in the log, at ERROR, a line an id; and it stopped at once."""
    told = [r.getMessage() for r in caplog.records if r.levelname == "ERROR" and "collection_id" in r.getMessage()]
    missing = set(sandbox.deleted) - set(run.outcomes)
    assert 0 < len(missing) <= 200
    assert all(any(each in line and '"deleted"' in line for line in told) for each in missing)
    assert all(sum(line.count(each) for each in sandbox.deleted) <= 1 for line in told)
    assert set(sandbox.deleted.values()) == {1}
    assert run.summary is None


def test_a_folder_that_cannot_be_made_stops_the_purge(sandbox: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    workflow_id, _ = fill(sandbox, 5)
    with pytest.raises(AnyformatLedgerError) as caught:
        purge(workflow_id, ledger_path=str(tmp_path / "file" / "ledger"))
    assert caught.value.retryable
    assert sandbox.requests_to("DELETE") == []


@pytest.mark.parametrize(
    "path",
    [
        "nosuchstore://bucket/ledger",
        "file://another.example/ledger",
        "file:///ledger#1",
        "file:///ledger?1",
    ],
)
def test_a_url_that_leads_nowhere_is_final(sandbox: Any, path: str) -> None:
    workflow_id, _ = fill(sandbox, 1)
    with pytest.raises(AirflowFailException, match="ledger_path"):
        purge(workflow_id, ledger_path=path)
    assert sandbox.requests_to("DELETE") == []


@pytest.mark.s3
def test_without_s3fs_it_says_what_to_install(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "s3fs":
            raise ModuleNotFoundError("No module named 's3fs'", name="s3fs")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    workflow_id, _ = fill(sandbox, 1)
    with pytest.raises(AirflowFailException, match=r"apache-airflow-providers-amazon\[s3fs\]"):
        purge(workflow_id, ledger_path="s3://s3_never_opened@bucket/ledger")
    assert sandbox.requests == []
