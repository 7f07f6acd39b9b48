"""A plan for people: as a table in the task log, and as Markdown for whoever approves it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from airflow_provider_anyformat.retention.plan import PurgePlan, utc_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# What an XCom, and an approval's form, can well hold.
MOST_MARKDOWN = 4096
_NAMED = 10


def plan_table(plan: PurgePlan) -> str:
    """Show a plan as a table: a line a reason, then what it spans."""
    rows = [("to be deleted", len(plan.rows)), *((f"kept: {reason}", n) for reason, n in sorted(plan.kept.items()))]
    rows.append(("listed", plan.listed))
    width = max(len(label) for label, _ in rows)
    lines = [
        f"plan for {', '.join(plan.workflow_ids)}; nothing is deleted",
        *(f"  {a:<{width}}  {n:>9}" for a, n in rows),
    ]
    if plan.rows:
        age_by, oldest, newest = _span(plan)
        lines.append(f"  {age_by} from {oldest} to {newest}")
        lines.append("  the first:")
        # A line each, for the log's page cuts off what is long.
        lines += [f"    {row.collection_id}" for row in plan.rows[:_NAMED]]
    lines.append(f"  digest {plan.digest}")
    return "\n".join(lines)


def plan_markdown(plan: PurgePlan) -> str:
    """
    Show a plan as Markdown of at most 4,096 bytes: workflows beyond what fits are counted together.

    :param plan: the plan of a purge.
    """
    numbers = dict.fromkeys(plan.workflow_ids, 0) | Counter(str(row.workflow_id) for row in plan.rows)
    # The most first, for those are the ones to look at where not all fit.
    by_workflow = sorted(numbers.items(), key=lambda pair: -pair[1])
    for shown in range(min(len(by_workflow), MOST_MARKDOWN // 10), -1, -1):
        text = _markdown(plan, by_workflow, shown)
        if len(text.encode()) <= MOST_MARKDOWN:
            return text
    raise RuntimeError("unreachable: a plan without its workflows always fits")


def _markdown(plan: PurgePlan, by_workflow: Sequence[tuple[str, int]], shown: int) -> str:
    parts = [f"**{_collections(len(plan.rows))} will be deleted, for good**, of {plan.listed} listed."]
    parts += [f"**Guard tripped, this plan cannot be applied.** {sentence}" for sentence in plan.tripped.values()]
    parts += [f"**This plan cannot be applied:** {sentence}" for sentence in plan.not_applicable]
    workflows = [(f"`{workflow_id}`", number) for workflow_id, number in by_workflow[:shown]]
    if by_workflow[shown:]:
        workflows.append((f"{len(by_workflow) - shown} more", sum(number for _, number in by_workflow[shown:])))
    parts.append(_table("workflow", "to be deleted", workflows))
    if plan.kept:
        parts.append(_table("kept because", "collections", sorted(plan.kept.items())))
    if plan.unmatched_holds:
        parts.append(f"{len(plan.unmatched_holds)} of the holds matched no listed collection.")
    parts.append("\n".join(f"- {line}" for line in _facts(plan)))
    if plan.rows:
        first = "\n".join(f"{n}. `{row.collection_id}`" for n, row in enumerate(plan.rows[:_NAMED], 1))
        parts.append(f"The first {min(len(plan.rows), _NAMED)}, oldest first:\n\n{first}")
    parts.append(f"Digest: `{plan.digest}`")
    return "\n\n".join(parts)


def _facts(plan: PurgePlan) -> list[str]:
    facts = [f"Planned at: {_minute(plan.made_at)}", f"From: {plan.origin.service}"]
    if plan.policy is not None:
        facts.append(f"Due by: `{plan.policy.age_by}` before {_minute(plan.cutoff)}")
    if plan.rows:
        _, oldest, newest = _span(plan)
        facts += [f"Oldest: {oldest}", f"Newest: {newest}"]
    return facts


def _span(plan: PurgePlan) -> tuple[str, str, str]:
    """Return by which timestamp the rows are due, and the first and the last of it: a plan has the oldest first."""
    age_by = "created_at" if plan.policy is None else plan.policy.age_by
    return age_by, _minute(getattr(plan.rows[0], age_by)), _minute(getattr(plan.rows[-1], age_by))


def _minute(moment: datetime | None) -> str:
    text = utc_text(moment and moment.replace(second=0, microsecond=0))
    return "never" if text is None else text.replace("T", " ").replace(":00Z", " UTC")


def _collections(number: int) -> str:
    return f"{number} file collection{'' if number == 1 else 's'}"


def _table(left: str, right: str, rows: list[tuple[str, int]]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---:|", *(f"| {label} | {number} |" for label, number in rows)])
