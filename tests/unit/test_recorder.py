"""What becomes of each reply on its way to the record, and when the record is written."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_anyformat.api.replies import DeleteOutcome
from airflow_provider_anyformat.bulk import recorder as recording
from airflow_provider_anyformat.bulk.outcome import MOST_UNRECORDED, of_delete, of_error
from airflow_provider_anyformat.bulk.recorder import Recorder
from airflow_provider_anyformat.bulk.signals import finish_despite_signals
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatError,
    AnyformatLedgerError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
)
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.plan import Origin
from airflow_provider_anyformat.retention.policy import PlannedRow

ROW = PlannedRow("id-1", "wf", "processed", None, None)
DATE = "Tue, 24 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("error", "outcome", "fatal"),
    [
        (AnyformatNotFoundError("x", status_code=404, attempts=1), "missing", False),
        (AnyformatServerError("x", status_code=500, attempts=3, fate_unknown=True), "unknown", False),
        (AnyformatServerError("x", status_code=408, attempts=3), "failed", False),
        (AnyformatClientError("x", status_code=400, attempts=1), "failed", False),
        (AnyformatClientError("x", status_code=401, attempts=1), "failed", True),
        (AnyformatClientError("x", status_code=402, attempts=1), "failed", True),
        (AnyformatClientError("x", status_code=403, attempts=1), "failed", True),
        (AnyformatRateLimitError("x", status_code=429, attempts=1, retry_after=60.0), "failed", False),
        (AnyformatRateLimitError("x", status_code=429, attempts=1, retry_after=60.5), "failed", True),
        # Known to be used up: nothing was sent.
        (AnyformatRateLimitError("x", retry_after=90.0), "not_attempted", True),
        (AnyformatStoppedError("x", attempts=1), "not_attempted", False),
    ],
)
def test_what_an_error_means(error: AnyformatError, outcome: str, fatal: bool) -> None:
    error.error_code, error.request_id, error.server_date = "CODE", "r", DATE
    found = of_error(ROW, error, max_backoff=60.0)
    assert (found.collection_id, found.workflow_id, found.outcome, found.fatal) == ("id-1", "wf", outcome, fatal)
    assert (found.http_status, found.message, found.retryable) == (error.status_code, "x", error.retryable)
    assert (found.attempts, found.retry_after) == (error.attempts, error.retry_after)
    assert (found.error_code, found.request_id, found.server_date) == ("CODE", "r", DATE)
    assert (found.deleted_at, found.archived) == (None, None)


@pytest.mark.parametrize(("value", "status", "has_time"), [("deleted", 204, True), ("already_gone", 404, False)])
def test_what_a_delete_means(value: str, status: int, has_time: bool) -> None:
    reply = DeleteOutcome(value, http_status=status, attempts=2, server_date=DATE)
    found = of_delete(ROW, reply, "none")
    assert (found.outcome, found.http_status, found.attempts, found.archived) == (value, status, 2, "none")
    assert (type(found.outcome), found.server_date, found.deleted_at is not None) == (str, DATE, has_time)


ENDS = ("deleted", "already_gone", "gone_unconfirmed", "failed", "unknown", "not_attempted", "no_results", "not_listed")


def record(recorder: Recorder, *outcomes: str) -> None:
    for name in outcomes:
        recorder.record(Outcome(name, "wf", name))


def test_counts_and_what_an_earlier_outcome_is_replaced_by(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(None)
    record(recorder, *ENDS)
    assert recorder.counts == {"deleted": 1, "already_gone": 2, "failed": 2, "not_attempted": 1}
    assert recorder.kept == {"no_results": 1, "not_listed": 1}
    assert (recorder.handled, recorder.has_unknown) == (8, True)
    assert recorder.maybe_deleted == ["deleted", "already_gone", "unknown"]
    assert list(recorder.failures) == ["failed", "unknown"]
    recorder.record(Outcome("unknown", "wf", "deleted"))
    assert (recorder.has_unknown, list(recorder.failures), recorder.counts["deleted"]) == (False, ["failed"], 2)


def test_what_is_wrong_with_the_key_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(None)
    for name in ("a", "b", "c"):
        recorder.record(Outcome(name, "wf", "failed", message="revoked", fatal=name != "c"))
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert said == ["Collection a: failed: revoked", "Collection c: failed: revoked"]
    assert list(recorder.failures) == ["a", "b", "c"]


def test_without_a_ledger_the_ids_of_what_is_gone_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr(recording, "time", SimpleNamespace(monotonic=lambda: now[0]))
    recorder = Recorder(None)
    recorder.record(Outcome("kept", "wf", "not_attempted"))
    for number in range(MOST_UNRECORDED // 2 - 2):
        recorder.record(Outcome(f"id-{number}", "wf", "deleted"))
    recorder.tick()
    now[0] = 114.9
    recorder.tick()
    assert (caplog.messages, recorder.unwritten) == ([], MOST_UNRECORDED // 2 - 1)
    # Late, or many.
    now[0] = 115.0
    recorder.tick()
    assert [len(each.split(", ")) for each in caplog.messages] == [20, 20, 20, 20, 18]
    assert caplog.messages[0].startswith("deleted: id-0, id-1, ")
    assert recorder.unwritten == 0
    caplog.clear()
    now[0] = 200.0
    for number in range(MOST_UNRECORDED // 2):
        recorder.tick()
        recorder.record(Outcome(f"more-{number}", "wf", "deleted"))
    assert caplog.messages == []
    recorder.tick()
    assert len(caplog.messages) == 5
    recorder.record(Outcome("late", "wf", "deleted"))
    now[0] = 215.0
    recorder.tick()
    recorder.record(Outcome("last", "wf", "deleted"))
    recorder.close({})
    assert caplog.messages[5:] == ["deleted: late", "deleted: last"]


class Full(LocalFolder):
    """A folder that takes nothing any more."""

    def put(self, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    def folder(self, name: str) -> Full:
        return Full(self._path / name)


def test_a_ledger_that_breaks_is_said_once_and_the_log_has_every_outcome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(Full(tmp_path), Origin("x", "dag", "task"))
    recorder = Recorder(ledger)
    record(recorder, "deleted")
    with pytest.raises(AnyformatLedgerError, match="No space left"):
        recorder.flush()
    assert "deleted" in caplog.text
    caplog.clear()
    # From now on each goes to the log as it comes, and nothing more is tried or raised.
    recorder.record(Outcome("late-one", "wf", "deleted"))
    assert "late-one" in caplog.text
    assert recorder.unwritten == 0
    # A signal came between the two steps of it.
    ledger.record(Outcome("cut-off", "wf", "deleted"))
    recorder.flush()
    assert ("cut-off" in caplog.text, caplog.text.count("late-one")) == (True, 1)
    recorder.close({})
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("due", [False, True])
def test_a_ledger_says_when_it_is_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: bool) -> None:
    ledger = Ledger(LocalFolder(tmp_path), Origin("x", "dag", "task"))
    monkeypatch.setattr(ledger, "due", lambda: due)
    recorder = Recorder(ledger)
    record(recorder, "deleted")
    recorder.tick()
    assert recorder.unwritten == (0 if due else 1)


@pytest.mark.parametrize("outcome", ["deleted", "unknown"])
def test_a_closed_ledger_says_whether_something_is_left_open(tmp_path: Path, outcome: str) -> None:
    recorder = Recorder(Ledger(LocalFolder(tmp_path), Origin("x", "dag", "task")))
    record(recorder, outcome, "no_results")
    recorder.close({})
    assert len(list(tmp_path.rglob("summary.json"))) == 1
    assert len(list(tmp_path.rglob("open.json"))) == (outcome == "unknown")
    (outcomes,) = tmp_path.rglob("outcomes-*.jsonl")
    # What is kept after all was not attempted.
    assert [f'"outcome":"{each}"' in outcomes.read_text() for each in (outcome, "not_attempted")] == [True, True]


class Signal(BaseException):
    """What a signal raises in the main thread."""


@pytest.mark.parametrize(("signals", "raises"), [(0, False), (5, False), (6, True)])
def test_the_end_goes_on_in_spite_of_five_more_signals(signals: int, raises: bool) -> None:
    calls = []

    def step() -> None:
        calls.append(1)
        if len(calls) <= signals:
            raise Signal

    if raises:
        with pytest.raises(Signal):
            finish_despite_signals(step)
    else:
        finish_despite_signals(step)
    assert len(calls) == min(signals + 1, 6)


def test_an_error_of_the_end_is_raised_at_once() -> None:
    calls = []

    def step() -> None:
        calls.append(1)
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        finish_despite_signals(step)
    assert len(calls) == 1
