"""``explain``: what a policy does with each collection of a listing, and why."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.api.values import canonical_id, check_id
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.cli.policy import add_policy_arguments, judge, read_policy
from airflow_provider_anyformat.retention.holds import name_rule
from airflow_provider_anyformat.retention.plan import utc_text
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection
from airflow_provider_anyformat.retention.reasons import DUE

# What decides where a reason is given; "name" and "held" have more than one, a contradiction has none.
_RULES = {
    "due": "older_than",
    "too_young": "older_than",
    "status": "statuses",
    "status_unknown": "statuses",
    "keep_last": "keep_last",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_policy_arguments(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these collections; default all of the listing")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Explain; 1 if an id is not in the listing."""
    policy, at = read_policy(arguments)
    wanted = {canonical_id(check_id(each, "ID")): each for each in arguments.ids}
    found = [
        entry
        for entry in entries(arguments.listing, policy, at, output)
        if not wanted or canonical_id(entry["collection_id"]) in wanted
    ]
    document: dict[str, Any] = {"collections": found}
    listed = {canonical_id(entry["collection_id"]) for entry in found}
    unlisted = sorted(given for canonical, given in wanted.items() if canonical not in listed)
    if unlisted:
        document["unlisted"] = unlisted
    output.show(document, lambda: _show(found, unlisted, output))
    return 1 if unlisted else 0


def entries(listing: str, policy: RetentionPolicy, at: datetime, output: Output) -> Iterator[dict[str, Any]]:
    """Yield what the policy does with each collection of a listing, as the command prints it."""
    rows: dict[str, list[tuple[str, str | None]]] = {}

    def seen(workflow_id: str, some: Sequence[FileCollection]) -> None:
        rows.setdefault(workflow_id, []).extend((row.id, row.name) for row in some)

    for selection in judge(listing, policy, at, output, seen):
        yield from _entries(selection, rows[selection.workflow_id], policy)


def _entries(
    selection: Selection, rows: Sequence[tuple[str, str | None]], policy: RetentionPolicy
) -> Iterator[dict[str, Any]]:
    included = name_rule(policy.include_names, ())

    def rule(reason: str, collection_id: str, name: str | None) -> str | None:
        if reason == "held":
            return selection.case_of(collection_id) or "exclude_collection_ids"
        if reason == "name":
            return "exclude_names" if included is None or included(name) else "include_names"
        return policy.age_by if reason.startswith("timestamp_") else _RULES.get(reason)

    for position, (collection_id, name) in enumerate(rows):
        reason = selection.reason_at(position)
        yield {
            "collection_id": collection_id,
            "workflow_id": selection.workflow_id or None,
            "delete": reason == DUE.reason,
            "reason": reason,
            "rule": rule(reason, collection_id, name),
            "due_at": _due_at(selection.times[position], policy) if reason in ("due", "too_young") else None,
        }


def _due_at(time: float, policy: RetentionPolicy) -> str | None:
    try:
        return None if math.isnan(time) else utc_text(datetime.fromtimestamp(time, UTC) + policy.older_than)
    except OverflowError:
        return None


def _show(found: Sequence[dict[str, Any]], unlisted: Sequence[str], output: Output) -> None:
    output.table(
        ("collection", "workflow", "decision", "reason", "rule", "due at"),
        [
            (
                each["collection_id"],
                each["workflow_id"],
                "delete" if each["delete"] else "keep",
                each["reason"],
                each["rule"],
                each["due_at"],
            )
            for each in found
        ],
    )
    for each in unlisted:
        output.text(f"{each} is not in the listing")
