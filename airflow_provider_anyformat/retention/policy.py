"""Which collections are due: one pure rule, for lists, plans and purges alike."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import compress, starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page, Rows
from airflow_provider_anyformat.api.values import CLOCK_SKEW, FINISHED_STATUSES, KNOWN_STATUSES, canonical_id, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.holds import Hold, HoldMatcher, name_rule
from airflow_provider_anyformat.retention.reasons import (
    CODE_CONTRADICTORY,
    CODE_DUE,
    CODE_HELD,
    CODE_HELD_OLD,
    CODE_KEEP_LAST,
    CODE_MISSING,
    CODE_NAME,
    CODE_STATUS,
    CODE_STATUS_UNKNOWN,
    CODE_UNREADABLE,
    DECISIONS,
    DUE,
    FREE_FORMS,
    HELD_AS,
    HELD_DATED_FORMS,
    HELD_FORMS,
    STATUS_FORMS,
    Decision,
    judge_ages,
    marks,
    positions,
)
from airflow_provider_anyformat.retention.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

AgeBy = Literal["created_at", "updated_at"]


class MinRetention(NamedTuple):
    """
    The shortest age that may be asked for.

    :param age: the age.
    :param source: who says so, for messages.
    """

    age: timedelta
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """
    What is due, as values that were read and checked.

    :param older_than: due is what is strictly older than this at ``reference_time``; positive.
    :param reference_time: what age counts from, aware; a later one than the time of the decision counts as that time.
    :param age_by: the timestamp that age is taken from, ``created_at`` (default) or ``updated_at``.
    :param statuses: the statuses to delete; default ``("processed",)``. Others than finished ones are never due.
    :param exclude_collection_ids: legal holds: ids of collections or of files; default none.
    :param include_names: globs on the whole name, with case; default none, which includes every row.
    :param exclude_names: globs on the whole name, without case; default none.
    :param keep_last: number of newest rows of each workflow that stay; default 0.
    :param holds: legal holds with a case each; default none.
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
    holds: tuple[Hold, ...] = ()

    def __post_init__(self) -> None:
        if self.older_than <= timedelta(0):
            raise AnyformatValueError(f"older_than: {self.older_than} is not a positive duration")
        if self.reference_time.utcoffset() is None:
            raise AnyformatValueError(f"reference_time: {self.reference_time} has no time zone; give it one")
        if self.age_by not in ("created_at", "updated_at"):
            raise AnyformatValueError(f'age_by: {shown(self.age_by)} is neither "created_at" nor "updated_at"')
        if self.keep_last < 0:
            raise AnyformatValueError(f"keep_last: {self.keep_last} is negative; give 0 or more")
        for name in ("statuses", "exclude_collection_ids", "include_names", "exclude_names"):
            # The characters of a text would be taken for entries, and "*" for a glob.
            if isinstance(getattr(self, name), str):
                raise AnyformatValueError(f"{name}: {shown(getattr(self, name))} is not a sequence of texts")

    def check_min_retention(self, min_retention: MinRetention, field: str = "older_than") -> None:
        """
        Refuse a shorter age than is allowed.

        :param min_retention: the shortest age that is allowed.
        :param field: the parameter that the age comes from, for the message; default ``older_than``.
        :raises AnyformatValueError: ``older_than`` is shorter.
        """
        if self.older_than < min_retention.age:
            raise AnyformatValueError(
                f"{field}: the age {self.older_than} is shorter than {min_retention.source}, {min_retention.age};"
                " give a longer age, or ask the person responsible for that minimum to change it"
            )

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

    :func:`select` feeds it each id once, in portions; :func:`conclude` calls :meth:`finish`, and only then is the
    outcome final. A kept row costs one byte, so that a million fit a small worker.

    :param policy: what is due.
    :param now: the time of the decision, aware: the same for all workflows of a run.
    :param workflow_id: the workflow that the rows are of; default empty.
    :param collect: whether the due rows themselves are wanted, and not their number alone; default ``True``.
    """

    def __init__(self, policy: RetentionPolicy, now: datetime, workflow_id: str = "", *, collect: bool = True) -> None:
        self.workflow_id = workflow_id
        self.policy = policy
        self._collect = collect
        self.reading = ListingPass(workflow_id)
        self.cutoff = policy.cutoff(now)
        self.due: list[PlannedRow] = []
        self.unmatched_holds = {canonical_id(entry) for entry in policy.exclude_collection_ids}
        self.codes = bytearray()
        # Where in the sequence of rows the due ones stood; and the time of each row in seconds since 1970, or nan.
        self._due_at = array("Q")
        self.times = array("d")
        self.latest = now.astimezone(UTC) + CLOCK_SKEW
        self._statuses = FINISHED_STATUSES.intersection(policy.statuses)
        self._may_go = name_rule(policy.include_names, policy.exclude_names)
        self._holds = frozenset(self.unmatched_holds)
        self._matcher = HoldMatcher(policy.holds, now, workflow_id)
        self.may_hold = bool(self._holds or self._matcher)
        # Of each id that a hold with a case names, the place of that hold in the policy.
        self.cases: dict[str, int] = {}
        # Hashes of the ids that a hold names, by whichever of their rows.
        self.held: set[int] = set()
        self._moment: Callable[[FileCollection | PlannedRow], datetime] = attrgetter(policy.age_by)

    @property
    def held_ids(self) -> set[str]:
        """The ids that are on hold, of collections or of files, in canonical form."""
        return {*self._holds, *self._matcher.ids}

    @property
    def listed(self) -> int:
        """How many rows there were."""
        return len(self.codes)

    @property
    def kept(self) -> Counter[str]:
        """How many rows are kept for each reason; reasons without rows are left out."""
        counts: Counter[str] = Counter()
        for code, decision in enumerate(DECISIONS):
            if code != CODE_DUE and (number := self.codes.count(code)):
                counts[decision.reason] += number
        return counts

    def take(self, page: Page) -> Sequence[FileCollection]:
        """Judge those of a page's rows whose ids were not seen before, and return them."""
        rows = self.reading.add(page)
        self.add(rows)
        if self.may_hold and len(rows) < len(page.collections):
            # A hold may name the second of two rows that disagree.
            for row in page.collections:
                self.holds(row)
        return rows

    def add(self, rows: Sequence[FileCollection]) -> None:
        """Judge ``rows``, none of which has the id of an earlier one."""
        start = len(self.codes)
        codes = self._judge(rows)
        if self.may_hold:
            for position, row in enumerate(rows):
                if self.holds(row):
                    codes[position] = HELD_AS.get(codes[position], CODE_HELD)
        self.codes += codes
        due = list(positions(codes, CODE_DUE)) if self._collect else []
        if not isinstance(rows, Rows):
            chosen = (rows[each] for each in due)
            self.due += [PlannedRow(r.id, r.workflow_id, r.status, r.created_at, r.updated_at) for r in chosen]
        else:
            self.due += starmap(PlannedRow, rows.dated(due))
        self._due_at.extend([start + each for each in due])

    def finish(self, contradicted: Iterable[int] = (), held: Collection[int] = ()) -> None:
        """
        Take into account what only the whole listing shows: contradictions, then ``keep_last``.

        :param contradicted: positions, from 0 in the order of :meth:`add`, of the ids that came with different rows.
        :param held: positions of ids that a hold names by another of their rows.
        """
        for position in contradicted:
            # A hold is a hold; but it is not known whether such a row is one of the newest.
            is_held = position in held or self.codes[position] in HELD_FORMS
            self.codes[position] = CODE_HELD if is_held else CODE_CONTRADICTORY
        newest = self.timeline.newest_from(self.latest.timestamp())
        if newest < math.inf:
            for position in positions(self.codes, CODE_DUE):
                if self.times[position] >= newest:
                    self.codes[position] = CODE_KEEP_LAST
        self._drop_kept()

    def hold_by_files(self, files: Callable[[str], Iterable[str]]) -> None:
        """Hold each due row with a file on hold; ``files`` returns the ids of a collection's files."""
        for position, row in zip(self._due_at, self.due, strict=True):
            for file_id in map(canonical_id, files(row.collection_id)):
                number = self._matcher.number_of(file_id)
                if file_id in self._holds or number is not None:
                    self.codes[position] = CODE_HELD_OLD
                    self.unmatched_holds.discard(file_id)
                if number is not None:
                    self.cases[row.collection_id] = min(number, self.cases.get(row.collection_id, number))
        self._drop_kept()

    def _drop_kept(self) -> None:
        if self.codes.count(CODE_DUE) < len(self.due):
            left = [self.codes[position] == CODE_DUE for position in self._due_at]
            self.due = list(compress(self.due, left))
            self._due_at = array("Q", compress(self._due_at, left))

    @cached_property
    def timeline(self) -> Timeline:
        """What time will make of the rows; ask for it after :func:`conclude`."""
        free = compress(self.times, self.codes.translate(marks(FREE_FORMS)))
        held = compress(self.times, self.codes.translate(marks(HELD_DATED_FORMS)))
        return Timeline((time for time in free if time == time), held, self.policy.keep_last)

    def decisions(self) -> list[Decision]:
        """Return what became of each row, in the order of :meth:`add`."""
        return [DECISIONS[code] for code in self.codes]

    def reason_at(self, position: int) -> str:
        """Return the reason of one row, counted from 0 in the order of :meth:`add`."""
        return DECISIONS[self.codes[position]].reason

    def holds(self, row: FileCollection) -> bool:
        """Say whether a legal hold names this row, and remember which one did."""
        own = canonical_id(row.id)
        names = {own, canonical_id(row.file_id or row.id)} & self._holds
        self.unmatched_holds -= names
        number = self._matcher.number(row.id, row.file_id, row.name)
        if number is not None:
            self.cases[row.id] = min(number, self.cases.get(row.id, number))
        if names or number is not None:
            self.held.add(hash(own))
            return True
        return False

    def case_of(self, collection_id: str) -> str | None:
        """Return the case that a collection is held for, or ``None``."""
        number = self.cases.get(collection_id)
        return None if number is None else self.policy.holds[number].case

    def _judge(self, rows: Sequence[FileCollection]) -> bytearray:
        age_by, may_go = self.policy.age_by, self._may_go
        # The columns of a page are at hand without an object for each row.
        columns = rows if isinstance(rows, Rows) else None
        moments = columns.moments(age_by) if columns else [getattr(row, age_by) for row in rows]
        self.times.extend([math.nan if moment is None else moment.timestamp() for moment in moments])
        codes = judge_ages(moments, self.cutoff, self.latest)
        if columns is None or not columns.have_only(self._statuses):
            statuses = columns.statuses() if columns else [row.status for row in rows]
            for position, status in enumerate(statuses):
                if status not in self._statuses:
                    codes[position] = CODE_STATUS if status in KNOWN_STATUSES else CODE_STATUS_UNKNOWN
        if may_go is not None:
            names = columns.names() if columns else [row.name for row in rows]
            for position, name in enumerate(names):
                if codes[position] not in STATUS_FORMS and not may_go(name):
                    codes[position] = CODE_NAME
        for position in positions(codes, CODE_MISSING):
            if age_by in rows[position].unreadable:
                codes[position] = CODE_UNREADABLE
        return codes


