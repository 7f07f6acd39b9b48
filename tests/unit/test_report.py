"""A plan for people: the table of the task log, and the Markdown that whoever approves it reads."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_anyformat.bulk.recorder import Recorder
from airflow_provider_anyformat.bulk.report import (
    MOST_MARKDOWN,
    log_end,
    make_summary,
    numbers,
    plan_markdown,
    plan_table,
)
from airflow_provider_anyformat.retention.holds import Hold
from airflow_provider_anyformat.retention.plan import Guards, PurgePlan
from airflow_provider_anyformat.retention.policy import PlannedRow
from tests.support.tracing import lines_run
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
            PlannedRow(f"{n:08}".rjust(128, "c"), name, "processed", NOW - (n % 20) * 366 * DAY, NOW)
            for n, name in enumerate(chosen)
        ],
        listed=10**12,
        due=10**12,
        kept=dict.fromkeys(REASONS, 10**11),
        workflow_ids=tuple(names),
        policy=replace(
            POLICY,
            older_than=timedelta(days=36524, hours=23),
            age_by="created_at",
            statuses=("processed", "error", "cancelled"),
            exclude_collection_ids=("x" * 128,) * 100_000,
            include_names=("*",) * 1000,
            exclude_names=("*",) * 1000,
            keep_last=10**6,
        ),
        cutoff=NOW - 30 * DAY,
        guards=Guards(10**6, 99.99, 10**6),
        made_at=NOW,
        origin=replace(ORIGIN, service=f"https://{'a' * 253}:65535"),
        unmatched_holds=("x" * 128,) * 1000,
        tripped={name: f"{name}: {'9' * 300}" for name in ("max_deletions", "max_deletions_percent")},
        **changes,
    )


@pytest.mark.parametrize("id_length", [8, 128])
@pytest.mark.parametrize("workflows", [1, 2, 10, 409, 410, 3000])
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


def test_a_row_more_is_looked_at_once_however_many_workflows_there_are() -> None:
    def lines(rows: int) -> int:
        made = large(200, rows=rows, id_length=36)
        assert made.digest
        return lines_run(lambda: plan_markdown(made))

    assert lines(4000) - lines(2000) < 20 * 2000


def test_markdown_tells_what_an_approver_has_to_know() -> None:
    first = selection(*(row(f"due-{n:02}", 40 + n) for n in range(11)), row("young", 1), row("held", 50))
    second = selection(row("other", 60, "w2"), row("odd", 60, "w2", status="?"), workflow_id="w2")
    made = plan(first, second, selection(workflow_id="w3"))
    text = plan_markdown(made)
    assert text.startswith("**13 file collections will be permanently deleted**, of 15 listed.")
    assert cells(text, "workflow") == [["`wf`", "12"], ["`w2`", "1"], ["`w3`", "0"]]
    assert cells(text, "created") == [["2026-05", "13"]]
    assert cells(text, "kept because") == [["status_unknown", "1"], ["too_young", "1"]]
    assert "| kept because | collections |" in text
    oldest_first = [each.collection_id for each in made.rows]
    numbered = [line for line in text.splitlines() if line[:1].isdigit()]
    assert numbered == [f"{n}. `{each}`" for n, each in enumerate(oldest_first[:10], 1)]
    assert oldest_first[10] not in text
    for fact in (
        "- Planned at: 2026-06-30 12:00 UTC",
        "- From: https://api.example",
        "- Policy: created more than 30 days ago, with status processed",
        "- Due: `created_at` before 2026-05-31 12:00 UTC",
        "- Legal holds: none",
        "- Guards: at most 1000 deletions and 100 % of what is listed; limit unlimited",
        "- Oldest: 2026-05-01 12:00 UTC",
        "- Newest: 2026-05-21 12:00 UTC",
    ):
        assert fact in text.splitlines()
    assert text.endswith(f"Digest: `{made.digest}`")
    assert "Guard tripped" not in text


def test_one_is_singular() -> None:
    assert plan_markdown(plan(due(1))).startswith("**1 file collection will be permanently deleted**, of 1 listed.")


def test_nothing_to_delete() -> None:
    made = plan(selection(row("young", 1)))
    text = plan_markdown(made)
    assert text.startswith("**0 file collections will be permanently deleted")
    assert "Oldest" not in text
    assert "first" not in text
    assert made.digest in text
    assert "digest" in plan_table(made)


def test_a_tripped_guard_is_the_first_thing_an_approver_sees() -> None:
    made = plan(due(3), max_deletions=2, max_deletions_percent=50)
    parts = plan_markdown(made).split("\n\n")
    for part, sentence in zip(parts[1:3], made.tripped.values(), strict=True):
        assert part == f"**Guard tripped, this plan cannot be applied.** {sentence}"


def test_holds_are_counted_and_not_named() -> None:
    case, idle = Hold(case="secret case", collection_ids=("a",)), Hold(case="idle", collection_ids=("nobody-3",))
    policy = replace(POLICY, exclude_collection_ids=("nobody-1", "nobody-2"), holds=(case, idle))
    text = plan_markdown(plan(selection(row("a", 40), row("b", 40), policy=policy)))
    told = "- Legal holds: 2 ids, of which 2 matched no listed collection; 2 cases, 1 file collection held"
    assert told in text.splitlines()
    one = replace(POLICY, exclude_collection_ids=("b",), holds=(case,))
    text_of_one = plan_markdown(plan(selection(row("a", 40), row("b", 40), policy=one)))
    assert "- Legal holds: 1 id; 1 case, 1 file collection held" in text_of_one.splitlines()
    assert "nobody" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("months", "shown"),
    [
        pytest.param([(2026, 6), (2026, 6), (2026, 5)], [["2026-05", "1"], ["2026-06", "2"]], id="months"),
        pytest.param([(2025, n) for n in range(1, 13)], [[f"2025-{n:02}", "1"] for n in range(1, 13)], id="a year's"),
        pytest.param(
            [(2025 + n // 12, n % 12 + 1) for n in range(5, 18)],
            [["2025", "7"], ["2026", "6"]],
            id="years, where months are too many",
        ),
        pytest.param(
            [(year, 1) for year in range(2013, 2027)],
            [["2015 or earlier", "3"], *([str(year), "1"] for year in range(2016, 2027))],
            id="the earliest together",
        ),
        pytest.param(
            [(2026, 2), *((year, 1) for year in range(2015, 2027))],
            [*([str(year), "1"] for year in range(2015, 2026)), ["2026", "2"]],
            id="as many years as fit",
        ),
    ],
)
def test_the_ages_of_what_goes_are_a_small_table(months: list[tuple[int, int]], shown: list[list[str]]) -> None:
    moments = [NOW.replace(year=year, month=month, day=1) for year, month in months]
    rows = [PlannedRow(f"c-{n}", "wf", "processed", moment, moment) for n, moment in enumerate(moments)]

    assert cells(plan_markdown(replace(plan(due(0)), rows=rows)), "created") == shown


@pytest.mark.parametrize(
    ("changes", "plan_only", "end"),
    [
        pytest.param({}, True, "plan only, nothing was deleted: would delete 2, keep 3 of 5", id="plan"),
        pytest.param(
            {"max_deletions": 1}, False, "a guard tripped, nothing was deleted: all 5 are still there", id="guard"
        ),
        pytest.param({}, False, "done: deleted 2, already gone 0, failed 0, not attempted 0, kept 3", id="purge"),
    ],
)
def test_the_last_line_adds_up(
    changes: dict[str, Any], plan_only: bool, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = plan(
        selection(*(row(f"due-{n}", 40) for n in range(2)), *(row(f"young-{n}", 1) for n in range(3))), **changes
    )
    counts = {"deleted": 2, "already_gone": 0, "failed": 0, "not_attempted": 0, "kept": made.kept}

    with caplog.at_level("INFO"):
        log_end({"ledger": None, **counts}, made, plan_only=plan_only)

    assert caplog.messages == [end]


def test_what_a_run_that_had_to_end_knows_nothing_of_was_not_attempted() -> None:
    assert make_summary(plan(due(5)), Recorder(None), None, 3)["not_attempted"] == 3
    assert make_summary(plan(due(5)), Recorder(None), None)["not_attempted"] == 0
    assert numbers({}) == "none"


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


def test_times_are_shown_to_the_minute() -> None:
    moment = NOW.replace(second=59, microsecond=1)
    text = plan_markdown(replace(plan(due(1)), made_at=moment, cutoff=moment))
    assert "- Planned at: 2026-06-30 12:00 UTC" in text
    assert "before 2026-06-30 12:00 UTC" in text


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
