"""The ledger's files: where they lie, what is in them, and when they are written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatLedgerError
from airflow_provider_anyformat.retention.folder import Folder, LocalFolder
from airflow_provider_anyformat.retention.ledger import (
    OUTCOMES,
    Ledger,
    Outcome,
    encoded,
    run_folder,
    task_folder,
)
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
ORIGIN = Origin("https://api.example", "dag", "task", -1, "run", 1)


def plan(number: int = 3) -> PurgePlan:
    return PurgePlan.of_ids([f"id-{n}" for n in range(number)], guards=Guards(), origin=ORIGIN, now=NOW)


class Clock:
    """Seconds, as a test wants them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Flaky:
    """A folder that fails to store when it is told to; it may have stored all the same."""

    def __init__(self, inner: Folder) -> None:
        self.inner = inner
        self.failing = False
        self.stores_all_the_same = False

    @property
    def url(self) -> str:
        return self.inner.url

    def put(self, name: str, data: bytes) -> None:
        if not self.failing or self.stores_all_the_same:
            self.inner.put(name, data)
        if self.failing:
            raise OSError(28, "No space left on device")

    def read(self, name: str) -> bytes:
        return self.inner.read(name)

    def modified(self, name: str) -> float:
        return self.inner.modified(name)

    def files(self) -> Iterator[str]:
        return self.inner.files()

    def folder(self, name: str) -> Flaky:
        below = Flaky(self.inner.folder(name))
        self.below = below
        return below


def files(path: Path) -> dict[str, bytes]:
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def outcomes(path: Path) -> list[str]:
    """Return the ids of all outcomes in a run's folder, part by part."""
    parts = sorted(path.rglob("outcomes-*.jsonl"))
    return [json.loads(line)["collection_id"] for part in parts for line in part.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin("x"), "_/_/-1/_/0"),
        (Origin("x", "dag", "group.task", 7, "scheduled__2026-01-02T03:04:05+00:00", 2),
         "dag/group.task/7/scheduled__2026-01-02T03%3A04%3A05+00%3A00/2"),
        (Origin("x", "..", ".", -1, "../../etc", 1), "%2E%2E/%2E/-1/..%2F..%2Fetc/1"),
    ],
)  # fmt: skip
def test_a_run_s_folder(origin: Origin, expected: str) -> None:
    assert run_folder(origin) == expected
    assert task_folder(origin) == "/".join(expected.split("/")[:2])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AZaz09_.=+-", "AZaz09_.=+-"),
        ("a b", "a%20b"),
        ("a~b", "a%7Eb"),
        ("a%b", "a%25b"),
        ("a/b\\c", "a%2Fb%5Cc"),
        ("é", "%C3%A9"),
        ("\ud800", "%ED%A0%80"),
        ("", "_"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "%2E%2E%2E"),
        (".a.", ".a."),
        ("\n\0", "%0A%00"),
        ("x" * 240, "x" * 240),
    ],
    ids=repr,
)
def test_names_of_folders(name: str, expected: str) -> None:
    assert encoded(name) == expected


def test_a_name_that_no_file_system_takes_is_cut_and_stays_itself() -> None:
    one, two = encoded("x" * 241), encoded("x" * 240 + "y")
    assert len(one) < 241
    assert one != two
    assert re.fullmatch(r"x+~[0-9a-f]{16}", one)
    assert len(encoded("ü" * 250)) < 241


def test_every_ledger_has_a_folder_of_its_own(tmp_path: Path) -> None:
    urls = {Ledger(LocalFolder(tmp_path), ORIGIN).url for _ in range(20)}
    assert len(urls) == 20
    for url in urls:
        assert re.fullmatch(re.escape(f"{tmp_path}/dag/task/-1/run/1/") + r"[0-9a-f]{8}", url)
    assert files(tmp_path) == {}


