"""``max_times_usual``: what is usual is read from the ledger, and more than so many times as much stops a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatLedgerError, AnyformatValueError
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.usual import guarded, usual_deletions
from tests.support.book import BEGIN, Book

ORIGIN = Origin("https://api.example", "nightly", "purge", -1, "now", 1)
GUARDS = Guards("unlimited", max_times_usual=2)


def run(book: Book, number: int, **origin: Any) -> None:
    """Write a run that deleted so many."""
    book.run(*(f"id-{each}" for each in range(number)), **origin)


@pytest.mark.parametrize(
    ("deleted", "usual"),
    [
        ([], None),
        ([3, 3, 3, 3], None),
        ([3, 3, 3, 3, 3], 3),
        ([0, 0, 0, 0, 0], None),
        ([0, 0, 0, 4, 8], 6),
        # Of twelve that deleted anything the last ten count, and the median of an even number lies between two.
        ([9, 9, 1, 1, 1, 1, 1, 2, 2, 2, 0, 2, 2], 1.5),
    ],
)
@pytest.mark.parametrize("chained", [True, False], ids=["chained", "of the first release"])
def test_what_is_usual(tmp_path: Path, deleted: list[int], usual: float | None, chained: bool) -> None:
    book = Book(tmp_path, chained=chained)
    for number in deleted:
        run(book, number)
    run(book, 50, task_id="another")
    book.killed("x")
    assert usual_deletions(LocalFolder(tmp_path), ORIGIN, GUARDS) == usual
    assert usual_deletions(LocalFolder(tmp_path), ORIGIN, Guards()) is None


def test_the_runs_of_long_ago_are_not_read(tmp_path: Path) -> None:
    book = Book(tmp_path)
    for number in range(20):
        run(book, 1, map_index=number % 3)
    read: list[str] = []

    class Folder(LocalFolder):
        def read(self, name: str) -> bytes:
            read.append(name)
            return super().read(name)

        def folder(self, name: str) -> LocalFolder:
            return Folder(self._path / name)

    assert usual_deletions(Folder(tmp_path), ORIGIN, GUARDS) == 1
    assert len({name.rpartition("/")[0] for name in read}) == 10


def test_a_ledger_is_needed_and_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(AnyformatValueError, match="max_times_usual: it requires ledger_path"):
        usual_deletions(None, ORIGIN, GUARDS)
    book = Book(tmp_path)
    for _ in range(5):
        run(book, 1)
    next(tmp_path.rglob("run-5/1/*/summary.json")).write_text("{}")
    with pytest.raises(AnyformatLedgerError, match="max_times_usual") as raised:
        usual_deletions(LocalFolder(tmp_path), ORIGIN, GUARDS)
    assert raised.value.retryable


@pytest.mark.parametrize(("number", "usual", "trips"), [(6, 3, False), (7, 3, True), (700, None, False)])
def test_more_trips_and_equal_does_not(number: int, usual: float | None, trips: bool) -> None:
    plan = PurgePlan.of_ids([f"id-{n}" for n in range(number)], guards=GUARDS, origin=ORIGIN, now=BEGIN)
    checked = guarded(plan, usual)
    assert list(checked.tripped) == (["max_times_usual"] if trips else [])
    assert (checked.digest != plan.digest) is trips
    assert b'"max_times_usual":2' in checked.json_bytes()
