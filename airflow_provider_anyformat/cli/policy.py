"""The flags that make a policy, the same for ``explain`` and ``simulate``; and a listing judged by it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.cli.opening import open_file
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.cli.rows import pages
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.parameters import read_parameters
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection, conclude

_LISTS = {
    "statuses": "statuses to delete; default processed",
    "exclude_collection_ids": "ids on hold",
    "include_names": "globs; only documents whose names match one are deleted",
    "exclude_names": "globs; documents whose names match one are kept",
}


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """Add LISTING and the flags of a policy."""
    parser.add_argument("listing", metavar="LISTING", help="a file that anyformat-retention list wrote")
    parser.add_argument(
        "--older-than", required=True, metavar="P90D", help="ISO 8601 duration of weeks, days and hours"
    )
    parser.add_argument("--age-by", metavar="FIELD", help="created_at (default) or updated_at")
    for name, words in _LISTS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, action="append", metavar="VALUE", help=f"{words}; may be repeated")
    parser.add_argument("--keep-last", metavar="N", help="the newest N of each workflow stay")
    parser.add_argument("--holds", metavar="FILE", help="a holds.yaml")
    parser.add_argument("--at", metavar="TIME", help="decide as of this ISO 8601 time with its zone; default now")


def read_policy(arguments: argparse.Namespace) -> tuple[RetentionPolicy, datetime]:
    """
    Return the policy that the flags make, and the moment of the decision.

    :raises AnyformatValueError: a flag cannot be used.
    """
    at = _read_at(arguments.at)
    names = ("older_than", "age_by", *_LISTS, "keep_last")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    values = read_parameters(given)
    if arguments.holds is not None:
        from airflow_provider_anyformat.rules.reading import load_holds

        values["holds"] = load_holds(Path(arguments.holds))
    return RetentionPolicy(reference_time=at, **values), at


def _read_at(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise AnyformatValueError(
            f"--at: {shown(text)} is not an ISO 8601 time; write it as in 2026-12-31T00:00:00Z"
        ) from None
    if at.utcoffset() is None:
        raise AnyformatValueError(f"--at: {shown(text)} has no time zone; add Z or an offset")
    return at.astimezone(UTC)


def judge(
    listing: str,
    policy: RetentionPolicy,
    at: datetime,
    output: Output,
    seen: Callable[[str, Sequence[FileCollection]], None] | None = None,
) -> list[Selection]:
    """
    Judge a listing by a policy; the rows of each workflow as a purge judges them.

    :param listing: the file.
    :param policy: what is due.
    :param at: the moment of the decision.
    :param output: shows how far it is.
    :param seen: told about the rows of each id when it is seen first; default: it is not told.
    :return: a concluded selection for each workflow.
    :raises AnyformatValueError: the file cannot be read.
    """
    selections: dict[str, Selection] = {}
    with open_file(listing, "LISTING") as file, output.progress("reading the listing") as progress:
        for workflow_id, page in pages(file, listing, progress):
            if workflow_id not in selections:
                selections[workflow_id] = Selection(policy, at, workflow_id, collect=False)
            rows = selections[workflow_id].take(page)
            if seen is not None:
                seen(workflow_id, rows)
    for selection in selections.values():
        selection.reading.finish()
    conclude(list(selections.values()))
    return list(selections.values())
