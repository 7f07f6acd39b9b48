"""Which hold, if any, holds a collection at a moment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from airflow_provider_anyformat.retention.holds import Hold, HoldMatcher

UUID = "11111111-2222-4333-8444-55555555abcd"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC)

# The hold, then what it has to say of a row: its id, the id of its file, its name, and whether it is held.
SELECTORS = {
    "an id": (Hold(case="A", collection_ids=("c-1",)), ("C-1", None, "a"), True),
    "another id": (Hold(case="A", collection_ids=("c-1",)), ("c-2", None, "a"), False),
    "a file's id": (Hold(case="A", collection_ids=("f-1",)), ("c-1", "F-1", "a"), True),
    "a UUID without hyphens": (
        Hold(case="A", collection_ids=(UUID.replace("-", "").upper(),)),
        (UUID, None, "a"),
        True,
    ),
    "its workflow": (Hold(case="A", workflow_ids=("x", "W-1")), ("c-1", None, None), True),
    "another workflow": (Hold(case="A", workflow_ids=("w-2",)), ("c-1", None, "a"), False),
    "a name without case": (Hold(case="A", names=("contract-*",)), ("c-1", None, "CONTRACT-7.pdf"), True),
    "a part of a name": (Hold(case="A", names=("contract",)), ("c-1", None, "contract-7.pdf"), False),
    "a name in two characters": (
        Hold(case="A", names=("re\u0301sume\u0301*",)),
        ("c-1", None, "R\u00e9sum\u00e9.pdf"),
        True,
    ),
    "no name": (Hold(case="A", names=("contract-*",)), ("c-1", None, None), True),
    "a blank name": (Hold(case="A", names=("contract-*",)), ("c-1", None, " "), True),
    "no name, and no names": (Hold(case="A", collection_ids=("c-2",)), ("c-1", None, None), False),
    "any of several": (Hold(case="A", collection_ids=("c-2",), names=("b*",)), ("c-1", None, "b.pdf"), True),
}


@pytest.mark.parametrize(("hold", "row", "held"), SELECTORS.values(), ids=SELECTORS)
def test_selectors(hold: Hold, row: tuple[str, str | None, str | None], held: bool) -> None:
    matcher = HoldMatcher((hold,), NOON, "w-1")
    assert (matcher.number(*row) == 0) is held


@pytest.mark.parametrize(
    ("begins", "ends", "moment", "held"),
    [
        (None, None, NOON, True),
        (date(2026, 5, 1), None, MIDNIGHT, True),
        (date(2026, 5, 1), None, MIDNIGHT - timedelta(microseconds=1), False),
        (None, date(2026, 5, 1), MIDNIGHT - timedelta(microseconds=1), True),
        (None, date(2026, 5, 1), MIDNIGHT, False),
        (date(2026, 4, 1), date(2026, 5, 2), NOON, True),
        # Half past one in the night of 1 May in Madrid is still April in UTC.
        (date(2026, 5, 1), None, datetime.fromisoformat("2026-05-01T01:30+02:00"), False),
    ],
)
def test_days_begin_at_midnight_utc(begins: date | None, ends: date | None, moment: datetime, held: bool) -> None:
    hold = Hold(case="A", begins=begins, ends=ends, names=("*",))
    assert bool(HoldMatcher((hold,), moment, "w-1")) is held
    assert (HoldMatcher((hold,), moment, "w-1").number("c-1", None, "a") == 0) is held


def test_the_first_hold_in_force_counts() -> None:
    holds = (
        Hold(case="ended", ends=date(2026, 5, 1), workflow_ids=("w-1",)),
        Hold(case="by name", names=("a*",)),
        Hold(case="by id", collection_ids=("c-1", "c-2")),
        Hold(case="by another name", names=("b*", "a*")),
        Hold(case="the rest", workflow_ids=("w-1",)),
    )
    matcher = HoldMatcher(holds, NOON, "w-1")
    rows = [("c-1", None, "a"), ("c-1", None, "b"), ("c-3", None, "b"), ("c-3", None, "c"), ("c-3", None, None)]
    assert [matcher.number(*row) for row in rows] == [1, 2, 3, 4, 1]
