"""The server's rows as dataclasses, every field checked on the way in, and the rule for ids."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from itertools import islice
from operator import itemgetter
from sys import intern
from typing import Any, TypeGuard, overload

from airflow_provider_anyformat.exceptions import AnyformatListingError, AnyformatValueError

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
# What a missing XCom or an empty database field looks like once a template has made it text.
NULL_WORDS = frozenset({"none", "null", "nan", "undefined"})

# A listing may grow while it is read; past twice its first size and this many pages it is taken for endless.
_SPARE_PAGES = 100

_matches_id = ID_PATTERN.fullmatch
_ID_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LONGEST_ID = 128
_LONGEST_NULL_WORD = max(map(len, NULL_WORDS))
_read_iso = datetime.fromisoformat
# As in 2026-01-31T12:30; a bare date would read as its midnight, up to a day before the moment it means.
_SHORTEST_TIMESTAMP = 16
_EDGE_YEARS = (MINYEAR, MAXYEAR)
_FIELDS = ("status", "name", "created_at", "updated_at")
_SENT = itemgetter(*_FIELDS)


def is_id(value: object) -> TypeGuard[str]:
    """Say whether ``value`` may stand in a URL as the id of a collection, a file or a workflow."""
    return type(value) is str and _matches_id(value) is not None and value.lower() not in NULL_WORDS


def check_id(value: object, field: str = "collection_id") -> str:
    """
    Return ``value`` if it is an id, else say what is wrong with it.

    An id is a ``str`` of 1 to 128 characters out of ``A-Z a-z 0-9 _ -`` and none of the words that a missing value
    turns into. Nothing is ever converted: a number or ``bytes`` that looks like an id is a mistake upstream.

    :param value: what the user gave, after templating.
    :param field: the parameter's name, for the message; default ``collection_id``.
    :raises AnyformatValueError: it is no id; the message names the field, the value and a way out.
    """
    if is_id(value):
        return value
    if value is None or (isinstance(value, str) and value.strip().lower() in NULL_WORDS):
        hint = (
            "an upstream task pushed no value, or its XCom was not found: take `.output` of the task that yields the"
            " id, and name a task inside a task group with its prefix, as in `group.task`"
        )
    elif isinstance(value, str) and not value.strip():
        hint = "it is empty: take `.output` of the task that yields the id, or check the template's key"
    elif isinstance(value, bool | int | float | bytes | bytearray):
        hint = (
            f"it is of type {type(value).__name__} and is not turned into text, which might name another collection:"
            " pass the id as text (native rendering makes a number of an id such as 1e5)"
        )
    elif isinstance(value, str):
        hint = "an id is 1 to 128 characters out of A-Z a-z 0-9 _ -, such as b2c3d4e5-f6a7-8901-bcde-f12345678901"
    else:
        hint = f"it is of type {type(value).__name__}; one id as text is needed, such as `.output` of the upload task"
    raise AnyformatValueError(f"{field}: {shown(value)} is not an id: {hint}")


def shown(value: object, limit: int = 200) -> str:
    """Return ``value`` as a message may show it: control characters escaped, and cut after ``limit`` characters."""
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class FileCollection:
    """
    One row of ``GET /v2/workflows/{workflow_id}/files/``.

    :param id: id of the collection, the one that a delete takes.
    :param workflow_id: the workflow whose listing showed it.
    :param status: as sent; empty where the server sent none, or something that is no text.
    :param name: the document's name; ``None`` where the server sent none.
    :param created_at: aware, in the zone it came in; ``None`` where it is missing or unreadable.
    :param updated_at: likewise.
    :param file_id: id of the file inside, where the server sent one; never valid for a delete.
    :param unreadable: names of the timestamp fields that were there and could not be read.
    """

    id: str
    workflow_id: str
    status: str
    name: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    file_id: str | None = None
    unreadable: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, row: Any, workflow_id: str = "") -> FileCollection:
        """
        Read one row of the server's listing.

        :param row: the decoded JSON object.
        :param workflow_id: the workflow that was asked for; default empty.
        :raises AnyformatListingError: ``row`` is no object, or an id in it is none.
        """
        if type(row) is not dict:
            raise AnyformatListingError(f"results: {shown(row)} is no object with an id")
        collection_id, file_id = row.get("id"), row.get("file_id")
        if not is_id(collection_id):
            raise AnyformatListingError(f"results: the server sent the id {shown(collection_id)}, which is none")
        if file_id is not None and not is_id(file_id):
            raise AnyformatListingError(f"results: the server sent the file_id {shown(file_id)}, which is none")
        status, name, created, updated = map(row.get, _FIELDS)
        created_at, updated_at = parse_timestamp(created), parse_timestamp(updated)
        unreadable: tuple[str, ...] = ()
        if created is not None and created_at is None:
            unreadable = ("created_at",)
        if updated is not None and updated_at is None:
            unreadable = (*unreadable, "updated_at")
        return cls(
            collection_id,
            workflow_id,
            status if type(status) is str else "",
            name if type(name) is str else None,
            created_at,
            updated_at,
            file_id,
            unreadable,
        )


def parse_timestamp(text: object) -> datetime | None:
    """
    Read an ISO 8601 timestamp with date and time; one without a zone is UTC, as anyformat's API page says.

    :return: an aware ``datetime``, or ``None`` for anything that is no such text or cannot be said in UTC.
    """
    if type(text) is not str or len(text) < _SHORTEST_TIMESTAMP:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        if moment.year in _EDGE_YEARS:
            # Their first and last hours cannot be said in UTC.
            moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment


class Rows(Sequence[FileCollection]):
    """
    The rows of a page, of which each becomes a :class:`FileCollection` when it is asked for.

    A listing may have a million rows, of which most are looked at once, to be kept. Making an object of each would take
    longer than all the rest, so that those who only look may also ask for a column. A column says of each row what its
    object says.

    :param results: the decoded JSON objects.
    :param workflow_id: the workflow that was asked for.
    :raises AnyformatListingError: a row is no object, or an id in it is none.
    """

    __slots__ = ("_results", "workflow_id")

    def __init__(self, results: list[Any], workflow_id: str) -> None:
        self._results = results
        self.workflow_id = workflow_id
        if not _have_ids(results):
            # Reading each raises what is wrong with one; ids may be short, too.
            list(self)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> FileCollection: ...
    @overload
    def __getitem__(self, index: slice) -> list[FileCollection]: ...
    def __getitem__(self, index: int | slice) -> FileCollection | list[FileCollection]:
        if isinstance(index, slice):
            return [FileCollection.from_json(row, self.workflow_id) for row in self._results[index]]
        return FileCollection.from_json(self._results[index], self.workflow_id)

    def statuses(self) -> list[str]:
        """Return every row's ``status``."""
        return [text if type(text := row.get("status")) is str else "" for row in self._results]

    def names(self) -> list[str | None]:
        """Return every row's ``name``."""
        return [text if type(text := row.get("name")) is str else None for row in self._results]

    def moments(self, field: str) -> Sequence[datetime | None]:
        """Return every row's ``created_at`` or ``updated_at``."""
        texts = [row.get(field) for row in self._results]
        try:
            moments = list(map(_read_iso, texts))
            # All are in UTC and none is a bare date, which is where parse_timestamp differs.
            if {moment.tzinfo for moment in moments} == {UTC} and min(map(len, texts)) >= _SHORTEST_TIMESTAMP:
                return moments
        except (TypeError, ValueError):
            pass
        return [parse_timestamp(text) for text in texts]

    def dated(self, positions: Iterable[int]) -> Iterator[tuple[str, str, str, datetime | None, datetime | None]]:
        """Yield id, workflow, status and both timestamps of the rows at some positions."""
        for position in positions:
            row = self._results[position]
            status, _, created, updated = map(row.get, _FIELDS)
            # One text for all of a status: a hundred thousand rows may be kept.
            status = intern(status) if type(status) is str else ""
            yield row["id"], self.workflow_id, status, parse_timestamp(created), parse_timestamp(updated)

    def hashes(self) -> tuple[list[int], list[int]]:
        """Return a hash of every row's id, and one of what else the server sent, by which two rows are compared."""
        rows = self._results
        try:
            prints = list(map(hash, map(_SENT, rows)))
        except (KeyError, TypeError):
            prints = [_fingerprint(row) for row in rows]
        if [row for row in rows if "file_id" in row]:
            prints = [
                known if (file_id := row.get("file_id")) is None else hash((known, file_id))
                for row, known in zip(rows, prints, strict=True)
            ]
        return [hash(row["id"]) for row in rows], prints


