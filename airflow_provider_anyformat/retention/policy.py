"""Which collections are due: one pure rule, for lists, plans and purges alike."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_anyformat.api.models import FileCollection, Rows, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

FINISHED_STATUSES = frozenset({"processed", "error", "cancelled"})
KNOWN_STATUSES = FINISHED_STATUSES | {"pending", "queued", "in_progress"}
# Clocks are this far apart without anybody having to look at them.
CLOCK_SKEW = timedelta(minutes=5)
# What a program that has no timestamp writes instead: the zero of its clock. Nobody's documents are that old.
_ZERO_OF_CLOCKS = datetime(1970, 1, 1, tzinfo=UTC)

AgeBy = Literal["created_at", "updated_at"]


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What becomes of one row.

    :param delete: whether it is due.
    :param reason: ``due``, or why it is kept; see :func:`decide`.
    """

    delete: bool
    reason: str


DUE = Decision(True, "due")
HELD = Decision(False, "held")
CONTRADICTORY = Decision(False, "contradictory")
STATUS_UNKNOWN = Decision(False, "status_unknown")
STATUS = Decision(False, "status")
NAME = Decision(False, "name")
TIMESTAMP_MISSING = Decision(False, "timestamp_missing")
TIMESTAMP_UNREADABLE = Decision(False, "timestamp_unreadable")
TIMESTAMP_FUTURE = Decision(False, "timestamp_future")
TOO_YOUNG = Decision(False, "too_young")
KEEP_LAST = Decision(False, "keep_last")

# A row is remembered as one byte, its place in this table. A held row that is dated and passes status and names still
# is one of the newest that ``keep_last`` counts, and has codes of its own.
_TABLE = (
    DUE,
    HELD,
    CONTRADICTORY,
    STATUS_UNKNOWN,
    STATUS,
    NAME,
    TIMESTAMP_MISSING,
    TIMESTAMP_UNREADABLE,
    TIMESTAMP_FUTURE,
    TOO_YOUNG,
    KEEP_LAST,
    HELD,
    HELD,
)
(
    _DUE,
    _HELD,
    _CONTRADICTORY,
    _STATUS_UNKNOWN,
    _STATUS,
    _NAME,
    _MISSING,
    _UNREADABLE,
    _FUTURE,
    _YOUNG,
    _KEEP_LAST,
    _HELD_YOUNG,
    _HELD_OLD,
) = range(len(_TABLE))
_HELD_FORMS = frozenset({_HELD, _HELD_YOUNG, _HELD_OLD})
_STATUS_FORMS = frozenset({_STATUS, _STATUS_UNKNOWN})
_HELD_AS = {_YOUNG: _HELD_YOUNG, _DUE: _HELD_OLD}

