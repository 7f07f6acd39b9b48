"""What earlier tries of a DAG run may have deleted: what they say, and what a killed one does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.earlier import STORE_KEY, Earlier, maybe_deleted
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import Origin
from tests.support.book import Book, an_outcome

TRY: dict[str, Any] = {"run_id": "run-1", "try_number": 1}


def asked(path: Path, **changes: Any) -> frozenset[str] | None:
    book = Book(path)
    ledger = book.begin(("sent", "other"), **TRY)
    origin = {"service": "x", "dag_id": "nightly", "task_id": "purge", "run_id": "run-1", "try_number": 2, **changes}
    for outcome in ("deleted", "unknown", "failed", "not_attempted", "already_gone", "gone_unconfirmed"):
        ledger.record(an_outcome(outcome.upper(), outcome))
    ledger.record(an_outcome("other", "failed"))
    ledger.flush()
    return maybe_deleted(LocalFolder(path), Origin(**origin))


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        # It was killed: of "sent", which it planned, it does not say what it did.
        ({}, ["already_gone", "deleted", "sent", "unknown"]),
        ({"try_number": 3}, ["already_gone", "deleted", "sent", "unknown"]),
        ({"try_number": 1}, []),
        ({"run_id": "run-2"}, []),
        ({"map_index": 4}, []),
        ({"task_id": "another"}, []),
        ({"try_number": 0}, None),
    ],
    ids=repr,
)
def test_ids_of_earlier_tries(tmp_path: Path, changes: dict[str, Any], ids: list[str] | None) -> None:
    found = asked(tmp_path, **changes)
    assert (found if found is None else sorted(found)) == ids


def test_what_a_closed_try_did_not_send(tmp_path: Path) -> None:
    book = Book(tmp_path)
    folder = book.run("id-1", outcome="not_attempted", **TRY).split("/")
    origin = Origin("x", folder[0], folder[1], run_id="run-1", try_number=2)
    assert maybe_deleted(LocalFolder(tmp_path), origin) == frozenset()
    (outcomes,) = tmp_path.rglob("outcomes-*.jsonl")
    outcomes.write_text("{")
    with pytest.raises(AnyformatLedgerError, match="earlier tries"):
        maybe_deleted(LocalFolder(tmp_path), origin)
    assert maybe_deleted(None, origin) is None


class Kept:
    """A task_state_store of one value, which notes what is written."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.written: list[Any] = []

    def get(self, key: str) -> Any:
        assert key == STORE_KEY
        return self.value

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self._write(key, value)

    def delete(self, key: str) -> None:
        self._write(key, None)

    def _write(self, key: str, value: Any) -> None:
        assert key == STORE_KEY
        self.written.append(value)
        self.value = value


class Broken(Kept):
    def get(self, key: str) -> Any:
        raise OSError("down")

    def set(self, key: str, value: Any) -> None:
        raise OSError("down")


NOW = Origin("x", "nightly", "purge", run_id="run-1", try_number=2)
SOME_IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1501)]


@pytest.mark.parametrize(
    ("store", "is_known", "names_all", "sent_nothing", "may"),
    [
        (None, False, False, False, ["a", "b"]),
        (Kept(), True, True, True, []),
        (Kept(["a"]), True, True, False, ["a"]),
        (Kept("too many to name"), True, False, False, ["a", "b"]),
    ],
    ids=["no store", "nothing kept", "one kept", "too many"],
)
def test_what_the_store_knows(
    store: Kept | None, is_known: bool, names_all: bool, sent_nothing: bool, may: list[str]
) -> None:
    earlier = Earlier(None, store, NOW)
    assert (earlier.is_known, earlier.names_all, earlier.sent_nothing) == (is_known, names_all, sent_nothing)
    assert [each for each in ("a", "b") if earlier.may_have_deleted(each)] == may
    # Without a store there is nothing to do, and nothing fails.
    earlier.before(["c"])


@pytest.mark.parametrize(
    ("kept", "before", "after", "written"),
    [
        (None, ["B", "a"], [], [["a", "b"], None]),
        (None, ["B", "a"], ["a"], [["a", "b"], ["a"]]),
        (["x"], ["a"], [], [["a", "x"], ["x"]]),
        (["x"], ["x"], ["x"], []),
        (None, SOME_IDS[:1500], [], [SOME_IDS[:1500], None]),
        (None, SOME_IDS, [], ["too many to name", None]),
        ("too many to name", ["a"], [], []),
    ],
    ids=["all settled", "one open", "with an earlier one", "the same", "1500", "1501", "too many before"],
)
def test_what_the_next_try_is_told(kept: Any, before: list[str], after: list[str], written: list[Any]) -> None:
    store = Kept(kept)
    earlier = Earlier(None, store, NOW)
    earlier.before(before)
    earlier.after(after)
    assert store.written == written


def test_a_store_that_cannot_be_read_or_written() -> None:
    with pytest.raises(AnyformatLedgerError, match=r"could not be read: OSError: down"):
        Earlier(None, Broken(), NOW)
    store = Kept()
    earlier = Earlier(None, store, NOW)
    store.set = Broken().set  # type: ignore[method-assign]
    with pytest.raises(AnyformatLedgerError, match=r"could not be written: OSError: down"):
        earlier.before(["a"])
    earlier.after(["a"])


def test_a_ledger_is_asked_and_not_the_store(tmp_path: Path) -> None:
    Book(tmp_path).run("id-1", "id-2", **TRY)
    earlier = Earlier(LocalFolder(tmp_path), Broken(), NOW)
    assert (earlier.is_known, earlier.names_all, sorted(earlier.ids)) == (True, True, ["id-1", "id-2"])
    earlier.before(["id-3"])
