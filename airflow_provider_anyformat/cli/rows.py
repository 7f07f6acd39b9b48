"""A listing in a file: one JSON object a line, as ``anyformat-retention list`` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_anyformat.api.models import Page, Rows
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatListingError, AnyformatValueError

if TYPE_CHECKING:
    from collections.abc import Callable

# Rows are judged in portions of this many bytes, so that a million of them need little room.
_PORTION = 1 << 19


def pages(file: BinaryIO, name: str, progress: Callable[[int, int], None]) -> Iterator[tuple[str, Page]]:
    """
    Yield the workflow and the rows of each portion of a listing.

    :param file: the listing.
    :param name: its name, for messages.
    :param progress: told how many of how many bytes were read.
    :raises AnyformatValueError: a line is not a row; the message names line and column.
    """
    size = file.seek(0, 2)
    file.seek(0)
    number, read = 1, 0
    while lines := file.readlines(_PORTION):
        for workflow_id, rows in _by_workflow(lines, number, name):
            # A file is complete by itself: it has no count of its own to be held against.
            yield workflow_id, Page(rows, None, 1, 1)
        number += len(lines)
        read += sum(map(len, lines))
        progress(read, size)


def _by_workflow(lines: list[bytes], number: int, name: str) -> Iterator[tuple[str, Rows]]:
    rows = _parsed(lines, number, name)
    by_workflow: dict[str, list[Any]] = {}
    for row in rows:
        by_workflow.setdefault(row.get("workflow_id") or "", []).append(row)
    for workflow_id, some in by_workflow.items():
        try:
            yield workflow_id, Rows(some, workflow_id)
        except AnyformatListingError as error:
            raise AnyformatValueError(f"LISTING: {shown(name)}: {error}") from None


def _parsed(lines: list[bytes], number: int, name: str) -> list[dict[str, Any]]:
    try:
        # One call for all: a call for each line takes half as long again.
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        rows = []
    if len(rows) == len(lines) and set(map(type, rows)) <= {dict}:
        return list(rows)
    # A blank line is not a row and not a mistake; any other line that is not a row is looked for one by one.
    return [_row(line.rstrip(b"\r\n"), at, name) for at, line in enumerate(lines, number) if line.strip()]


def _row(line: bytes, number: int, name: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise AnyformatValueError(
            f"LISTING: {shown(name)}, line {number}, column {error.colno}: not JSON: {error.msg}. Write one object a"
            " line, as anyformat-retention list does"
        ) from None
    except (ValueError, RecursionError):
        raise AnyformatValueError(f"LISTING: {shown(name)}, line {number}, column 1: not JSON in UTF-8") from None
    if not isinstance(row, dict):
        raise AnyformatValueError(
            f"LISTING: {shown(name)}, line {number}, column 1: it is not an object. Write one object a line, as"
            " anyformat-retention list does"
        )
    return row
