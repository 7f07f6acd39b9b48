"""What a purge writes into its ledger: which files and fields, when, and what never."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import AnyformatBulkError, AnyformatLedgerError
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.retention import ledger as ledger_module
from airflow_provider_anyformat.retention.folder import LocalFolder
from tests.support.ledgers import ledger_of
from tests.support.sandboxes import QUICK, fill
from tests.support.tasks import TaskInstance, purge

pytestmark = pytest.mark.untraced

PLAN = {
    "service",
    "workflows",
    "policy",
    "guards",
    "cutoff",
    "count",
    "digest",
    "made_at",
    "dag",
    "run",
    "task",
    "try",
    "provider_version",
}
PLAN_ROW = {"collection_id", "workflow_id", "status", "created_at", "updated_at", "reason"}
OUTCOME_ROW = {
    "collection_id",
    "workflow_id",
    "outcome",
    "http_status",
    "error_code",
    "request_id",
    "attempts",
    "deleted_at",
    "server_date",
}
SUMMARY = {
    "workflow_ids",
    "cutoff",
    "listed",
    "due",
    "requested",
    "deleted",
    "already_gone",
    "failed",
    "not_attempted",
    "kept",
    "plan_path",
    "plan_digest",
    "ledger",
}


@pytest.fixture
def sandbox(anyformat_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    anyformat_sandbox.rate_limit = None
    anyformat_sandbox.key = "af_a_key_that_nobody_may_see"
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", anyformat_sandbox.conn_json(QUICK))
    return anyformat_sandbox


def test_every_field(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 5)
    sandbox.fail_next(10, 422, method="DELETE", path=due[1])
    sandbox.fail_next(1, 503, method="DELETE", path=due[2])
    sandbox.on_request.append(
        lambda r: sandbox.remove_collection(due[3]) if r.method == "DELETE" and due[3] in r.path else None
    )
    sandbox.fail_next(10, "reset_after", method="DELETE", path=due[4])
    started = datetime.now(UTC).replace(microsecond=0)
    ti = TaskInstance(max_tries=3, try_number=2, map_index=4)
    with pytest.raises(AnyformatBulkError):
        purge(workflow_id, ti, ledger_path=str(tmp_path), exclude_names=["secret-*"])

    (run,) = ledger_of(tmp_path)
    assert re.fullmatch("nightly/purge/4/run-1/2/[0-9a-f]{8}", run.name)
    plan = json.loads(run.files["plan.json"])
    assert plan.keys() == PLAN
    origin = {"dag": "nightly", "task": "purge", "run": "run-1", "try": 2, "service": sandbox.url}
    assert {name: plan[name] for name in origin} == origin
    assert (plan["provider_version"], plan["count"], plan["workflows"]) == (__version__, 5, [workflow_id])
    assert started <= datetime.fromisoformat(plan["made_at"]) <= datetime.now(UTC)
    # Globs hold parts of names: their number is all that is told.
    assert (plan["policy"]["exclude_names"], plan["policy"]["include_names"]) == (1, 0)
    assert plan["guards"]["tripped"] == []
    rows = run.rows("plan.jsonl")
    assert sorted(row["collection_id"] for row in rows) == sorted(due)
    for row in rows:
        assert row.keys() == PLAN_ROW
        assert (row["workflow_id"], row["status"], row["reason"]) == (workflow_id, "processed", "due")
        assert row["created_at"].endswith("Z")

    outcomes = {row["collection_id"]: row for row in run.rows("outcomes-")}
    for row in outcomes.values():
        assert row.keys() == OUTCOME_ROW
        assert row["workflow_id"] == workflow_id
        assert (row["deleted_at"] is not None) == (row["outcome"] == "deleted")
    first, refused, again, gone, unsure = (outcomes[each] for each in due)
    assert (first["outcome"], first["http_status"], first["attempts"]) == ("deleted", 204, 1)
    assert started <= datetime.fromisoformat(first["deleted_at"]) <= datetime.now(UTC)
    assert abs(parsedate_to_datetime(first["server_date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (refused["outcome"], refused["http_status"], refused["attempts"]) == ("failed", 422, 1)
    assert (again["outcome"], again["attempts"]) == ("deleted", 2)
    # It was missing, and a second listing says that it is gone.
    assert (gone["outcome"], gone["http_status"]) == ("already_gone", 404)
    assert (unsure["outcome"], unsure["http_status"], unsure["attempts"]) == ("unknown", None, QUICK["max_attempts"])

    run.check_digests()
    assert run.summary is not None
    assert run.summary.keys() == SUMMARY | {"forecast", "sha256", "previous", "digest"}
    sha256 = hashlib.sha256(run.files["summary.json"]).hexdigest()
    shown = {name: run.summary[name] for name in SUMMARY | {"forecast"}}
    assert ti.xcoms["summary"] == shown | {"summary_sha256": sha256}
    assert run.summary["plan_digest"] == plan["digest"]
    assert (run.summary["requested"], run.summary["failed"]) == (5, 2)
    assert run.summary["ledger"] == str(tmp_path / run.name)
    # What nobody knows is for a later run to settle.
    assert "open.json" in run.files
    sandbox.clear_faults()
    purge(workflow_id, TaskInstance(run_id="run-2"), ledger_path=str(tmp_path))
    second = next(run for run in ledger_of(tmp_path) if "run-2" in run.name)
    assert second.outcomes == {due[1]: "deleted", due[4]: "gone_unconfirmed"}


def test_the_plan_is_on_disk_before_the_first_delete(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 20)
    found: list[dict[str, bytes]] = []

    def look(request: Any) -> None:
        if request.method == "DELETE" and not found:
            found.append({path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})

    sandbox.on_request.append(look)
    purge(workflow_id, ledger_path=str(tmp_path))
    (run,) = ledger_of(tmp_path)
    assert found == [{name: run.files[name] for name in ("plan.json", "plan.jsonl")}]
    assert len(run.rows("plan.jsonl")) == len(due)


def test_parts_have_two_hundred_rows_at_most(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 450)
    lost: list[int] = []

    def look(request: Any) -> None:
        if request.method == "DELETE":
            parts = [path for path in tmp_path.rglob("outcomes-*") if path.suffix == ".jsonl"]
            recorded = sum(len(path.read_bytes().splitlines()) for path in parts)
            lost.append(len(sandbox.deleted) - recorded)

    sandbox.on_request.append(look)
    purge(workflow_id, ledger_path=str(tmp_path), max_workers=16)
    (run,) = ledger_of(tmp_path)
    parts = {name: data for name, data in run.files.items() if name.startswith("outcomes-")}
    assert sorted(parts) == [f"outcomes-{number:05d}.jsonl" for number in range(1, len(parts) + 1)]
    assert all(0 < len(data.splitlines()) <= 200 for data in parts.values())
    assert run.outcomes == dict.fromkeys(due, "deleted")
    assert sum(len(data.splitlines()) for data in parts.values()) == 450
    assert max(lost) <= 200


def test_the_threads_wait_for_a_storage_that_is_slow(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than two hundred deletes are ever without a record, also while a part takes its time."""
    workflow_id, due = fill(sandbox, 500)
    put, most = LocalFolder.put, [0]

    def slow(self: LocalFolder, name: str, data: bytes) -> None:
        if name == "outcomes-00001.jsonl":
            # As long as it takes until nobody deletes any more.
            end, before = time.monotonic() + 20, -1
            while before != len(sandbox.deleted) and time.monotonic() < end:
                before = len(sandbox.deleted)
                time.sleep(0.5)
            most[0] = len(sandbox.deleted)
        put(self, name, data)

    monkeypatch.setattr(LocalFolder, "put", slow)
    purge(workflow_id, ledger_path=str(tmp_path), max_workers=32)
    assert 100 <= most[0] <= 200
    (run,) = ledger_of(tmp_path)
    assert run.outcomes == dict.fromkeys(due, "deleted")


