"""What a listing becomes as time goes by and nothing else changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_provider_anyformat.api.values import CLOCK_SKEW
from airflow_provider_anyformat.retention.policy import Selection
from airflow_provider_anyformat.retention.reasons import DECISIONS, DUE, FREE_FORMS, TIMESTAMP_UNREADABLE

# Days from now that a forecast looks at.
HORIZONS = (1, 7, 30, 90, 365)


def counts_at(selection: Selection, now: datetime, older_than: timedelta) -> Counter[str]:
    """
    Return how many rows are due at another moment, and how many are kept, by reason.

    :param selection: a concluded one.
    :param now: the moment, aware; age counts from it.
    :param older_than: in place of the policy's.
    """
    cutoff = replace(selection.policy, older_than=older_than, reference_time=now).cutoff(now)
    counts = selection.timeline.counts(cutoff.timestamp(), (now + CLOCK_SKEW).timestamp())
    for code, decision in enumerate(DECISIONS):
        if code not in FREE_FORMS:
            counts[decision.reason] += selection.codes.count(code)
    # Those without a time, which no timeline has.
    counts[TIMESTAMP_UNREADABLE.reason] += selection.listed - counts.total()
    return +counts


def forecast(selections: Sequence[Selection]) -> dict[str, int]:
    """Return how many more rows of concluded ``selections`` become due within each of ``HORIZONS``, in days."""
    now = sum(_due_after(selection, 0) for selection in selections)
    return {str(days): sum(_due_after(selection, days) for selection in selections) - now for days in HORIZONS}


def _due_after(selection: Selection, days: int) -> int:
    wait = timedelta(days=days).total_seconds()
    cutoff, latest = selection.cutoff.timestamp() + wait, selection.latest.timestamp() + wait
    return selection.timeline.counts(cutoff, latest)[DUE.reason]
