"""Policies and durations as a person says them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow_provider_anyformat.retention.policy import RetentionPolicy


def policy_words(policy: RetentionPolicy) -> str:
    """Say what a policy selects; of name globs, which may be personal data, only how many there are."""
    since = "last updated" if policy.age_by == "updated_at" else "created"
    parts = [
        f"{since} more than {duration_words(policy.older_than)} ago",
        f"with status {several(policy.statuses, 'or')}",
    ]
    if policy.include_names:
        parts.append(f"with a name that matches {_globs(policy.include_names)}")
    if policy.exclude_names:
        parts.append(f"with a name that does not match {_globs(policy.exclude_names)}")
    kept = f"; the newest {policy.keep_last} of each workflow are kept" if policy.keep_last else ""
    return ", ".join(parts) + kept


def duration_words(length: timedelta) -> str:
    """Write whole days and hours as in ``90 days``, ``1 day and 12 hours``."""
    counted = ((length.days, "day"), (length.seconds // 3600, "hour"))
    return " and ".join(f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in counted if number)


def several(texts: Sequence[str], last: str = "and") -> str:
    """Join texts as in ``a, b and c``."""
    *first, end = texts
    return f"{', '.join(first)} {last} {end}" if first else end


def _globs(globs: Sequence[str]) -> str:
    return "a glob" if len(globs) == 1 else f"one of {len(globs)} globs"