def select(pages: Iterable[Page], policy: RetentionPolicy, now: datetime, workflow_id: str = "") -> Selection:
    """
    Judge one workflow's pages as they come; :func:`decide` says by which rule.

    :param pages: the pages of one reading, the first to the last.
    :param policy: what is due.
    :param now: the time of the decision, aware.
    :param workflow_id: the workflow; default empty.
    :return: what is due, and why the rest is kept; final after :func:`conclude`.
    :raises AnyformatListingError: the reading is not complete.
    """
    selection = Selection(policy, now, workflow_id)
    for page in pages:
        selection.take(page)
    selection.reading.finish()
    return selection


def conclude(selections: Sequence[Selection]) -> None:
    """
    Take into account what only all listings together show: contradictions, then ``keep_last``. Call it once.

    An id that two workflows show is a contradiction: their rows are of one collection, and disagree whose it is.

    :param selections: one for each workflow, all by the same policy.
    """
    seen, shared = set[int](), set[int]()
    if len(selections) > 1:
        for selection in selections:
            shared |= selection.reading.repeats(seen)
    held = set[int]().union(*(selection.held for selection in selections))
    for selection in selections:
        reading = selection.reading
        contradicted = {*reading.contradicted_positions(), *reading.places(shared)}
        selection.finish(contradicted, reading.places(held) if contradicted else ())


def decide(rows: Iterable[FileCollection], policy: RetentionPolicy, now: datetime) -> list[Decision]:
    """
    Say for each row whether it is due, and why.

    A row has one reason, the first of these that is true of it:

    1. ``held``: ``exclude_collection_ids`` names its ``id`` or ``file_id``, or one of ``holds`` that is in force at
       ``now`` matches it. A hold wins over everything.
    2. ``contradictory``: another row names the same id and says something else.
    3. ``status_unknown``: its status is missing, or not one that anyformat documents.
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
    rows = list(rows)
    by_workflow: dict[str, list[FileCollection]] = {}
    for row in rows:
        by_workflow.setdefault(row.workflow_id, []).append(row)
    decisions: dict[str, dict[str, Decision]] = {}
    selections = [select([Page(each, 0, 1, 1)], policy, now, name) for name, each in by_workflow.items()]
    conclude(selections)
    for selection in selections:
        decided = selection.decisions()
        places = selection.reading.positions(row.id for row in by_workflow[selection.workflow_id])
        decisions[selection.workflow_id] = {name: decided[place] for name, place in places.items()}
    return [decisions[row.workflow_id][row.id] for row in rows]
