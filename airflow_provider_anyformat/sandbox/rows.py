"""Workflows, their collections (document packets in version 3) and runs, as a sandbox stores them."""

from __future__ import annotations

import base64
import uuid
import zlib
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class NotGiven(Enum):
    """Stands for an argument that was not given, where ``None`` has a meaning of its own."""

    NOT_GIVEN = "not given"

    def __str__(self) -> str:
        return self.value


NOT_GIVEN = NotGiven.NOT_GIVEN
# A moment as the user may give it. Text is shown as it is: a test may want a timestamp that is not valid.
Moment = datetime | str | None


class StoredFile(NamedTuple):
    """One file of a collection; ``original_name`` is set where an upload was renamed."""

    id: str
    name: str | None
    original_name: str | None = None


class Run:
    """
    One run of a collection.

    :param began: on the monotonic clock; ``None`` where the collection's own status holds.
    :param created: microseconds since 1970.
    :param ends_as: the status it ends in.
    :param detail: the server's words where it does not end well.
    """

    __slots__ = ("began", "created", "detail", "ends_as", "id", "row")

    def __init__(
        self, row: Row, created: int | str | None, *, began: float | None = None, ends_as: str = "", detail: str = ""
    ) -> None:
        self.id = str(uuid.uuid4())
        self.row = row
        self.created = created
        self.began = began
        self.ends_as = ends_as
        self.detail = detail


class Row:
    """One collection. A million of these are held, so moments are microseconds since 1970 wherever they can be."""

    __slots__ = ("created", "file_id", "files", "gone", "id", "name", "run", "seq", "status", "updated", "workflow")

    def __init__(
        self,
        workflow: Workflow,
        id: str,  # noqa: A002 - the field's name in the API
        name: str | None,
        status: str,
        created: int | str | None,
        updated: int | str | None,
        file_id: str | None = None,
        files: tuple[StoredFile, ...] | None = None,
    ) -> None:
        self.workflow = workflow
        self.id = id
        self.name = name
        self.status = status
        self.created = created
        self.updated = updated
        self.file_id = file_id
        self.files = files
        self.run: Run | None = None
        self.seq = 0
        self.gone = False

    @property
    def all_files(self) -> tuple[StoredFile, ...]:
        """The files of this collection; one that was put there by a test has one file."""
        return self.files or (StoredFile(self.first_file_id, self.name),)

    @property
    def first_file_id(self) -> str:
        """The first file's id; by default always the same one, and never that of a collection."""
        return self.file_id or (self.files[0].id if self.files else str(uuid.uuid5(uuid.NAMESPACE_OID, self.id)))


class Workflow:
    """A workflow and its rows, which may hold some that are gone until the next listing."""

    __slots__ = ("count", "created", "fields", "gaps", "id", "name", "rows", "seq", "sorted_by")

    def __init__(self, id: str, name: str, created: int, fields: tuple[str, ...]) -> None:  # noqa: A002 - as above
        self.id = id
        self.name = name
        self.created = created
        self.fields = fields
        self.rows: list[Row] = []
        self.count = 0
        self.seq = 0
        self.gaps = False
        self.sorted_by: str | None = None

    def insert(self, rows: list[Row]) -> None:
        """Add rows."""
        for row in rows:
            self.seq += 1
            row.seq = self.seq
        self.rows.extend(rows)
        self.count += len(rows)
        self.sorted_by = None

    def ordered(self, order: str) -> list[Row]:
        """Return the live rows in ``order``; work is done only where something changed since the last call."""
        if self.gaps:
            self.rows = [row for row in self.rows if not row.gone]
            self.gaps = False
        if self.sorted_by != order:
            if order == "shuffled":
                self.rows.sort(key=lambda row: zlib.crc32(row.id.encode()))
            else:
                # Both are quick where the rows are nearly in order, and stable: rows of one age stay as they came.
                self.rows.sort(key=lambda row: row.seq)
                self.rows.sort(key=lambda row: _age_key(row.created), reverse=order == "newest")
            self.sorted_by = order
        return self.rows

    def after(self, place: tuple[int, int] | None, limit: int) -> tuple[int, list[Row], str | None]:
        """Return a page of version 3: the number of its first row, the rows, newest first, and the next cursor."""
        rows = self.ordered("newest")
        start = 0 if place is None else bisect_right(rows, place, key=_place)
        page = rows[start : start + limit]
        more = start + limit < len(rows)
        return start, page, write_cursor(*_place(page[-1])) if more else None


def _place(row: Row) -> tuple[int, int]:
    return -_age_key(row.created), row.seq


def write_cursor(place: int, seq: int = 0) -> str:
    """Return a cursor, opaque as the API's are."""
    return base64.urlsafe_b64encode(f"{place}.{seq}".encode()).decode()


def read_cursor(cursor: str) -> tuple[int, int]:
    """
    Return what a cursor was made from.

    :raises ValueError: it is not one of those that were given.
    """
    try:
        place, _, seq = base64.urlsafe_b64decode(cursor).decode().partition(".")
        return int(place), int(seq)
    except ValueError:
        raise ValueError("The cursor is not valid.") from None


def _age_key(created: int | str | None) -> int:
    if isinstance(created, int):
        return created
    try:
        return to_micros(datetime.fromisoformat(created or ""))
    except ValueError:
        return 0


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970; a moment without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND


def stored(moment: Moment) -> int | str | None:
    """Return a moment as a row keeps it."""
    return to_micros(moment) if isinstance(moment, datetime) else moment


def iso(moment: int | str | None) -> str | None:
    """Return a moment as the API writes it."""
    if isinstance(moment, int):
        return (EPOCH + moment * MICROSECOND).isoformat().replace("+00:00", "Z")
    return moment
