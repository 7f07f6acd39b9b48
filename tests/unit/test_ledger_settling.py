"""What killed runs left open is settled by the next one, each id once, and nothing of theirs is touched."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.chain import follow, runs_of_task
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome, task_folder
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.policy import PlannedRow
from airflow_provider_anyformat.retention.settling import Settled, marks_in, settle

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


def origin(**changes: Any) -> Origin:
    return Origin(**{"service": "https://x", "dag_id": "dag", "task_id": "task", "run_id": "run", **changes})


def make_plan(ids: Iterable[str], workflow_id: str | None = "wf") -> PurgePlan:
    rows = [PlannedRow(each, workflow_id, "processed", NOW, NOW) for each in ids]
    return PurgePlan(
        rows=rows,
        listed=len(rows),
        due=len(rows),
        kept={},
        workflow_ids=("wf",),
        policy=None,
        cutoff=None,
        guards=Guards(),
        made_at=NOW,
        origin=origin(),
    )


class House:
    """A ledger's folder, what the server still has, and runs that use both."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = LocalFolder(path)
        self.on_server: set[str] = set()
        # What the server was asked for.
        self.asked: list[str] = []

    def killed(
        self,
        planned: Collection[str],
        deleted: Collection[str] = "",
        recorded: Collection[str] = "",
        *,
        outcome: str = "deleted",
        minutes_ago: float = 0,
        **changes: Any,
    ) -> Path:
        """Leave a run that planned, deleted and recorded, an id each letter, and then was killed."""
        self.on_server |= set(planned)
        self.on_server -= set(deleted)
        ledger = Ledger(self.root, origin(**changes))
        ledger.write_plan(make_plan(planned))
        for each in recorded:
            ledger.record(Outcome(each, "wf", outcome))
        ledger.flush()
        folder = Path(ledger.url)
        for file in folder.iterdir():
            os.utime(file, (time.time() - 60 * minutes_ago,) * 2)
        return folder

    def run(
        self,
        planned: Collection[str] = "",
        *,
        workflow_ids: Iterable[str] = ("wf",),
        close: bool = True,
        **changes: Any,
    ) -> tuple[list[str], Settled]:
        """Make a run that settles and then deletes what it planned; return what it settled."""
        ledger = Ledger(self.root, origin(**changes))
        ledger.write_plan(make_plan(planned))
        before = self.content()
        settled = settle(
            self.root,
            ledger,
            origin(**changes),
            workflow_ids=tuple(workflow_ids),
            is_gone=lambda _, each: self._is_gone(each),
            planned=set(planned),
            runs=runs_of_task(self.root.folder(task_folder(origin(**changes)))),
        )
        after = self.content()
        assert {name: after[name] for name in before} == before, "something that existed was written to"
        assert all(ledger.name in name for name in after.keys() - before.keys())
        for each in planned:
            ledger.record(Outcome(each, "wf", "deleted" if each in self.on_server else "already_gone"))
            self.on_server.discard(each)
        ledger.flush()
        if close:
            ledger.close({})
        assert all(each.outcome == "gone_unconfirmed" for each in settled.outcomes)
        assert all(each.workflow_id == "wf" for each in settled.outcomes)
        return sorted(each.collection_id for each in settled.outcomes), settled

    def _is_gone(self, collection_id: str) -> bool:
        self.asked.append(collection_id)
        return collection_id not in self.on_server

    def content(self) -> dict[str, bytes]:
        return {str(each.relative_to(self.path)): each.read_bytes() for each in self.path.rglob("*") if each.is_file()}

    def outcomes(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, data in sorted(self.content().items()):
            if "/outcomes-" in name:
                for line in data.splitlines():
                    row = json.loads(line)
                    found.setdefault(row["collection_id"], []).append(row["outcome"])
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_planned_ids_without_outcome_that_are_gone(house: House) -> None:
    house.killed("abcdef", deleted="abc", recorded="a")
    assert house.run() == (["b", "c"], Settled([Outcome(x, "wf", "gone_unconfirmed") for x in "bc"]))
    assert house.outcomes() == {"a": ["deleted"], "b": ["gone_unconfirmed"], "c": ["gone_unconfirmed"]}


def test_what_is_settled_once_stays_settled(house: House) -> None:
    house.killed("abc", deleted="abc")
    assert house.run()[0] == ["a", "b", "c"]
    for _ in range(3):
        assert house.run()[0] == []
    assert house.outcomes() == {each: ["gone_unconfirmed"] for each in "abc"}


def test_what_this_run_plans_is_in_its_hands(house: House) -> None:
    house.killed("abcd", deleted="ab", recorded="a")
    assert house.run("cd")[0] == ["b"]
    assert house.run()[0] == []
    assert {each: said[-1] for each, said in house.outcomes().items()} == {
        "a": "deleted",
        "b": "gone_unconfirmed",
        "c": "deleted",
        "d": "deleted",
    }


def test_what_is_still_listed_and_not_planned_is_settled_when_it_is_gone(house: House) -> None:
    house.killed("abc", deleted="a")
    assert house.run()[0] == ["a"]
    assert house.run()[0] == []
    house.on_server.discard("b")
    assert house.run()[0] == ["b"]
    house.on_server.discard("c")
    assert house.run()[0] == ["c"]
    assert house.run()[0] == []


def test_a_run_that_is_killed_after_settling_leaves_its_own_ids_open(house: House) -> None:
    house.killed("abc", deleted="a")
    house.run(close=False)
    house.killed("bc", deleted="b", run_id="second", minutes_ago=61)
    assert house.run()[0] == ["b"]


@pytest.mark.parametrize(
    ("minutes_ago", "changes", "read"),
    [
        (0, {}, True),
        (0, {"try_number": 1}, True),
        (0, {"try_number": 2}, True),
        (0, {"try_number": 4}, False),
        (59, {"run_id": "other"}, False),
        (61, {"run_id": "other"}, True),
        (59, {"map_index": 5}, False),
        (61, {"map_index": 5}, True),
        (-61, {"run_id": "other"}, False),
        (61, {"task_id": "other"}, False),
        (61, {"dag_id": "other"}, False),
    ],
    ids=repr,
)
def test_only_what_is_this_task_s_and_over_is_settled(
    house: House, minutes_ago: float, changes: dict[str, Any], read: bool
) -> None:
    """An earlier try is over when the next one runs; what another DAG run wrote lately may be of one that lives."""
    house.killed("ab", deleted="ab", recorded="a", minutes_ago=minutes_ago, **changes)
    assert house.run(try_number=3)[0] == (["b"] if read else [])


def test_what_a_run_wrote_last_says_whether_it_is_alive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = house.killed("ab", deleted="ab", recorded="a", run_id="other", minutes_ago=61)
    os.utime(folder / "outcomes-00001.jsonl")
    assert house.run()[0] == []
    os.utime(folder / "outcomes-00001.jsonl", (0, 0))

    def refuse(self: LocalFolder, name: str) -> float:
        raise NotImplementedError

    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "modified", refuse)
        assert house.run()[0] == []
    assert house.run()[0] == ["b"]