def test_the_files_of_a_run(tmp_path: Path) -> None:
    made = plan()
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    ledger.write_plan(made)
    ledger.record(
        Outcome("id-0", "wf", "deleted", 204, None, "req-1", 2, "2026-06-30T12:00:00Z", "Tue, 30 Jun 2026 12:00:00 GMT")
    )
    ledger.flush()
    ledger.record(Outcome("id-1", None, "failed", 500, "INTERNAL_ERROR", None, 5))
    ledger.close({"deleted": 1, "failed": 1})
    found = files(Path(ledger.url))
    assert sorted(found) == ["outcomes-00001.jsonl", "outcomes-00002.jsonl", "plan.json", "plan.jsonl", "summary.json"]
    assert found["plan.json"] == made.json_bytes()
    assert found["plan.jsonl"] == made.rows_bytes()
    assert json.loads(found["outcomes-00001.jsonl"]) == {
        "collection_id": "id-0",
        "workflow_id": "wf",
        "outcome": "deleted",
        "http_status": 204,
        "error_code": None,
        "request_id": "req-1",
        "attempts": 2,
        "deleted_at": "2026-06-30T12:00:00Z",
        "server_date": "Tue, 30 Jun 2026 12:00:00 GMT",
    }
    assert json.loads(found["outcomes-00002.jsonl"])["error_code"] == "INTERNAL_ERROR"
    summary = json.loads(found.pop("summary.json"))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert summary == {"deleted": 1, "failed": 1, "sha256": digests}


def test_the_words_for_outcomes() -> None:
    assert {"deleted", "already_gone", "gone_unconfirmed", "failed", "not_attempted", "unknown"} == OUTCOMES


def test_the_plan_is_whole_when_its_json_is_there(tmp_path: Path) -> None:
    """Whoever finds a ``plan.json`` may rely on the rows."""
    order: list[str] = []

    class Watched(LocalFolder):
        def put(self, name: str, data: bytes) -> None:
            order.append(name)
            super().put(name, data)

        def folder(self, name: str) -> LocalFolder:
            return Watched(tmp_path / name)

    Ledger(Watched(tmp_path), ORIGIN).write_plan(plan())
    assert order == ["plan.jsonl", "plan.json"]


def test_outcomes_are_due_after_ten_seconds_or_200_rows(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN, clock=clock)
    clock.now += 100
    assert not ledger.due()
    ledger.record(Outcome("a", None, "deleted"))
    clock.now += 9.9
    ledger.record(Outcome("b", None, "deleted"))
    assert not ledger.due()
    ledger.tick()
    assert outcomes(tmp_path) == []
    clock.now += 0.1
    assert ledger.due()
    ledger.tick()
    assert outcomes(tmp_path) == ["a", "b"]
    assert not ledger.due()
    for number in range(199):
        ledger.record(Outcome(f"c-{number:03}", None, "deleted"))
    assert not ledger.due()
    ledger.record(Outcome("c-199", None, "deleted"))
    assert ledger.due()
    ledger.tick()
    assert len(outcomes(tmp_path)) == 202
    clock.now += 100
    assert not ledger.due()


def test_no_part_has_more_than_200_rows(tmp_path: Path) -> None:
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    for number in range(450):
        ledger.record(Outcome(f"id-{number:03}", None, "deleted"))
    ledger.flush()
    parts = sorted(Path(ledger.url).iterdir())
    assert [len(part.read_bytes().splitlines()) for part in parts] == [200, 200, 50]
    assert outcomes(tmp_path) == [f"id-{number:03}" for number in range(450)]
    ledger.flush()
    assert len(list(Path(ledger.url).iterdir())) == 3


def test_a_later_outcome_replaces_one_that_is_not_written(tmp_path: Path) -> None:
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    ledger.record(Outcome("a", None, "unknown"))
    ledger.record(Outcome("a", None, "deleted"))
    assert [each.outcome for each in ledger.unwritten] == ["deleted"]
    ledger.flush()
    assert ledger.unwritten == []
    ledger.record(Outcome("a", None, "failed"))
    ledger.flush()
    assert outcomes(tmp_path) == ["a", "a"]


