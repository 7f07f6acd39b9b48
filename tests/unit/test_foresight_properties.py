"""``explain``, ``simulate``, forecast and a plan say the same of the same listing at the same moment."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat.api.models import FileCollection, Page
from airflow_provider_anyformat.cli import explain, simulate
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.cli.policy import judge
from airflow_provider_anyformat.retention.foresight import HORIZONS
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection, conclude, decide, select
from airflow_provider_anyformat.retention.timeline import Timeline
from tests.unit.test_policy_properties import NOW, policies, rows

pytestmark = pytest.mark.untraced

QUIET = Output(as_json=True)
OFFSETS = [0, 1, 7, 29, 30, 31, 90, 365]


def purged(sent: dict[str, list[dict[str, Any]]], policy: RetentionPolicy, now: datetime) -> list[Selection]:
    """Judge as a purge does, page by page."""
    selections = []
    for workflow_id, some in sent.items():
        half = (len(some) + 1) // 2
        bodies = [
            {"results": part, "count": 0, "page": number, "page_size": max(half, 1)}
            for number, part in enumerate((some[:half], some[half:]), 1)
        ]
        pages = [Page.from_json(body, workflow_id, number) for number, body in enumerate(bodies, 1)]
        selections.append(select(pages, policy, now, workflow_id))
    conclude(selections)
    return selections


def totals(selections: list[Selection]) -> Counter[str]:
    counts = sum((selection.kept for selection in selections), Counter[str]())
    return +(counts + Counter(due=sum(len(selection.due) for selection in selections)))


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["w-1", "w-2"]), rows), max_size=14), policies)
def test_all_say_the_same(sent: list[tuple[str, dict[str, Any]]], policy: RetentionPolicy) -> None:
    policy = replace(policy, reference_time=NOW)
    by_workflow: dict[str, list[dict[str, Any]]] = {}
    for workflow_id, row in sent:
        by_workflow.setdefault(workflow_id, []).append(row)
    moments = [NOW + timedelta(days=days) for days in OFFSETS]
    with TemporaryDirectory() as folder:
        path = Path(folder, "listing")
        path.write_text("".join(json.dumps(row | {"workflow_id": name}) + "\n" for name, row in sent))
        days = list(simulate.entries(str(path), policy, moments, timedelta(days=44), QUIET))
        explained = list(explain.entries(str(path), policy, NOW, QUIET))
        of_file = judge(str(path), policy, NOW, QUIET)
    for moment, day in zip(moments, days, strict=True):
        expected = totals(purged(by_workflow, replace(policy, reference_time=moment), moment))
        assert Counter(day["kept"]) + Counter(due=day["due"]) == expected
        against = replace(policy, reference_time=moment, older_than=timedelta(days=44))
        expected = totals(purged(by_workflow, against, moment))
        assert Counter(day["against"]["kept"]) + Counter(due=day["against"]["due"]) == expected

    selections = purged(by_workflow, policy, NOW)
    assert Counter(each["reason"] for each in explained) == totals(selections)
    assert {each["collection_id"] for each in explained if each["delete"]} == {
        row.collection_id for selection in selections for row in selection.due
    }
    if by_workflow:
        plan = PurgePlan.of_selections(selections, guards=Guards("unlimited"), origin=Origin("http://x"), now=NOW)
        # A forecast takes the holds of today as they are.
        holds = tuple(replace(hold, begins=None, ends=None) for hold in policy.holds if hold.in_force(NOW))
        static = replace(policy, holds=holds)
        due = {days: len(decided(sent, static, NOW + timedelta(days=days))) for days in (0, *HORIZONS)}
        assert plan.forecast is not None
        if not disputed(of_file):
            assert plan.forecast == {str(each): due[each] - due[0] for each in HORIZONS}
            assert plan.due == due[0]


def decided(sent: list[tuple[str, dict[str, Any]]], policy: RetentionPolicy, now: datetime) -> set[str]:
    """Ask the rule itself, without pages or portions."""
    listing = [FileCollection.from_json(row, workflow_id) for workflow_id, row in sent]
    decisions = decide(listing, replace(policy, reference_time=now), now)
    return {row.id for row, decision in zip(listing, decisions, strict=True) if decision.delete}


def disputed(selections: list[Selection]) -> bool:
    """Of rows that were sent apart and mean the same, the rule knows only that they mean the same."""
    return any(selection.kept["contradictory"] for selection in selections)


@pytest.mark.parametrize(
    ("held", "keep_last", "cutoff", "expected"),
    [
        ((), 0, 50, {"timestamp_unreadable": 2, "due": 3, "too_young": 1, "timestamp_future": 1}),
        # The newest whose age is known count, young and held ones too.
        ((), 1, 50, {"timestamp_unreadable": 2, "due": 3, "too_young": 1, "timestamp_future": 1}),
        ((), 2, 50, {"timestamp_unreadable": 2, "due": 2, "keep_last": 1, "too_young": 1, "timestamp_future": 1}),
        ((45,), 2, 50, {"timestamp_unreadable": 2, "due": 3, "too_young": 1, "timestamp_future": 1}),
        ((), 6, 50, {"timestamp_unreadable": 2, "keep_last": 3, "too_young": 1, "timestamp_future": 1}),
        ((), 9, 50, {"timestamp_unreadable": 2, "keep_last": 3, "too_young": 1, "timestamp_future": 1}),
        # What is exactly as old as asked for is too young, and what is exactly now is not in the future.
        ((), 0, 30, {"timestamp_unreadable": 2, "due": 2, "too_young": 2, "timestamp_future": 1}),
        ((), 0, -9, {"too_young": 6, "timestamp_future": 1}),
    ],
)
def test_what_a_moment_makes_of_times(held: tuple[float, ...], keep_last: int, cutoff: float, expected: Any) -> None:
    free = (60.0, 10.0, -5.0, 0.0, 20.0, 61.0, 30.0)
    assert Timeline(free, held, keep_last).counts(cutoff, latest=60.0) == expected