def test_one_file_says_of_all_killed_runs_that_they_are_settled(house: House) -> None:
    """Forty workflows, a map index each: what the other map indexes left of other workflows is theirs."""
    for number in range(10):
        house.killed("ab", deleted="a", run_id=f"run-{number}", minutes_ago=61)
    for number in range(40):
        ledger = Ledger(house.root, origin(map_index=number, run_id="killed"))
        ledger.write_plan(replace(make_plan("c", f"w{number}"), workflow_ids=(f"w{number}",)))
        for each in Path(ledger.url).iterdir():
            os.utime(each, (0, 0))
    assert house.run()[0] == ["a"]
    (mark,) = house.path.rglob("settled-*.json")
    assert {each.folder.split("/")[1]: each.left for each in marks_in(mark.read_bytes())} == {
        f"run-{number}": {"wf": ["b"]} for number in range(10)
    }
    assert house.run()[0] == []
    assert len(list(house.path.rglob("settled-*.json"))) == 1


def test_the_marks_of_the_first_release_are_read(house: House) -> None:
    folder = house.killed("ab", deleted="ab").relative_to(house.path / "dag" / "task")
    first = Ledger(house.root, origin())
    first.write_plan(make_plan(""))
    name = hashlib.sha256(f"{folder} wf".encode()).hexdigest()[:16]
    mark = {"folder": str(folder), "workflow_id": "wf", "open": ["b"]}
    first.put(f"settled-{name}.json", json.dumps(mark).encode())
    first.close({})
    assert house.run()[0] == ["b"]
    assert house.run()[0] == []


@pytest.mark.parametrize("outcome", ["deleted", "already_gone", "gone_unconfirmed", "failed", "not_attempted"])
def test_an_id_with_an_outcome_is_not_open(house: House, outcome: str) -> None:
    house.killed("ab", deleted="ab", recorded="a", outcome=outcome)
    assert house.run()[0] == ["b"]


def test_an_id_whose_fate_was_unknown_is_open(house: House) -> None:
    house.killed("ab", deleted="a", recorded="ab", outcome="unknown")
    assert house.run("b")[0] == ["a"]
    assert house.run()[0] == []


