"""A plan for people: the table of the task log, and the Markdown that whoever approves it reads."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_anyformat.bulk.report import MOST_MARKDOWN, plan_markdown, plan_table
from airflow_provider_anyformat.retention.plan import Guards, PurgePlan
from airflow_provider_anyformat.retention.policy import PlannedRow
from tests.unit.test_plan import DAY, NOW, ORIGIN, POLICY, due, plan, row, selection

REASONS = (
    "held",
    "contradictory",
    "status_unknown",
    "status",
    "name",
    "timestamp_missing",
    "timestamp_unreadable",
    "timestamp_future",
    "too_young",
    "keep_last",
    "limit",
)


def cells(text: str, head: str) -> list[list[str]]:
    """Return the rows of a Markdown table by the first cell of its head."""
    table = text[text.index(f"| {head} |") :].split("\n\n", maxsplit=1)[0].splitlines()
    assert table[1] == "|---|---:|"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def large(workflows: int, rows: int = 20, *, id_length: int = 128, **changes: Any) -> PurgePlan:
    """Return a plan whose every part is as long as it may get; the later a workflow, the more of it is due."""
    names = [f"{n:06}".rjust(id_length, "w") for n in range(workflows)]
    chosen = random.Random(1).choices(names, range(1, workflows + 1), k=rows) if names else []
    return PurgePlan(
        rows=[
            PlannedRow(f"{n:08}".rjust(128, "c"), name, "processed", NOW - 90 * DAY, NOW - 90 * DAY)
            for n, name in enumerate(chosen)
        ],
        listed=10**12,
        due=10**12,
        kept=dict.fromkeys(REASONS, 10**11),
        workflow_ids=tuple(names),
        policy=POLICY,
        cutoff=NOW - 30 * DAY,
        guards=Guards(),
        made_at=NOW,
        origin=replace(ORIGIN, service=f"https://{'a' * 253}:65535"),
        unmatched_holds=("x" * 128,) * 1000,
        tripped={name: f"{name}: {'9' * 300}" for name in ("max_deletions", "max_deletions_percent")},
        **changes,
    )


@pytest.mark.parametrize("id_length", [8, 36, 128])
@pytest.mark.parametrize("workflows", [1, 2, 5, 10, 40, 100, 409, 410, 3000])
def test_markdown_fits_whatever_is_in_it(workflows: int, id_length: int) -> None:
    found = large(workflows, rows=max(20, 2 * workflows), id_length=id_length)
    text = plan_markdown(found)
    assert len(text.encode()) <= MOST_MARKDOWN == 4096
    # What does not depend on the workflows is always there.
    assert found.digest in text
    assert all(f"| {reason} | {10**11} |" in text for reason in REASONS)
    assert sum(each.collection_id in text for each in found.rows) == 10
    # Whatever is not shown is counted.
    shown = cells(text, "workflow")
    assert sum(int(number) for _, number in shown) == len(found.rows)
    *named, last = shown
    if "more" in last[0]:
        assert int(last[0].split()[0]) == workflows - len(named)
    else:
        assert len(shown) == workflows


def test_as_many_workflows_as_fit_are_shown_the_most_first() -> None:
    numbers = {f"workflow-{n:04}": 1 + n * 37 % 100 for n in range(300)}
    rows = [PlannedRow(f"{name}-{n}", name) for name, number in numbers.items() for n in range(number)]
    made = replace(plan(due(0)), rows=rows, workflow_ids=tuple(numbers))
    text = plan_markdown(made)
    *shown, more = cells(text, "workflow")
    most = sorted(numbers.values(), reverse=True)
    assert [int(number) for _, number in shown] == most[: len(shown)]
    assert all(numbers[name.strip("`")] == int(number) for name, number in shown)
    assert more == [f"{300 - len(shown)} more", str(sum(most[len(shown) :]))]
    # One line more would not fit.
    assert MOST_MARKDOWN - 40 < len(text.encode()) <= MOST_MARKDOWN


def test_many_workflows_with_many_rows_are_shown_soon() -> None:
    made = large(400, rows=100_000, id_length=36)
    assert made.digest
    begun = time.monotonic()
    plan_markdown(made)
    assert time.monotonic() - begun < 2


def test_markdown_tells_what_an_approver_has_to_know() -> None:
    first = selection(*(row(f"due-{n:02}", 40 + n) for n in range(11)), row("young", 1), row("held", 50))
    second = selection(row("other", 60, "w2"), row("odd", 60, "w2", status="?"), workflow_id="w2")
    made = plan(first, second, selection(workflow_id="w3"))
    text = plan_markdown(made)
    assert text.startswith("**13 file collections will be deleted, for good**, of 15 listed.")
    assert cells(text, "workflow") == [["`wf`", "12"], ["`w2`", "1"], ["`w3`", "0"]]
    assert cells(text, "kept because") == [["status_unknown", "1"], ["too_young", "1"]]
    oldest_first = [each.collection_id for each in made.rows]
    numbered = [line for line in text.splitlines() if line[:1].isdigit()]
    assert numbered == [f"{n}. `{each}`" for n, each in enumerate(oldest_first[:10], 1)]
    assert oldest_first[10] not in text
    for fact in (
        "- Planned at: 2026-06-30 12:00 UTC",
        "- From: https://api.example",
        "- Due by: `created_at` before 2026-05-31 12:00 UTC",
        "- Oldest: 2026-05-01 12:00 UTC",
        "- Newest: 2026-05-21 12:00 UTC",
    ):
        assert fact in text.splitlines()
    assert text.endswith(f"Digest: `{made.digest}`")
    assert "Guard" not in text
    assert "holds" not in text


def test_one_is_singular() -> None:
    assert plan_markdown(plan(due(1))).startswith("**1 file collection will be deleted, for good**, of 1 listed.")


def test_nothing_to_delete() -> None:
    made = plan(selection(row("young", 1)))
    text = plan_markdown(made)
    assert text.startswith("**0 file collections will be deleted")
    assert "Oldest" not in text
    assert "first" not in text
    assert made.digest in text
    assert "digest" in plan_table(made)


def test_a_tripped_guard_is_the_first_thing_an_approver_sees() -> None:
    made = plan(due(3), max_deletions=2, max_deletions_percent=50)
    parts = plan_markdown(made).split("\n\n")
    for part, sentence in zip(parts[1:3], made.tripped.values(), strict=True):
        assert part == f"**Guard tripped, this plan cannot be applied.** {sentence}"


def test_holds_that_match_nothing_are_counted_and_not_named() -> None:
    made = plan(selection(row("a", 40), policy=replace(POLICY, exclude_collection_ids=("nobody-1", "nobody-2"))))
    text = plan_markdown(made)
    assert "2 of the holds matched no listed collection." in text
    assert "nobody" not in text


def test_the_span_is_of_the_timestamp_that_counts() -> None:
    policy = replace(POLICY, age_by="updated_at")
    old, new = row("a", 90, updated_at=NOW - 40 * DAY), row("b", 60, updated_at=NOW - 50 * DAY)
    made = plan(selection(old, new, policy=policy))
    for text in (plan_markdown(made), plan_table(made)):
        assert "updated_at" in text
        assert "created_at" not in text
        # By their creation it would be the other way round.
        assert text.index("2026-05-11 12:00 UTC") < text.index("2026-05-21 12:00 UTC")
        assert "2026-04" not in text


def test_neither_names_nor_globs_are_shown() -> None:
    policy = replace(POLICY, include_names=("secret-*.pdf",), exclude_names=("*salary*",))
    made = plan(selection(row("a", 40, name="secret-1.pdf"), row("b", 40, name="secret-salary.pdf"), policy=policy))
    assert (len(made.rows), made.kept) == (1, {"name": 1})
    for text in (plan_markdown(made), plan_table(made)):
        assert "secret" not in text
        assert "salary" not in text


def test_the_table() -> None:
    made = plan(selection(*(row(f"due-{n:02}", 60 - n) for n in range(12)), row("young", 1)))
    assert plan_table(made).splitlines() == [
        "plan for wf; nothing is deleted",
        "  to be deleted           12",
        "  kept: too_young          1",
        "  listed                  13",
        "  created_at from 2026-05-01 12:00 UTC to 2026-05-12 12:00 UTC",
        "  the first:",
        *(f"    due-{n:02}" for n in range(10)),
        f"  digest {made.digest}",
    ]


@pytest.mark.parametrize("globs", [{"include_names": ("*.pdf",)}, {"exclude_names": ("*.pdf",)}])
def test_a_plan_that_nobody_can_apply_says_so_before_it_is_approved(globs: dict[str, Any]) -> None:
    text = plan_markdown(plan(selection(policy=replace(POLICY, keep_last=1, **globs))))
    assert "**This plan cannot be applied:** the plan was made with keep_last" in text
    for policy in (replace(POLICY, keep_last=1), replace(POLICY, **globs)):
        assert "cannot be applied" not in plan_markdown(plan(selection(policy=policy)))
