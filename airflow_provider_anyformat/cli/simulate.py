"""``simulate``: how many collections a policy would delete today and on the days to come."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.cli.policy import add_policy_arguments, judge, read_policy
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.parameters import read_parameters
from airflow_provider_anyformat.retention.foresight import counts_at
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection

_MOST_DAYS = 36_500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_policy_arguments(parser)
    parser.add_argument("--days", metavar="N", help="also each of the N days after --at")
    parser.add_argument("--against", metavar="P30D", help="another --older-than to compare with")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Count, for each day."""
    policy, at = read_policy(arguments)
    days = _read_days(arguments.days)
    other = None
    if arguments.against is not None:
        try:
            other = read_parameters({"older_than": arguments.against})["older_than"]
        except AnyformatValueError as error:
            raise AnyformatValueError(str(error).replace("older_than", "--against", 1)) from None
    moments = [at + timedelta(days=day) for day in range(days + 1)]
    found = list(entries(arguments.listing, policy, moments, other, output))
    output.show({"days": found}, lambda: _show(found, output))
    return 0


def _read_days(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_DAYS:
        raise AnyformatValueError(f"--days: {shown(text)} is not a whole number from 1 to {_MOST_DAYS}")
    return int(text)


def entries(
    listing: str, policy: RetentionPolicy, moments: Sequence[datetime], other: timedelta | None, output: Output
) -> Iterator[dict[str, Any]]:
    """
    Yield what the policy does with a listing at each of ``moments``, as the command prints it.

    :param other: another age to compare with, or ``None``.
    """
    # Time alone changes what is due, but for holds that begin or end.
    for _, some in groupby(moments, lambda moment: [hold.in_force(moment) for hold in policy.holds]):
        group = list(some)
        selections = judge(listing, policy, group[0], output)
        for moment in group:
            entry: dict[str, Any] = {"date": f"{moment:%Y-%m-%d}"} | _counts(selections, moment, policy.older_than)
            if other is not None:
                entry["against"] = _counts(selections, moment, other)
            yield entry


def _counts(selections: Sequence[Selection], moment: datetime, older_than: timedelta) -> dict[str, Any]:
    counts = sum((counts_at(selection, moment, older_than) for selection in selections), Counter[str]())
    due = counts.pop("due", 0)
    return {"due": due, "kept": dict(sorted(counts.items()))}


def _show(entries: Sequence[dict[str, Any]], output: Output) -> None:
    reasons = sorted({reason for entry in entries for reason in entry["kept"]})
    compared = "against" in entries[0]
    output.table(
        ("date", "#due", *(["#due, against"] if compared else []), *(f"#kept: {reason}" for reason in reasons)),
        [
            (
                entry["date"],
                entry["due"],
                *([entry["against"]["due"]] if compared else []),
                *(entry["kept"].get(reason, 0) for reason in reasons),
            )
            for entry in entries
        ],
    )