def test_what_was_told_elsewhere_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    told = Outcome("a", None, "deleted")
    ledger.record(told)
    ledger.forget(told)
    ledger.forget(told)
    assert ledger.unwritten == []


@pytest.fixture
def flaky(tmp_path: Path) -> tuple[Ledger, Flaky]:
    root = Flaky(LocalFolder(tmp_path))
    return Ledger(root, ORIGIN), root.below


def test_a_plan_that_cannot_be_written_is_a_retryable_error(flaky: tuple[Ledger, Flaky]) -> None:
    ledger, folder = flaky
    folder.failing = True
    with pytest.raises(AnyformatLedgerError, match=r"^ledger_path: plan\.jsonl .*No space left") as caught:
        ledger.write_plan(plan())
    assert isinstance(caught.value, AnyformatError)
    assert caught.value.retryable
    assert folder.url in str(caught.value)


def test_outcomes_that_could_not_be_written_are_kept(flaky: tuple[Ledger, Flaky], tmp_path: Path) -> None:
    ledger, folder = flaky
    for number in range(250):
        ledger.record(Outcome(f"id-{number:03}", None, "deleted"))
    folder.failing = True
    with pytest.raises(AnyformatLedgerError, match="outcomes-00001"):
        ledger.flush()
    assert len(ledger.unwritten) == 250
    with pytest.raises(AnyformatLedgerError):
        ledger.close({})
    folder.failing = False
    ledger.close({})
    assert ledger.unwritten == []
    assert outcomes(tmp_path) == [f"id-{number:03}" for number in range(250)]


def test_only_the_rows_of_the_part_that_failed_are_unwritten(tmp_path: Path) -> None:
    class Full(LocalFolder):
        def put(self, name: str, data: bytes) -> None:
            if name == "outcomes-00002.jsonl":
                raise OSError(28, "No space left on device")
            super().put(name, data)

        def folder(self, name: str) -> LocalFolder:
            return Full(tmp_path / name)

    ledger = Ledger(Full(tmp_path), ORIGIN)
    for number in range(250):
        ledger.record(Outcome(f"id-{number:03}", None, "deleted"))
    with pytest.raises(AnyformatLedgerError):
        ledger.flush()
    assert [each.collection_id for each in ledger.unwritten] == [f"id-{number:03}" for number in range(200, 250)]


def test_a_part_that_was_stored_although_the_put_failed_harms_nothing(
    flaky: tuple[Ledger, Flaky], tmp_path: Path
) -> None:
    ledger, folder = flaky
    ledger.record(Outcome("a", None, "deleted"))
    folder.failing = folder.stores_all_the_same = True
    with pytest.raises(AnyformatLedgerError):
        ledger.flush()
    folder.failing = False
    ledger.close({})
    found = files(Path(ledger.url))
    digests = json.loads(found.pop("summary.json"))["sha256"]
    assert digests == {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert set(outcomes(tmp_path)) == {"a"}


def test_closing_twice_leaves_one_summary(tmp_path: Path) -> None:
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    ledger.close({"first": 1})
    ledger.close({"second": 2})
    assert json.loads((Path(ledger.url) / "summary.json").read_bytes()) == {"first": 1, "sha256": {}}


def test_no_key_and_no_name_of_a_document_has_a_place_in_the_ledger() -> None:
    fields = {"collection_id", "workflow_id", "outcome", "http_status", "error_code", "request_id", "attempts"}
    assert set(json.loads(Outcome("a", "wf", "failed", message="told of the key").line())) == fields | {
        "deleted_at",
        "server_date",
    }


def test_outcomes_of_every_size_survive(tmp_path: Path) -> None:
    ledger = Ledger(LocalFolder(tmp_path), ORIGIN)
    odd: dict[str, Any] = {"error_code": "\n\u2028\x85", "request_id": "é" * 500}
    ledger.record(Outcome("a", "wf", "failed", **odd))
    ledger.flush()
    (line,) = (Path(ledger.url) / "outcomes-00001.jsonl").read_bytes().splitlines()
    assert json.loads(line) | odd == json.loads(line)
