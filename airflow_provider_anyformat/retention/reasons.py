"""The reasons for which a row is kept or due, and how a row remembers its reason in one byte."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

# What a program that has no timestamp writes instead: the zero of its clock. No document is that old.
_ZERO_OF_CLOCKS = datetime(1970, 1, 1, tzinfo=UTC)


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
DECISIONS = (
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
    HELD,
)
(
    CODE_DUE,
    CODE_HELD,
    CODE_CONTRADICTORY,
    CODE_STATUS_UNKNOWN,
    CODE_STATUS,
    CODE_NAME,
    CODE_MISSING,
    CODE_UNREADABLE,
    CODE_FUTURE,
    CODE_YOUNG,
    CODE_KEEP_LAST,
    CODE_HELD_YOUNG,
    CODE_HELD_OLD,
    CODE_HELD_FUTURE,
) = range(len(DECISIONS))
HELD_FORMS = frozenset({CODE_HELD, CODE_HELD_YOUNG, CODE_HELD_OLD, CODE_HELD_FUTURE})
STATUS_FORMS = frozenset({CODE_STATUS, CODE_STATUS_UNKNOWN})
HELD_AS = {CODE_YOUNG: CODE_HELD_YOUNG, CODE_DUE: CODE_HELD_OLD, CODE_FUTURE: CODE_HELD_FUTURE}
# Of rows with these codes time alone decides what becomes of them; and of these, whether they are among the newest.
FREE_FORMS = frozenset({CODE_DUE, CODE_YOUNG, CODE_FUTURE, CODE_KEEP_LAST, CODE_UNREADABLE})
HELD_DATED_FORMS = frozenset({CODE_HELD_YOUNG, CODE_HELD_OLD, CODE_HELD_FUTURE})

# Outcomes of planned collections that are kept for a good reason; "not_attempted" in the ledger, but no failure.
KEPT_AFTER_ALL = frozenset({"no_results", "no_longer_due", "not_listed"})
# Reasons that a person should look into: where they keep rows, a retention may silently have stopped.
ANOMALIES = frozenset(
    {
        "contradictory",
        "status_unknown",
        "timestamp_missing",
        "timestamp_unreadable",
        "timestamp_future",
        "no_results",
        "not_listed",
    }
)


def judge_ages(moments: Iterable[datetime | None], cutoff: datetime, latest: datetime) -> bytearray:
    """Return for each moment the code of a row whose status passes."""
    return bytearray(
        [
            # One expression for all of a page: a call for each moment takes twice as long.
            CODE_MISSING
            if moment is None
            else (CODE_YOUNG if moment <= latest else CODE_FUTURE)
            if moment >= cutoff
            else (CODE_DUE if moment > _ZERO_OF_CLOCKS else CODE_UNREADABLE)
            for moment in moments
        ]
    )


def positions(codes: bytearray, code: int) -> Iterator[int]:
    """Yield where a code stands."""
    position = codes.find(code)
    while position >= 0:
        yield position
        position = codes.find(code, position + 1)


def marks(forms: Collection[int]) -> bytes:
    """Return the table by which ``translate`` makes 1 of each code that is one of ``forms``, and 0 of the others."""
    return bytes(code in forms for code in range(256))