# Reasons that somebody should look into: where they keep rows, a retention may silently have stopped.
ANOMALIES = frozenset(
    {"contradictory", "status_unknown", "timestamp_missing", "timestamp_unreadable", "timestamp_future"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """
    What is due, as values that were read and checked.

    :param older_than: due is what is strictly older than this at ``reference_time``; positive.
    :param reference_time: what age counts from, aware; a later one than the time of the decision counts as that time.
    :param age_by: the timestamp that age is taken from, ``created_at`` (default) or ``updated_at``.
    :param statuses: the statuses to delete; default ``("processed",)``. Others than finished ones are never due.
    :param exclude_collection_ids: legal holds: ids of collections or of files, compared without case; default none.
    :param include_names: globs on the whole name, with case; default none, which includes every row.
    :param exclude_names: globs on the whole name, without case; default none.
    :param keep_last: the newest so many of each workflow stay; default 0.
    :raises AnyformatValueError: a value would select more than it says.
    """

    older_than: timedelta
    reference_time: datetime
    age_by: AgeBy = "created_at"
    statuses: tuple[str, ...] = ("processed",)
    exclude_collection_ids: tuple[str, ...] = ()
    include_names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    keep_last: int = 0

    def __post_init__(self) -> None:
        if self.older_than <= timedelta(0):
            raise AnyformatValueError(f"older_than: {self.older_than} is not a positive duration")
        if self.reference_time.utcoffset() is None:
            raise AnyformatValueError(f"reference_time: {self.reference_time} has no time zone; give it one")
        if self.age_by not in ("created_at", "updated_at"):
            raise AnyformatValueError(f'age_by: {shown(self.age_by)} is neither "created_at" nor "updated_at"')
        if self.keep_last < 0:
            raise AnyformatValueError(f"keep_last: {self.keep_last} is negative; 0 keeps none for being new")
        for name in ("statuses", "exclude_collection_ids", "include_names", "exclude_names"):
            # The characters of a text would be taken for entries, and "*" for a glob.
            if isinstance(getattr(self, name), str):
                raise AnyformatValueError(f"{name}: {shown(getattr(self, name))} is no sequence of texts")

    def cutoff(self, now: datetime) -> datetime:
        """
        Return the moment, in UTC, before which a row must be dated to be due.

        :param now: the time of the decision, aware.
        :raises AnyformatValueError: ``older_than`` reaches beyond the calendar.
        """
        try:
            return _plain_utc(min(self.reference_time, now)) - self.older_than
        except OverflowError:
            raise AnyformatValueError(f"older_than: {self.older_than} reaches back before the year 1") from None


def _plain_utc(moment: datetime) -> datetime:
    """Return ``moment`` as the standard library's type: Airflow's pendulum loses a zone that is not its own in sums."""
    utc = moment.astimezone(UTC)
    return datetime.combine(utc.date(), utc.time(), UTC)


class PlannedRow(NamedTuple):
    """One collection that may be deleted, as a plan needs it. ``reason`` is ``given`` where only ids were given."""

    collection_id: str
    workflow_id: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    reason: str = DUE.reason


class Selection:
    """
    Judge the rows of one workflow as they come, and keep no more of them than what is due.

    Feed it each id once, in any portions, then call :meth:`finish`; only then is the outcome final. A kept row costs
    one byte, so that a million fit a small worker.

    :param policy: what is due.
    :param now: the time of the decision, aware: the same for all workflows of a run.
    :param workflow_id: the workflow that the rows are of; default empty.
    """

    def __init__(self, policy: RetentionPolicy, now: datetime, workflow_id: str = "") -> None:
        self.workflow_id = workflow_id
        self.policy = policy
        self.cutoff = policy.cutoff(now)
        self.due: list[PlannedRow] = []
        self.unmatched_holds = {entry.lower() for entry in policy.exclude_collection_ids}
        self._codes = bytearray()
        # Where in the sequence of rows the due ones stood, and every held one that keep_last has to rank.
        self._due_at = array("Q")
        self._held_old: dict[int, datetime] = {}
        self._latest = now.astimezone(UTC) + CLOCK_SKEW
        self._statuses = FINISHED_STATUSES.intersection(policy.statuses)
        self._may_go = _name_rule(policy)
        self._holds = frozenset(self.unmatched_holds)
        self._moment: Callable[[FileCollection | PlannedRow], datetime] = attrgetter(policy.age_by)

    @property
    def listed(self) -> int:
        """How many rows there were."""
        return len(self._codes)

    @property
    def kept(self) -> Counter[str]:
        """How many rows are kept for each reason; reasons without rows are left out."""
        counts: Counter[str] = Counter()
        for code, decision in enumerate(_TABLE):
            if code != _DUE and (number := self._codes.count(code)):
                counts[decision.reason] += number
        return counts

    def add(self, rows: Sequence[FileCollection]) -> None:
        """Judge ``rows``, none of which has the id of an earlier one."""
        start = len(self._codes)
        codes = self._judge(rows)
        if self._holds:
            for position, row in enumerate(rows):
                if self.holds(row):
                    codes[position] = code = _HELD_AS.get(codes[position], _HELD)
                    if code == _HELD_OLD:
                        self._held_old[start + position] = self._moment(row)
        self._codes += codes
        due = list(_positions(codes, _DUE))
        if not isinstance(rows, Rows):
            chosen = (rows[each] for each in due)
            self.due += [PlannedRow(r.id, r.workflow_id, r.status, r.created_at, r.updated_at) for r in chosen]
        else:
            self.due += starmap(PlannedRow, rows.dated(due))
        self._due_at.extend([start + each for each in due])

    def finish(self, contradicted: Sequence[int] = ()) -> None:
        """
        Take into account what only the whole listing shows: contradictions, then ``keep_last``.

        :param contradicted: positions, from 0 in the order of :meth:`add`, of the ids that came with different rows.
        """
        for position in contradicted:
            # A hold is a hold; but nobody knows whether such a row is one of the newest.
            self._codes[position] = _HELD if self._codes[position] in _HELD_FORMS else _CONTRADICTORY
            self._held_old.pop(position, None)
        newest = self._oldest_of_the_newest()
        if newest is not None:
            for position, candidate in zip(self._due_at, self.due, strict=True):
                if self._codes[position] == _DUE and self._moment(candidate) >= newest:
                    self._codes[position] = _KEEP_LAST
        if self._codes.count(_DUE) < len(self.due):
            pairs = zip(self._due_at, self.due, strict=True)
            self.due = [candidate for position, candidate in pairs if self._codes[position] == _DUE]

    def decisions(self) -> list[Decision]:
        """Return what became of each row, in the order of :meth:`add`."""
        return [_TABLE[code] for code in self._codes]

    def reason_at(self, position: int) -> str:
        """Return the reason of one row, counted from 0 in the order of :meth:`add`."""
        return _TABLE[self._codes[position]].reason

    def holds(self, row: FileCollection) -> bool:
        """Say whether a legal hold names this row, and remember which one did."""
        names = {row.id.lower(), (row.file_id or row.id).lower()} & self._holds
        self.unmatched_holds -= names
        return bool(names)

    def _judge(self, rows: Sequence[FileCollection]) -> bytearray:
        age_by, may_go = self.policy.age_by, self._may_go
        # The columns of a page are at hand without an object for each row.
        columns = rows if isinstance(rows, Rows) else None
        moments = columns.moments(age_by) if columns else [getattr(row, age_by) for row in rows]
        codes = _ages(moments, self.cutoff, self._latest)
        if columns is None or not columns.have_only(self._statuses):
            statuses = columns.statuses() if columns else [row.status for row in rows]
            for position, status in enumerate(statuses):
                if status not in self._statuses:
                    codes[position] = _STATUS if status in KNOWN_STATUSES else _STATUS_UNKNOWN
        if may_go is not None:
            names = columns.names() if columns else [row.name for row in rows]
            for position, name in enumerate(names):
                if codes[position] not in _STATUS_FORMS and not may_go(name):
                    codes[position] = _NAME
        for position in _positions(codes, _MISSING):
            if age_by in rows[position].unreadable:
                codes[position] = _UNREADABLE
        return codes

    def _oldest_of_the_newest(self) -> datetime | None:
        """Return from which moment on ``keep_last`` keeps: all rows of that moment, where several share it."""
        # Too young ones are newer than all that are old enough, and are kept anyway.
        places = self.policy.keep_last - self._codes.count(_YOUNG) - self._codes.count(_HELD_YOUNG)
        if places <= 0:
            return None
        pairs = zip(self._due_at, self.due, strict=True)
        moments = [self._moment(candidate) for position, candidate in pairs if self._codes[position] == _DUE]
        moments.extend(self._held_old.values())
        moments.sort(reverse=True)
        return moments[min(places, len(moments)) - 1] if moments else None


def decide(rows: Iterable[FileCollection], policy: RetentionPolicy, now: datetime) -> list[Decision]:
    """
    Say for each row whether it is due, and why.

    A row has one reason, the first of these that is true of it:

    1. ``held``: ``exclude_collection_ids`` names its ``id`` or ``file_id``. A hold wins over everything.
    2. ``contradictory``: another row names the same id and says something else.
    3. ``status_unknown``: its status is none that anyformat documents, or missing.
    4. ``status``: its status is not one of ``statuses``, or is not a finished one.
    5. ``name``: it matches no glob of ``include_names`` or one of ``exclude_names``; or it has no name, and either is
       given.
    6. ``timestamp_missing``, ``timestamp_unreadable`` (also the zero of a clock, 1970 or the year 1),
       ``timestamp_future`` (later than ``now`` by more than five minutes): its age is not known.
    7. ``too_young``: it is not strictly older than ``older_than``.
    8. ``keep_last``: it is one of the newest of its workflow, out of all rows that pass status and names and whose age
       is known, held and too young ones included. Of several rows of one moment none is due before all are.
    9. ``due``.

    Rows that repeat an earlier one get the same decision. In a listing no row depends on the order they came in.

    :param rows: any number of rows, of one or several workflows.
    :param policy: what is due.
    :param now: the time of the decision, aware. A later ``reference_time`` counts as ``now``.
    :return: one decision for each row, in the order of ``rows``.
    """
    selections: dict[str, Selection] = {}
    contradicted: dict[str, set[int]] = {}
    first: dict[str, tuple[FileCollection, int]] = {}
    held: set[str] = set()
    ids: list[str] = []
    for row in rows:
        ids.append(row.id)
        selection = selections.get(row.workflow_id)
        if selection is None:
            selection = selections[row.workflow_id] = Selection(policy, now, row.workflow_id)
        if selection.holds(row):
            held.add(row.id)
        if row.id not in first:
            first[row.id] = row, selection.listed
            selection.add((row,))
        elif first[row.id][0] != row:
            known, position = first[row.id]
            contradicted.setdefault(known.workflow_id, set()).add(position)
    for workflow_id, selection in selections.items():
        selection.finish(sorted(contradicted.get(workflow_id, ())))
    decisions = {workflow_id: selection.decisions() for workflow_id, selection in selections.items()}
    return [HELD if id_ in held else decisions[first[id_][0].workflow_id][first[id_][1]] for id_ in ids]


def _ages(moments: Iterable[datetime | None], cutoff: datetime, latest: datetime) -> bytearray:
    """Return for each moment what a row becomes whose status passes."""
    return bytearray(
        [
            # One expression for all of a page: a call for each moment takes twice as long.
            _MISSING
            if moment is None
            else (_YOUNG if moment <= latest else _FUTURE)
            if moment >= cutoff
            else (_DUE if moment > _ZERO_OF_CLOCKS else _UNREADABLE)
            for moment in moments
        ]
    )


def _positions(codes: bytearray, code: int) -> Iterator[int]:
    position = codes.find(code)
    while position >= 0:
        yield position
        position = codes.find(code, position + 1)


def _name_rule(policy: RetentionPolicy) -> Callable[[str | None], bool] | None:
    """Return what says whether a document of this name may go; ``None`` if the policy asks for no names."""
    if not policy.include_names and not policy.exclude_names:
        return None
    include = _any_of(policy.include_names or ("*",))
    # An accented letter is one character or two, depending on who typed the name; a hold by name means both.
    exclude = _any_of([unicodedata.normalize("NFC", glob) for glob in policy.exclude_names], re.IGNORECASE)

    def may_go(name: str | None) -> bool:
        if name is None or include(name) is None:
            return False
        return exclude(unicodedata.normalize("NFC", name)) is None

    return may_go


def _any_of(globs: Iterable[str], flags: int = 0) -> Callable[[str], re.Match[str] | None]:
    # No glob at all becomes an expression that matches nothing.
    return re.compile("|".join([fnmatch.translate(glob) for glob in globs]) or r"(?!)", flags).fullmatch
