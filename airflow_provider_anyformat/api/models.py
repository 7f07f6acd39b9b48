"""The server's rows as dataclasses, every field checked on the way in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from operator import itemgetter
from sys import intern
from typing import Any, overload

from airflow_provider_anyformat.api.values import NULL_WORDS, canonical_id, is_id, shown
from airflow_provider_anyformat.exceptions import AnyformatListingError

_ID_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LONGEST_ID = 128
_BARE_UUID_LENGTH = 32
_LONGEST_NULL_WORD = max(map(len, NULL_WORDS))
_read_iso = datetime.fromisoformat
# As in 2026-01-31T12:30; a bare date would read as its midnight, up to a day before the moment it means.
_SHORTEST_TIMESTAMP = 16
_EDGE_YEARS = (MINYEAR, MAXYEAR)
_FIELDS = ("status", "name", "created_at", "updated_at")
_COLUMNS = ("id", "file_id", *_FIELDS)
_ID, _FILE_ID, _STATUS, _NAME = range(4)
_SENT = itemgetter(*_COLUMNS)


@dataclass(frozen=True, slots=True)
class FileCollection:
    """
    One row of ``GET /v2/workflows/{workflow_id}/files/``.

    :param id: id of the collection, the one that a delete takes.
    :param workflow_id: the workflow whose listing showed it.
    :param status: as sent; empty where the server sent none, or something other than text.
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
        :raises AnyformatListingError: ``row`` is not an object, or an id in it is not valid.
        """
        if type(row) is not dict:
            # Its content is not shown: names of documents are often personal data.
            raise AnyformatListingError(f"results: a row is of type {type(row).__name__}, not an object with an id")
        collection_id, file_id = row.get("id"), row.get("file_id")
        if not is_id(collection_id):
            raise AnyformatListingError(
                f"results: the server sent the id {shown(collection_id)}, which is not a valid id"
            )
        if file_id is not None and not is_id(file_id):
            raise AnyformatListingError(
                f"results: the server sent the file_id {shown(file_id)}, which is not a valid id"
            )
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

    :return: an aware ``datetime``, or ``None`` for any other text, and for a moment that UTC cannot express.
    """
    if type(text) is not str or len(text) < _SHORTEST_TIMESTAMP:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        if moment.year in _EDGE_YEARS:
            # UTC cannot express their first and last hours.
            moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment


class Rows(Sequence[FileCollection]):
    """
    The rows of a page; each becomes a :class:`FileCollection` when it is asked for.

    A listing may have a million rows, most of which are looked at once and kept. Making an object of each would take
    longer than all the rest, so that those who only look may also ask for a column. A column says of each row what its
    object says.

    :param results: the decoded JSON objects.
    :param workflow_id: the workflow that was asked for.
    :raises AnyformatListingError: a row is not an object, or an id in it is not valid.
    """

    __slots__ = ("_moments", "_results", "_sent", "workflow_id")

    def __init__(self, results: list[Any], workflow_id: str) -> None:
        self._results = results
        self.workflow_id = workflow_id
        self._sent = _sent(results)
        self._moments: dict[str, Sequence[datetime | None]] = {}
        if not _have_ids(self._sent):
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

    @property
    def sent(self) -> list[Any]:
        """What the server sent, row by row."""
        return self._results

    def have_only(self, statuses: frozenset[str]) -> bool:
        """Say whether every row's ``status`` is one of ``statuses``."""
        try:
            return statuses.issuperset([sent[_STATUS] for sent in self._sent])
        except TypeError:
            return False

    def statuses(self) -> list[str]:
        """Return every row's ``status``."""
        return [text if type(text := sent[_STATUS]) is str else "" for sent in self._sent]

    def names(self) -> list[str | None]:
        """Return every row's ``name``."""
        return [text if type(text := sent[_NAME]) is str else None for sent in self._sent]

    def moments(self, field: str) -> Sequence[datetime | None]:
        """Return every row's ``created_at`` or ``updated_at``."""
        moments = self._moments.get(field)
        if moments is None:
            place = _COLUMNS.index(field)
            moments = self._moments[field] = _moments([sent[place] for sent in self._sent])
        return moments

    def dated(self, positions: Iterable[int]) -> Iterator[tuple[str, str, str, datetime | None, datetime | None]]:
        """Yield id, workflow, status and both timestamps of the rows at some positions."""
        created, updated = map(self._moments.get, ("created_at", "updated_at"))
        for at in positions:
            id_, _, status, _, created_at, updated_at = self._sent[at]
            yield (
                id_,
                self.workflow_id,
                # One text for all of a status: a hundred thousand rows may be kept.
                intern(status) if type(status) is str else "",
                created[at] if created else parse_timestamp(created_at),
                updated[at] if updated else parse_timestamp(updated_at),
            )

    def hashes(self) -> tuple[list[int], list[int]]:
        """Return a hash of every row's id, and one of all that the server sent, by which two rows are compared."""
        try:
            prints = list(map(hash, self._sent))
        except TypeError:
            prints = list(map(_fingerprint, self._sent))
        ids = [sent[_ID] for sent in self._sent]
        text = "".join(ids)
        if text != text.lower() or _BARE_UUID_LENGTH in map(len, ids):
            ids = list(map(canonical_id, ids))
        return list(map(hash, ids)), prints