def test_an_id_that_another_open_run_deleted_is_not_settled(house: House) -> None:
    house.killed("ab", deleted="ab", run_id="first", minutes_ago=61)
    house.killed("ab", deleted="ab", recorded="a", run_id="second", minutes_ago=61)
    assert house.run()[0] == ["b"]


def test_an_id_of_two_killed_runs_is_settled_once(house: House) -> None:
    house.killed("a", deleted="a", run_id="first", minutes_ago=61)
    house.killed("a", deleted="a", run_id="second", minutes_ago=61)
    assert house.run()[0] == ["a"]
    assert house.run()[0] == []


def test_ids_are_compared_in_any_spelling_and_asked_for_as_they_were_written(house: House) -> None:
    deleted, planned, left = (str(uuid.UUID(int=number)) for number in (10, 11, 12))
    bare = [each.replace("-", "").upper() for each in (deleted, planned, left)]
    house.killed([deleted, *bare[1:]], run_id="first", minutes_ago=61)
    house.killed([bare[0]], recorded=[bare[0]], run_id="second", minutes_ago=61)
    for asked in (bare[1:], [bare[2]]):
        house.asked.clear()
        assert house.run([planned.upper()])[0] == []
        assert house.asked == asked
    (mark,) = house.path.rglob("settled-*.json")
    assert [each.left for each in marks_in(mark.read_bytes())] == [{"wf": [bare[2]]}, {"wf": []}]


def test_a_failure_in_another_open_run_settles_nothing(house: House) -> None:
    house.killed("a", run_id="first", minutes_ago=61)
    house.killed("a", deleted="a", recorded="a", outcome="failed", run_id="second", minutes_ago=61)
    assert house.run()[0] == ["a"]


def test_other_workflows_wait_for_their_own_listing(house: House) -> None:
    ledger = Ledger(house.root, origin())
    plan = make_plan("a")
    ledger.write_plan(plan)
    other = Ledger(house.root, origin())
    other.write_plan(make_plan("b", "w2"))
    given = Ledger(house.root, origin())
    given.write_plan(make_plan("c", None))
    assert house.run(workflow_ids=("w3",))[0] == []
    assert house.run(workflow_ids=("w3", "wf"))[0] == ["a"]
    new = Ledger(house.root, origin())
    settled = settle(
        house.root,
        new,
        origin(),
        workflow_ids=("wf", "w2"),
        is_gone=lambda _, each: each == "b",
        planned=(),
        runs=runs_of_task(house.root.folder("dag/task")),
    )
    assert [(each.collection_id, each.workflow_id) for each in settled.outcomes] == [("b", "w2")]


def test_a_run_without_a_plan_deleted_nothing(house: House) -> None:
    folder = house.killed("a", deleted="a")
    (folder / "plan.json").unlink()
    assert house.run()[0] == []