def test_parts_are_written_after_a_while(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PART_SECONDS", 0.3)
    workflow_id, due = fill(sandbox, 8)
    sandbox.latency = 0.2
    purge(workflow_id, ledger_path=str(tmp_path), max_workers=1)
    (run,) = ledger_of(tmp_path)
    assert len([name for name in run.files if name.startswith("outcomes-")]) >= 3
    assert run.outcomes == dict.fromkeys(due, "deleted")


def test_neither_names_nor_the_key_are_in_it(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 5, name="Dr. Personal Data {}.pdf")
    sandbox.fail_next(2, 422, method="DELETE", path=due[0])
    with pytest.raises(AirflowFailException):
        purge(
            workflow_id,
            ledger_path=str(tmp_path),
            include_names=["Dr. Personal*"],
            exclude_names=["*Hidden Person*"],
        )
    (run,) = ledger_of(tmp_path)
    everything = b"".join(run.files.values()) + run.name.encode()
    for word in (b"Personal", b"Hidden", b".pdf", sandbox.key.encode()):
        assert word not in everything


@pytest.mark.parametrize(
    ("origin", "folder"),
    [
        pytest.param({"dag_id": "a/b c"}, "a%2Fb%20c/purge/-1/run-1/1", id="slash and blank"),
        pytest.param({"dag_id": ".."}, "%2E%2E/purge/-1/run-1/1", id="parent folder"),
        pytest.param(
            {"run_id": "scheduled__2026-01-01T00:00:00+00:00"},
            "nightly/purge/-1/scheduled__2026-01-01T00%3A00%3A00+00%3A00/1",
            id="a run's time",
        ),
        pytest.param({"run_id": "100%_é~=*?"}, "nightly/purge/-1/100%25_%C3%A9%7E=%2A%3F/1", id="odd characters"),
        pytest.param(
            {"task_id": "group.purge", "map_index": 12, "try_number": 3}, "nightly/group.purge/12/run-1/3", id="mapped"
        ),
    ],
)
def test_the_folder_of_a_run(sandbox: Any, tmp_path: Path, origin: dict[str, Any], folder: str) -> None:
    workflow_id, _ = fill(sandbox, 1)
    purge(workflow_id, TaskInstance(**origin), ledger_path=str(tmp_path))
    (run,) = ledger_of(tmp_path)
    assert run.name.rpartition("/")[0] == folder
    assert re.fullmatch("[0-9a-f]{8}", run.name.rpartition("/")[2])


def test_names_that_are_too_long_for_a_file_system_differ_all_the_same(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, _ = fill(sandbox, 1)
    for end in "ab":
        purge(workflow_id, TaskInstance(run_id="é" * 200 + end), ledger_path=str(tmp_path))
    assert len({run.name.rpartition("/")[0] for run in ledger_of(tmp_path)}) == 2


def test_without_a_task_instance(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, _ = fill(sandbox, 1)
    for _ in range(2):
        purge(workflow_id, ledger_path=str(tmp_path))
    names = [run.name for run in ledger_of(tmp_path)]
    assert len(names) == 2
    assert {name.rpartition("/")[0] for name in names} == {"_/_/-1/_/0"}


def test_a_tripped_guard_is_on_record_and_deletes_nothing(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, due = fill(sandbox, 5)
    with pytest.raises(AirflowFailException, match="max_deletions"):
        purge(workflow_id, ledger_path=str(tmp_path), max_deletions=4)
    assert sandbox.deleted == {}
    (run,) = ledger_of(tmp_path)
    assert sorted(run.planned) == sorted(due)
    assert b"max_deletions" in run.files["plan.json"]
    assert run.outcomes == {}
    run.check_digests()


def test_a_bulk_delete_keeps_one_too(sandbox: Any, tmp_path: Path) -> None:
    _, due = fill(sandbox, 5)
    operator = DeleteFileCollectionsOperator(task_id="delete", collection_ids=due, ledger_path=str(tmp_path))
    summary = operator.execute({"ti": TaskInstance(task_id="delete")})
    assert summary["deleted"] == 5
    (run,) = ledger_of(tmp_path)
    assert {(row["workflow_id"], row["reason"]) for row in run.rows("plan.jsonl")} == {(None, "given")}
    assert run.outcomes == dict.fromkeys(due, "deleted")
    run.check_digests()


def test_without_a_ledger_the_ids_are_in_the_log(sandbox: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    workflow_id, due = fill(sandbox, 45)
    summary = purge(workflow_id)
    assert (summary["ledger"], summary["plan_path"]) == (None, None)
    mine = [r for r in caplog.records if r.name.endswith(".recorder") and r.levelname == "INFO"]
    ids = [re.findall("[0-9a-f]{8}-[0-9a-f-]{27}", record.getMessage()) for record in mine]
    assert sorted(each for line in ids for each in line) == sorted(due)
    assert max(map(len, ids)) <= 20


def test_a_ledger_whose_summary_cannot_be_written_is_red(
    sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id, due = fill(sandbox, 5)
    put: Callable[..., None] = ledger_module.Ledger.put

    def broken(self: Any, name: str, data: bytes) -> None:
        if name == "summary.json":
            raise AnyformatLedgerError("no room")
        put(self, name, data)

    monkeypatch.setattr(ledger_module.Ledger, "put", broken)
    ti = TaskInstance()
    with pytest.raises(AnyformatLedgerError):
        purge(workflow_id, ti, ledger_path=str(tmp_path))
    assert ti.xcoms["summary"]["deleted"] == 5
    (run,) = ledger_of(tmp_path)
    assert run.outcomes == dict.fromkeys(due, "deleted")


def test_a_summary_is_the_same_file_that_its_digests_describe(sandbox: Any, tmp_path: Path) -> None:
    workflow_id, _ = fill(sandbox, 3)
    started = time.time()
    purge(workflow_id, ledger_path=str(tmp_path))
    (run,) = ledger_of(tmp_path)
    assert run.summary is not None
    for name, digest in run.summary["sha256"].items():
        path = tmp_path / run.name / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert started - 1 <= path.stat().st_mtime <= (tmp_path / run.name / "summary.json").stat().st_mtime