def _fingerprint(row: dict[str, Any]) -> int:
    try:
        return hash(_SENT(row))
    except (KeyError, TypeError):
        return hash(repr([row.get(field) for field in _FIELDS]))


def _have_ids(results: list[Any]) -> bool:
    """Say whether all rows of a page are objects whose ids are longer than any null word, as a server's are."""
    try:
        file_ids = [row["file_id"] for row in results if "file_id" in row and row["file_id"] is not None]
        ids = [row["id"] for row in results] + file_ids
        text = "".join(ids).encode()
    except (KeyError, TypeError, UnicodeEncodeError):
        return False
    lengths = set(map(len, ids)) or {_LONGEST_ID}
    # What is left when every character of the pattern is taken out; a fifth of the time of matching each id.
    return _LONGEST_NULL_WORD < min(lengths) <= max(lengths) <= _LONGEST_ID and not text.translate(None, _ID_BYTES)


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page of a listing, as the server answered it.

    :param collections: the rows, in the server's order.
    :param count: how many rows the server says there are in all.
    :param page: number of this page, from 1.
    :param page_size: rows a page, as the server applied it (it caps what was asked for).
    :param server_date: the answer's ``Date`` header; ``None`` where it was missing or unreadable.
    """

    collections: Sequence[FileCollection]
    count: int
    page: int
    page_size: int
    server_date: datetime | None = None

    @classmethod
    def from_json(
        cls, body: dict[str, Any], workflow_id: str, number: int, server_date: datetime | None = None
    ) -> Page:
        """
        Read the answer to a request for page ``number``.

        :raises AnyformatListingError: it is not what the API documents.
        """
        results, count, page_size = body.get("results"), body.get("count"), body.get("page_size")
        where = f"page {number} of workflow {workflow_id} cannot be used"
        if not isinstance(results, list):
            raise AnyformatListingError(f"{where}: results: {shown(results)} is no list")
        if type(count) is not int or count < 0:
            raise AnyformatListingError(f"{where}: count: {shown(count)} is no number of rows")
        if type(page_size) is not int or not 1 <= page_size <= 1000:
            raise AnyformatListingError(f"{where}: page_size: {shown(page_size)} is not a number from 1 to 1000")
        if body.get("page") != number:
            raise AnyformatListingError(f"{where}: page: {shown(body.get('page'))} came instead")
        return cls(Rows(results, workflow_id), count, number, page_size, server_date)


class ListingPass:
    """
    One reading of a workflow's pages from the first to the last, and whether it can be believed.

    The server has no snapshots: rows come, go and move while its pages are read. Complete is a reading that showed at
    least as many different ids as the smallest ``count`` any of its pages named; more is growth. Feed each page to
    :meth:`add` and call :meth:`finish` after the last.

    Ids and rows are kept as hashes, 150 bytes a row and not 1,000. Two ids with one hash (odds of one in 10 million at
    a million rows) would look like a contradiction and be kept.
    """

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self._seen: dict[int, int] = {}
        self._shown = array("q")
        self._sorted = False
        self._contradicted: set[int] = set()
        self._contradicted_positions: list[int] = []
        self._smallest: int | None = None
        self._pages = 0
        self._first_pages = 0

    def __len__(self) -> int:
        """Return how many different ids were seen."""
        return len(self._seen) or len(self._shown)

    def add(self, page: Page) -> Sequence[FileCollection]:
        """
        Take the next page.

        :return: its rows whose ids were not seen before, each once.
        :raises AnyformatListingError: the page shows that this reading cannot become complete or never ends.
        """
        self._pages += 1
        if self._smallest is None or page.count < self._smallest:
            self._smallest = page.count
        if self._pages == 1:
            self._first_pages = -(-page.count // page.page_size)
        elif self._pages > 2 * self._first_pages + _SPARE_PAGES:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} does not end: its first page promised {self._first_pages}"
                f" pages, and page {page.page} still was not the last"
            )
        seen = self._seen
        known_before, rows = len(seen), page.collections
        if isinstance(rows, Rows):
            keys, prints = rows.hashes()
        else:
            keys, prints = [hash(row.id) for row in rows], [hash(row) for row in rows]
        known = list(map(seen.setdefault, keys, prints))
        if len(seen) < known_before + len(keys):
            rows = self._first_seen(rows, keys, set(islice(reversed(seen), len(seen) - known_before)))
            self._contradicted.update(key for key, old, new in zip(keys, known, prints, strict=True) if old != new)
        if len(seen) == known_before and known_before < self._smallest:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} shows nothing new on page {page.page}, although only"
                f" {known_before} of {self._smallest} collections were seen"
            )
        return rows

    @staticmethod
    def _first_seen(rows: Iterable[FileCollection], keys: Iterable[int], fresh: set[int]) -> list[FileCollection]:
        """Return the first row of each of the ``fresh`` keys."""
        first = []
        for row, key in zip(rows, keys, strict=True):
            if key in fresh:
                fresh.remove(key)
                first.append(row)
        return first

    def finish(self) -> None:
        """
        Call once, after the last page; only then ask what was shown and what is contradicted.

        :raises AnyformatListingError: fewer different ids were seen than the smallest ``count`` of any page.
        """
        if self._smallest is None or len(self) < self._smallest:
            raise AnyformatListingError(
                f"the listing of workflow {self.workflow_id} is not complete: {len(self)} different collections were"
                f" seen, and the server counted {self._smallest}"
            )
        if self._contradicted:
            positions = enumerate(self._seen)
            self._contradicted_positions = [position for position, key in positions if key in self._contradicted]
        self._shown = array("q", self._seen)
        self._seen = {}

    def contradicted_positions(self) -> list[int]:
        """Return which of the rows that :meth:`add` gave out, counted from 0, are contradicted."""
        return self._contradicted_positions

    def positions(self, collection_ids: Iterable[str]) -> dict[str, int]:
        """Return where, counted from 0, :meth:`add` gave out each of these ids; call it before :meth:`shows`."""
        wanted = {hash(each): each for each in collection_ids}
        return {wanted[key]: position for position, key in enumerate(self._shown) if key in wanted}

    def shows(self, collection_id: str) -> bool:
        """Say whether this reading showed a collection of this id."""
        if not self._sorted:
            self._shown, self._sorted = array("q", sorted(self._shown)), True
        key = hash(collection_id)
        place = bisect_left(self._shown, key)
        return place < len(self._shown) and self._shown[place] == key
