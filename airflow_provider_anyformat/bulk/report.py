"""What people read of a run: its plan as a table and as Markdown, its log lines, and its summary."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.retention.plan import PurgePlan, utc_text
from airflow_provider_anyformat.retention.reasons import ANOMALIES
from airflow_provider_anyformat.retention.words import policy_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_anyformat.bulk.recorder import Recorder
    from airflow_provider_anyformat.retention.ledger import Ledger

# What an XCom, and an approval's form, can well hold.
MOST_MARKDOWN = 4096
_NAMED = 10
_HOLDS_NAMED = 20
# What fits on a screen: more months than that are shown as years, more years as "earlier".
_MOST_PERIODS = 12

log = logging.getLogger(__name__)


def plan_table(plan: PurgePlan) -> str:
    """Show a plan as a table: one line per reason, then what it spans."""
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
    # The most first, because those are the ones to look at where not all fit.
    by_workflow = sorted(numbers.items(), key=lambda pair: -pair[1])
    periods = _periods(plan)
    for shown in range(min(len(by_workflow), MOST_MARKDOWN // 10), -1, -1):
        text = _markdown(plan, by_workflow, shown, periods)
        if len(text.encode()) <= MOST_MARKDOWN:
            return text
    raise RuntimeError("unreachable: a plan without its workflows always fits")


def _markdown(
    plan: PurgePlan, by_workflow: Sequence[tuple[str, int]], shown: int, periods: list[tuple[str, int]]
) -> str:
    parts = [f"**{_collections(len(plan.rows))} will be permanently deleted**, of {plan.listed} listed."]
    parts += [f"**Guard tripped, this plan cannot be applied.** {sentence}" for sentence in plan.tripped.values()]
    parts += [f"**This plan cannot be applied:** {sentence}" for sentence in plan.not_applicable]
    parts.append("\n".join(f"- {line}" for line in _facts(plan)))
    workflows = [(f"`{workflow_id}`", number) for workflow_id, number in by_workflow[:shown]]
    if by_workflow[shown:]:
        workflows.append((f"{len(by_workflow) - shown} more", sum(number for _, number in by_workflow[shown:])))
    parts.append(_table("workflow", "to be deleted", workflows))
    if periods:
        parts.append(_table(_age_by(plan).partition("_")[0], "to be deleted", periods))
    if plan.kept:
        parts.append(_table("kept because", "collections", sorted(plan.kept.items())))
    if plan.rows:
        first = "\n".join(f"{n}. `{row.collection_id}`" for n, row in enumerate(plan.rows[:_NAMED], 1))
        parts.append(f"The first {min(len(plan.rows), _NAMED)}, oldest first:\n\n{first}")
    parts.append(f"Digest: `{plan.digest}`")
    return "\n\n".join(parts)


def _facts(plan: PurgePlan) -> list[str]:
    facts = []
    if plan.policy is not None:
        facts.append(f"Policy: {policy_words(plan.policy)}")
        facts.append(f"Due: `{plan.policy.age_by}` before {_minute(plan.cutoff)}")
        facts.append(f"Legal holds: {_holds(len(plan.policy.exclude_collection_ids), plan)}")
    guards = plan.guards
    facts.append(
        f"Guards: at most {guards.max_deletions} deletions and {guards.max_deletions_percent:g} % of what is listed;"
        f" limit {guards.limit}"
    )
    if plan.rows:
        _, oldest, newest = _span(plan)
        facts += [f"Oldest: {oldest}", f"Newest: {newest}"]
    return [*facts, f"Planned at: {_minute(plan.made_at)}", f"From: {plan.origin.service}"]


def _holds(ids: int, plan: PurgePlan) -> str:
    unmatched, cases = len(plan.unmatched_holds), plan.holds()
    parts = []
    if ids:
        nowhere = f", of which {unmatched} matched no listed collection" if unmatched else ""
        parts.append(f"{ids} id{'' if ids == 1 else 's'}{nowhere}")
    if cases:
        held = sum(case["held"] for case in cases)
        parts.append(f"{len(cases)} case{'' if len(cases) == 1 else 's'}, {_collections(held)} held")
    return "; ".join(parts) or "none"


def _periods(plan: PurgePlan) -> list[tuple[str, int]]:
    """Count what is to be deleted by month; where that is too many lines, by year, and the earliest together."""
    moments = [getattr(row, _age_by(plan)) for row in plan.rows]
    months = Counter("unknown" if moment is None else f"{moment.year:04}-{moment.month:02}" for moment in moments)
    if len(months) <= _MOST_PERIODS:
        return sorted(months.items())
    years = Counter[str]()
    for month, number in months.items():
        years[month.partition("-")[0]] += number
    shown = sorted(years.items())
    earlier = shown[: 1 - _MOST_PERIODS] if len(shown) > _MOST_PERIODS else []
    together = [(f"{earlier[-1][0]} or earlier", sum(number for _, number in earlier))] if earlier else []
    return [*together, *shown[len(earlier) :]]


def _age_by(plan: PurgePlan) -> str:
    return "created_at" if plan.policy is None else plan.policy.age_by


def _span(plan: PurgePlan) -> tuple[str, str, str]:
    """Return by which timestamp the rows are due, and the first and the last of it: a plan has the oldest first."""
    age_by = _age_by(plan)
    return age_by, _minute(getattr(plan.rows[0], age_by)), _minute(getattr(plan.rows[-1], age_by))


def _minute(moment: datetime | None) -> str:
    text = utc_text(moment and moment.replace(second=0, microsecond=0))
    return "never" if text is None else text.replace("T", " ").replace(":00Z", " UTC")


def _collections(number: int) -> str:
    return f"{number} file collection{'' if number == 1 else 's'}"


def _table(left: str, right: str, rows: list[tuple[str, int]]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---:|", *(f"| {label} | {number} |" for label, number in rows)])


def make_summary(plan: PurgePlan, recorder: Recorder, ledger: Ledger | None, unhandled: int = 0) -> dict[str, Any]:
    """
    Return the summary of a run; it stays small at any size.

    :param unhandled: planned ids whose fate is unknown, because the run had to end; default 0.
    """
    counts = recorder.counts
    kept = dict(sorted((recorder.kept + Counter(plan.kept)).items()))
    plan_path, plan_digest = None if ledger is None else ledger.url, plan.digest
    if plan.applied is not None:
        plan_path, plan_digest = plan.applied.plan_path, plan.applied.plan_digest
    return {
        "workflow_ids": list(plan.workflow_ids),
        "cutoff": utc_text(plan.cutoff),
        "listed": plan.listed,
        "due": plan.due,
        "requested": counts["deleted"] + counts["already_gone"] + counts["failed"],
        "deleted": counts["deleted"],
        "already_gone": counts["already_gone"],
        "failed": counts["failed"],
        "not_attempted": counts["not_attempted"] + unhandled,
        "kept": kept,
        **({} if plan.forecast is None else {"forecast": plan.forecast}),
        "plan_path": plan_path,
        "plan_digest": plan_digest,
        "ledger": None if ledger is None else ledger.url,
    }


def log_plan(plan: PurgePlan) -> None:
    """Say in one line what was listed, what is due, and what is kept and why; a list has no other line."""
    level = logging.WARNING if plan.anomalies else logging.INFO
    log.log(
        level,
        "listed %s, due %s, to be deleted %s, kept: %s",
        plan.listed,
        plan.due,
        len(plan.rows),
        numbers(plan.kept),
    )
    log_unmatched(plan)


def log_applied(plan: PurgePlan, unlisted: int) -> None:
    """
    Say in one line what becomes of an earlier plan's rows.

    :param unlisted: how many of ``plan.rows`` the listing does not show.
    """
    log.log(
        logging.WARNING if plan.kept else logging.INFO,
        "the plan lists %s, of which %s are to be deleted now, %s are not listed any more and are looked up, kept: %s",
        plan.due,
        len(plan.rows) - unlisted,
        unlisted,
        numbers(plan.kept),
    )
    log_unmatched(plan)


def log_unmatched(plan: PurgePlan) -> None:
    """Warn of legal holds that name nothing: they may be misspelt."""
    if plan.unmatched_holds:
        log.warning(
            "exclude_collection_ids: %s of the holds matched no listed collection: %s",
            len(plan.unmatched_holds),
            ", ".join(plan.unmatched_holds[:_HOLDS_NAMED]),
        )


def log_end(summary: dict[str, Any], plan: PurgePlan, *, plan_only: bool = False) -> None:
    """Say the ledger, then the end in one line: a warning where rows are kept for a reason to look into."""
    if summary["ledger"]:
        # A line of its own, because the log's page cuts off what is long.
        log.info("ledger:\n  %s", summary["ledger"])
        log.info("summary_sha256: %s", summary["summary_sha256"])
    kept = sum(summary["kept"].values())
    if plan_only:
        end = f"plan only, nothing was deleted: would delete {len(plan.rows)}, keep {kept} of {plan.listed}"
    elif plan.tripped:
        there = "" if plan.policy is None else f": all {plan.listed} are still there"
        end = f"a guard tripped, nothing was deleted{there}"
    else:
        end = (
            f"done: deleted {summary['deleted']}, already gone {summary['already_gone']}, failed {summary['failed']},"
            f" not attempted {summary['not_attempted']}, kept {kept}"
        )
    anomalies = {reason: number for reason, number in summary["kept"].items() if reason in ANOMALIES}
    log.log(
        logging.WARNING if anomalies or summary["failed"] or summary["not_attempted"] else logging.INFO,
        "%s%s",
        end,
        f"\nplease look into {numbers(anomalies)}" if anomalies else "",
    )


def numbers(counts: Mapping[str, int]) -> str:
    """Write numbers by reason in one line."""
    return ", ".join(f"{reason} {number}" for reason, number in sorted(counts.items())) or "none"


def duration(seconds: float) -> str:
    """Write seconds as a person would: ``2 h 5 min``, ``6 min 27 s``, ``9 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
