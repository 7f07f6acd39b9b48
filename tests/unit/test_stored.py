"""A stored plan: reading it back, what is refused, and the policy it gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.plan import Guards, PurgePlan
from airflow_provider_anyformat.retention.policy import PlannedRow
from airflow_provider_anyformat.retention.storage import LocalFolder
from airflow_provider_anyformat.retention.stored import StoredPlan
from tests.unit.test_plan import DAY, NOW, ORIGIN, due, plan, row, selection


class Stored:
    """A plan on disk, to be spoilt."""

    def __init__(self, path: Path, plan: PurgePlan) -> None:
        self.path, self.digest = path, plan.digest
        (path / "plan.json").write_bytes(plan.json_bytes())
        (path / "plan.jsonl").write_bytes(plan.rows_bytes())

    def load(self) -> StoredPlan:
        return StoredPlan.load(LocalFolder(self.path), self.digest)

    def refused(self, named: str) -> None:
        with pytest.raises(AnyformatValueError, match=f"^{named}: ") as caught:
            self.load()
        assert caught.value.retryable is False


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path, plan(selection(row("b", 40), row("a", 50, updated_at=None))))


def test_a_stored_plan_reads_back_as_it_was(stored: Stored) -> None:
    moment = NOW - 50 * DAY
    again = stored.load()
    assert [each.collection_id for each in again.rows] == ["a", "b"]
    assert again.rows[0] == PlannedRow("a", "wf", "processed", moment, None)
    assert again.content["digest"] == stored.digest
    again.check(service="https://api.example", now=NOW + DAY, ttl=3 * DAY)


def test_a_stored_plan_of_ids_reads_back(tmp_path: Path) -> None:
    made = PurgePlan.of_ids(["a"], guards=Guards(), origin=ORIGIN, now=NOW)
    assert Stored(tmp_path, made).load().rows == [PlannedRow("a", reason="given")]


@pytest.mark.parametrize("name", ["plan.json", "plan.jsonl"])
def test_a_plan_that_is_not_whole_is_refused(stored: Stored, name: str) -> None:
    (stored.path / name).unlink()
    stored.refused("plan_path")


@pytest.mark.parametrize("name", ["plan.json", "plan.jsonl"])
@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"{", b"[]\n", b"[1]\n", b"{}\n", b"null\n", b"", b"[" * 100_000], ids=repr
)
def test_a_damaged_plan_is_refused(stored: Stored, name: str, data: bytes) -> None:
    (stored.path / name).write_bytes(data)
    stored.refused("plan_(path|digest)")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("plan.jsonl", b'"b"', b'"c"'),
        ("plan.jsonl", b"processed", b"cancelled"),
        ("plan.json", b"api.example", b"api.another"),
        ("plan.json", b'"max_deletions":1000', b'"max_deletions":9000'),
        ("plan.json", b'"count":2', b'"count":1'),
        ("plan.json", b'"digest":"', b'"digest":"0'),
    ],
)
def test_a_changed_plan_is_refused(stored: Stored, name: str, old: bytes, new: bytes) -> None:
    data = (stored.path / name).read_bytes()
    assert old in data
    (stored.path / name).write_bytes(data.replace(old, new, 1))
    stored.refused("plan_digest")


def test_a_row_more_or_less_is_refused(stored: Stored) -> None:
    lines = (stored.path / "plan.jsonl").read_bytes().splitlines(keepends=True)
    for changed in (lines[:1], [*lines, lines[0]]):
        (stored.path / "plan.jsonl").write_bytes(b"".join(changed))
        stored.refused("plan_digest")


def test_another_plan_s_digest_is_refused(stored: Stored) -> None:
    stored.digest = "0" * 64
    stored.refused("plan_digest")


def test_a_plan_whose_digest_fits_but_whose_id_is_none_is_refused(tmp_path: Path) -> None:
    Stored(tmp_path, replace(plan(selection()), rows=[PlannedRow("../a", "wf")])).refused("plan_path")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({}, None, id="as it should be"),
        pytest.param({"now": NOW + 3 * DAY}, None, id="on its last day"),
        pytest.param({"now": NOW + 3 * DAY + timedelta(seconds=1)}, "plan_ttl", id="too old"),
        pytest.param({"now": NOW - timedelta(minutes=5)}, None, id="clocks a little apart"),
        pytest.param({"now": NOW - timedelta(minutes=5, seconds=1)}, "plan_path", id="from the future"),
        pytest.param({"service": "https://api.other"}, "plan_path", id="another service"),
    ],
)
def test_which_plan_may_be_applied(stored: Stored, changes: dict[str, Any], named: str | None) -> None:
    given: dict[str, Any] = {"service": "https://api.example", "now": NOW, "ttl": 3 * DAY} | changes
    if named is None:
        stored.load().check(**given)
        return
    with pytest.raises(AnyformatValueError, match=f"^{named}: "):
        stored.load().check(**given)


def test_a_plan_whose_guard_tripped_may_not_be_applied(tmp_path: Path) -> None:
    tripped = Stored(tmp_path, plan(due(3), max_deletions=2)).load()
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .*max_deletions tripped"):
        tripped.check(service="https://api.example", now=NOW, ttl=3 * DAY)
