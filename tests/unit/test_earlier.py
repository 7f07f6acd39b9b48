"""What earlier tries of a DAG run may have deleted: what they say, and what a killed one does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.earlier import maybe_deleted
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import Origin
from tests.support.book import Book, an_outcome

TRY = {"run_id": "run-1", "try_number": 1}


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