def _sent(results: list[Any]) -> list[tuple[Any, ...]]:
    """Return what the server sent of every row, in the order of the columns; ``None`` for what is missing."""
    try:
        return list(map(_SENT, results))
    except (KeyError, TypeError):
        # Servers may leave file_id out. A row that is not an object has no id either, and is found by that.
        rows = [row if type(row) is dict else {} for row in results]
        return list(zip(*([row.get(field) for row in rows] for field in _COLUMNS), strict=True))


def _moments(texts: list[Any]) -> Sequence[datetime | None]:
    try:
        moments = list(map(_read_iso, texts))
        # All are in UTC and none is a bare date, which is where parse_timestamp differs.
        if {moment.tzinfo for moment in moments} == {UTC} and min(map(len, texts)) >= _SHORTEST_TIMESTAMP:
            return moments
    except (TypeError, ValueError):
        pass
    return [parse_timestamp(text) for text in texts]


def _fingerprint(sent: tuple[Any, ...]) -> int:
    try:
        return hash(sent)
    except TypeError:
        return hash(repr(sent))


def _have_ids(page: list[tuple[Any, ...]]) -> bool:
    """Say whether all ids of a page are longer than any null word, as a server's are; a file id may be ``None``."""
    ids = [sent[_ID] for sent in page] + [file_id for sent in page if (file_id := sent[_FILE_ID]) is not None]
    try:
        text = "".join(ids).encode()
    except (TypeError, UnicodeEncodeError):
        return False
    lengths = set(map(len, ids)) or {_LONGEST_ID}
    # What is left when every character of the pattern is taken out; a fifth of the time of matching each id.
    return _LONGEST_NULL_WORD < min(lengths) <= max(lengths) <= _LONGEST_ID and not text.translate(None, _ID_BYTES)


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page of a listing, as the server answered it.

    :param collections: the rows, in the server's order.
    :param count: how many rows there are in all, as the server says; ``None`` where it does not.
    :param page: number of this page, from 1.
    :param page_size: rows per page, as the server applied it (it caps what was asked for).
    :param server_date: the answer's ``Date`` header; ``None`` where it was missing or unreadable.
    """

    collections: Sequence[FileCollection]
    count: int | None
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
            raise AnyformatListingError(f"{where}: results: it is of type {type(results).__name__}, not a list")
        if type(count) is not int or count < 0:
            raise AnyformatListingError(f"{where}: count: {shown(count)} is not a number of rows")
        if type(page_size) is not int or not 1 <= page_size <= 1000:
            raise AnyformatListingError(f"{where}: page_size: {shown(page_size)} is not a number from 1 to 1000")
        if body.get("page") != number:
            raise AnyformatListingError(f"{where}: page: {shown(body.get('page'))} came instead")
        return cls(Rows(results, workflow_id), count, number, page_size, server_date)

    @classmethod
    def from_items(
        cls, body: dict[str, Any], workflow_id: str, number: int, page_size: int, server_date: datetime | None = None
    ) -> Page:
        """
        Read a page of a listing that names no totals; its rows need a status, too.

        :raises AnyformatListingError: it is not what the API documents.
        """
        items = body.get("items")
        where = f"page {number} of workflow {workflow_id} cannot be used"
        if not isinstance(items, list):
            raise AnyformatListingError(f"{where}: items: it is of type {type(items).__name__}, not a list")
        rows = Rows(items, workflow_id)
        if not all(rows.statuses()):
            raise AnyformatListingError(f"{where}: items: a row has no status")
        return cls(rows, None, number, page_size, server_date)
