"""A stored plan: reading it back, what is refused, and the policy it gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import (
    Applied,
    Guards,
    PurgePlan,
    canonical,
    digest_of,
    duration_text,
    policy_json,
)
from airflow_provider_anyformat.retention.policy import PlannedRow
from airflow_provider_anyformat.retention.stored_plan import StoredPlan, duration_of
from tests.unit.test_plan import DAY, NOW, ORIGIN, POLICY, due, plan, row, selection


class Stored:
    """A plan on disk, to be spoilt."""

    def __init__(self, path: Path, plan: PurgePlan) -> None:
        self.path, self.digest = path, plan.digest
        (path / "plan.json").write_bytes(plan.json_bytes())
        (path / "plan.jsonl").write_bytes(plan.rows_bytes())

    def rewrite(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change ``plan.json`` and give it the digest that fits, as only who made the plan could."""
        content = json.loads((self.path / "plan.json").read_bytes())
        change(content)
        self.digest = digest_of(content, sorted((self.path / "plan.jsonl").read_bytes().splitlines(keepends=True)))
        (self.path / "plan.json").write_bytes(canonical(content | {"digest": self.digest}))

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


def test_the_folder_of_a_run_that_applied_a_plan_may_not_be_applied(tmp_path: Path) -> None:
    made = plan(due(2))
    applied = replace(made, applied=Applied("/plan", made.digest, policy_json(POLICY), "jane"))
    again = Stored(tmp_path, applied).load()
    assert again.content["approved_by"] == "jane"
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .* of a run that applied a plan"):
        again.check(service="https://api.example", now=NOW, ttl=3 * DAY)


@pytest.mark.parametrize("count", [1, 3, None, "2"], ids=repr)
def test_rows_that_do_not_add_up_to_the_count_are_refused(stored: Stored, count: Any) -> None:
    stored.rewrite(lambda content: content.update(count=count))
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .* 2 rows with 2 different ids"):
        stored.load()


def test_a_plan_without_its_count_is_refused(stored: Stored) -> None:
    stored.rewrite(lambda content: content.pop("count"))
    stored.refused("plan_path")


def test_one_id_in_two_rows_is_refused(tmp_path: Path) -> None:
    twice = [PlannedRow("a", "wf", "error"), PlannedRow("a", "wf", "processed")]
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .* 2 rows with 1 different ids"):
        Stored(tmp_path, replace(plan(selection()), rows=twice)).load()


@pytest.mark.parametrize(
    "name",
    ["service", "workflows", "policy", "guards", "made_at"],
)
def test_a_plan_without_a_part_that_is_needed_is_refused(stored: Stored, name: str) -> None:
    stored.rewrite(lambda content: content.pop(name))
    stored.refused("plan_path")


@pytest.mark.parametrize(
    "change",
    [
        {"guards": None},
        {"guards": {}},
        {"guards": {"tripped": None}},
        {"guards": {"tripped": [1]}},
        {"workflows": None},
        {"workflows": []},
        {"workflows": [None]},
        {"workflows": ["../wf"]},
        {"policy": []},
        {"policy": "P30D"},
        {"policy": {}},
    ],
    ids=repr,
)
def test_a_part_of_another_kind_is_refused(stored: Stored, change: dict[str, Any]) -> None:
    stored.rewrite(lambda content: content.update(change))
    stored.refused("plan_path")


@pytest.mark.parametrize("made_at", [None, "", "yesterday", 5], ids=repr)
def test_a_plan_of_no_known_time_may_not_be_applied(stored: Stored, made_at: Any) -> None:
    stored.rewrite(lambda content: content.update(made_at=made_at))
    with pytest.raises(AnyformatValueError, match=r"^plan_path: "):
        stored.load().check(service="https://api.example", now=NOW, ttl=3 * DAY)


def test_the_policy_of_a_stored_plan_is_the_one_it_was_made_by(tmp_path: Path) -> None:
    policy = replace(
        POLICY,
        older_than=timedelta(days=30, hours=7),
        age_by="updated_at",
        statuses=("error", "processed"),
        exclude_collection_ids=("held-1",),
        keep_last=2,
    )
    again = Stored(tmp_path, plan(selection(row("a", 40), policy=policy))).load()
    assert again.policy() == policy
    assert again.workflow_ids == ("wf",)