def test_a_closed_run_is_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of daily runs costs one listing and no reading."""
    for number in range(5):
        house.run("a", run_id=f"run-{number}")
    house.killed("ab", deleted="ab", run_id="killed", minutes_ago=61)
    assert house.run()[0] == ["a", "b"]
    read: list[str] = []
    original = LocalFolder.read

    def watched(self: LocalFolder, name: str) -> bytes:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(LocalFolder, "read", watched)
    assert house.run()[0] == []
    assert len(read) == 1
    assert "/settled-" in read[0]


def test_a_closed_run_that_says_it_is_open_is_read(house: House) -> None:
    ledger = Ledger(house.root, origin())
    ledger.write_plan(make_plan("ab"))
    ledger.record(Outcome("a", "wf", "unknown"))
    ledger.record(Outcome("b", "wf", "not_attempted"))
    ledger.leave_open()
    ledger.close({})
    assert house.run()[0] == ["a"]
    assert house.run()[0] == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\xfe\x00", b"{", b"[]\n", b"null\n", b'{"collection_id": "../x", "workflow_id": "wf"}\n',
     b'{"collection_id": "x"}\n', b'{"collection_id": "x", "workflow_id": ["wf"]}\n', b"[" * 100_000 + b"\n"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["plan.jsonl", "plan.json", "outcomes-00001.jsonl"])
def test_damaged_files_are_warned_of_and_stop_nothing(house: House, name: str, damage: bytes) -> None:
    folder = house.killed("abc", deleted="abc", recorded="a")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(damage + whole[: whole.rfind(b'"')])
    ids, settled = house.run()
    # What can still be read is used; what an outcome said is lost with it, and the id is settled as the others are.
    assert set(ids) <= {"a", "b", "c"}
    assert ("c" in ids) is (name != "plan.jsonl")
    assert bool(settled.warnings) is (name != "plan.json")
    for warning in settled.warnings:
        assert name in warning
        assert "damaged" in warning
    assert house.run() == ([], Settled())


def test_a_file_that_cannot_be_read_leaves_its_run_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.killed("a", deleted="a")
    with monkeypatch.context() as patched:

        def refuse(self: LocalFolder, name: str) -> bytes:
            raise PermissionError(13, f"Permission denied: {name}")

        patched.setattr(LocalFolder, "read", refuse)
        ids, settled = house.run()
    assert ids == []
    assert "stays open" in settled.warnings[0]
    assert house.run()[0] == ["a"]


def test_a_damaged_mark_is_warned_of_and_the_run_read_again(house: House) -> None:
    house.killed("ab", deleted="a")
    house.run()
    (mark,) = house.path.rglob("settled-*.json")
    mark.write_bytes(b"{")
    house.on_server.discard("b")
    ids, settled = house.run()
    assert "b" in ids
    assert mark.name in settled.warnings[0]


def test_a_folder_that_may_not_be_listed_is_warned_of(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LocalFolder) -> Iterator[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFolder, "files", refuse)
    ledger = Ledger(house.root, origin())
    runs, warnings = follow(house.root, ledger, origin())
    assert (runs, "may not list" in warnings[0], ledger.previous) == ({}, True, None)


def test_a_folder_that_cannot_be_listed_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LocalFolder) -> Iterator[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalFolder, "files", fail)
    with pytest.raises(AnyformatLedgerError, match="could not be listed"):
        follow(house.root, Ledger(house.root, origin()), origin())


def test_strangers_in_the_folder_are_no_runs(house: House) -> None:
    (house.path / "dag" / "task").mkdir(parents=True)
    for name in ("plan.json", "notes.txt"):
        (house.path / "dag" / "task" / name).write_text("x")
    assert house.run() == ([], Settled())


# A server in a folder: a file is a collection. A run deletes them one by one, as a purge does, until it is killed.
WORKER = """
import os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from airflow_provider_anyformat.retention.chain import runs_of_task
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.policy import PlannedRow
from airflow_provider_anyformat.retention.settling import settle
from airflow_provider_anyformat.retention.folder import LocalFolder

ledger_path, server = sys.argv[1], Path(sys.argv[2])
now, origin, root = datetime.now(UTC), Origin("https://x", "dag", "task"), LocalFolder(ledger_path)
listed = set(os.listdir(server))
rows = [PlannedRow(each, "wf", "processed", now, now) for each in sorted(listed)]
plan = PurgePlan(rows=rows, listed=len(rows), due=len(rows), kept={}, workflow_ids=("wf",), policy=None, cutoff=None,
                 guards=Guards(), made_at=now, origin=origin)
print("go", flush=True)
ledger = Ledger(root, origin)
ledger.write_plan(plan)
settle(root, ledger, origin, workflow_ids=("wf",), is_gone=lambda _, each: each not in listed, planned=listed,
       runs=runs_of_task(root.folder("dag/task")))
for row in rows:
    if len(ledger.unwritten) >= 200:
        ledger.flush()
    (server / row.collection_id).unlink()
    ledger.record(Outcome(row.collection_id, "wf", "deleted"))
    ledger.tick()
ledger.close({})
"""


def on_disk(server: Path) -> set[str]:
    return {each.name for each in server.iterdir()}


def work(ledger: Path, server: Path, kill_after: float | None) -> int:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(ledger), str(server)], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"go\n"
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(worker.pid, signal.SIGKILL)
        return worker.wait(60)
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.untraced
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """The plan is on disk before the first delete, at most 200 outcomes are missing, and the next run settles them."""
    ledger, server = tmp_path / "ledger", tmp_path / "server"
    server.mkdir()
    ids = [f"collection-{n:04}" for n in range(6000)]
    for each in ids:
        (server / each).touch()
    house, chance = House(ledger), random.Random()
    killed = 0
    for _ in range(20):
        before = on_disk(server)
        killed += work(ledger, server, chance.uniform(0, 0.05)) == -signal.SIGKILL
        gone = before - on_disk(server)
        planned = {
            json.loads(line)["collection_id"]
            for name, data in house.content().items()
            if name.endswith("/plan.jsonl") and name.replace("plan.jsonl", "plan.json") in house.content()
            for line in data.splitlines()
        }
        assert gone <= planned
        assert len(gone - house.outcomes().keys()) <= 200
        assert not [name for name in house.content() if ".unfinished-" not in name and not house.content()[name]]
    assert killed >= 4
    assert work(ledger, server, None) == 0
    assert on_disk(server) == set()
    found = house.outcomes()
    assert found.keys() == set(ids)
    for said in found.values():
        # A run that was killed between its settling and its mark is no reason to settle twice: its outcomes are read.
        assert said in (["deleted"], ["gone_unconfirmed"])