def test_holds_that_came_since_are_added(tmp_path: Path) -> None:
    policy = replace(POLICY, exclude_collection_ids=("held-1", "held-2"))
    again = Stored(tmp_path, plan(selection(row("a", 40), policy=policy))).load()
    assert again.policy(("held-3", "held-1")).exclude_collection_ids == ("held-1", "held-2", "held-3")


def test_globs_are_not_looked_at_a_second_time(tmp_path: Path) -> None:
    policy = replace(POLICY, include_names=("*.pdf",), exclude_names=("b*",))
    again = Stored(tmp_path, plan(selection(row("a", 40), policy=policy))).load()
    assert again.policy() == POLICY


@pytest.mark.parametrize("globs", [{"include_names": ("*.pdf",)}, {"exclude_names": ("b*",)}], ids=repr)
def test_the_newest_of_those_that_match_unknown_globs_cannot_be_known(tmp_path: Path, globs: dict[str, Any]) -> None:
    again = Stored(tmp_path, plan(selection(row("a", 40), policy=replace(POLICY, keep_last=1, **globs)))).load()
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .*keep_last and with name globs"):
        again.policy()


def test_a_plan_of_ids_has_no_policy(tmp_path: Path) -> None:
    made = PurgePlan.of_ids(["a"], guards=Guards(), origin=ORIGIN, now=NOW)
    with pytest.raises(AnyformatValueError, match=r"^plan_path: .*a list of ids"):
        Stored(tmp_path, made).load().policy()


@pytest.mark.parametrize("workflow_id", ["another", None], ids=repr)
def test_a_row_of_a_workflow_that_the_plan_does_not_have_is_refused(tmp_path: Path, workflow_id: str | None) -> None:
    rows = [PlannedRow("a", "wf"), PlannedRow("b", workflow_id)]
    again = Stored(tmp_path, replace(plan(selection()), rows=rows)).load()
    with pytest.raises(AnyformatValueError, match=r"^plan_path: the plan's row of b names a workflow"):
        again.policy()


@pytest.mark.parametrize(
    "change",
    [
        {"older_than": "P1M"},
        {"older_than": "P"},
        {"older_than": "P0D"},
        {"older_than": "P999999999999D"},
        {"older_than": "PT1.2.3S"},
        {"older_than": None},
        {"older_than": 30},
        {"reference_time": None},
        {"reference_time": "2026-06-30T12:00:00"},
        {"reference_time": "soon"},
        {"age_by": "name"},
        {"statuses": None},
        {"exclude_collection_ids": 5},
        {"keep_last": "many"},
        {"keep_last": -1},
    ],
    ids=repr,
)
def test_a_policy_that_cannot_be_read_is_refused(stored: Stored, change: dict[str, Any]) -> None:
    stored.rewrite(lambda content: content["policy"].update(change))
    again = stored.load()
    with pytest.raises(AnyformatValueError, match=r"^plan_path: the plan's policy cannot be read: "):
        again.policy()


@pytest.mark.parametrize("name", ["older_than", "reference_time", "age_by", "statuses", "exclude_collection_ids"])
def test_a_policy_without_a_part_is_refused(stored: Stored, name: str) -> None:
    stored.rewrite(lambda content: content["policy"].pop(name))
    again = stored.load()
    with pytest.raises(AnyformatValueError, match=r"^plan_path: the plan's policy cannot be read: "):
        again.policy()


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)).filter(bool))
def test_a_duration_reads_back_as_it_was_written(duration: timedelta) -> None:
    assert duration_of(duration_text(duration)) == duration


@pytest.mark.parametrize("text", ["", "P", "PT", "P1W", "PT5M", "1D", "P1D ", "P-1D", "P1DT", "P1.5D"], ids=repr)
def test_what_is_no_duration_of_a_plan(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|convert"):
        duration_of(text)
