"""When the threads stop by themselves: which answers in a row mean that the rest would fail, too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from airflow_provider_anyformat.api.replies import DeleteOutcome, Reply, error_from_reply
from airflow_provider_anyformat.bulk import pool as pooling
from airflow_provider_anyformat.bulk.outcome import MOST_UNRECORDED
from airflow_provider_anyformat.bulk.pool import DeletePool
from airflow_provider_anyformat.bulk.recorder import Recorder
from airflow_provider_anyformat.bulk.room import Room
from airflow_provider_anyformat.exceptions import AnyformatConnectionError, AnyformatRateLimitError
from airflow_provider_anyformat.retention.ledger import Outcome
from airflow_provider_anyformat.retention.policy import PlannedRow


class Signal(BaseException):
    """What a signal raises in the main thread."""


class Answers:
    """A client that answers as told, one collection after the other."""

    max_backoff = 60.0

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        self.asked.append(collection_id)
        answer = self.answers[len(self.asked) - 1]
        if answer == 204:
            return DeleteOutcome("deleted", http_status=204)
        if isinstance(answer, int):
            error = error_from_reply(Reply(answer, {"X-API-Version": "2"}))
            error.attempts = 1
            raise error
        assert isinstance(answer, Exception)
        raise answer

    def stop_at(self) -> None:
        return None

    def stop(self, grace: float) -> None:
        pass

    def check_stopped(self, what: str) -> None:
        pass


def gone(outcome: Outcome) -> Outcome:
    return replace(outcome, outcome="already_gone")


def failed(outcome: Outcome) -> Outcome:
    return replace(outcome, outcome="failed")


def run(
    answers: list[object], resolve: Callable[[Outcome], Outcome] = failed, **settings: Any
) -> tuple[DeletePool, int]:
    """Delete with one thread; return how many were left."""
    client, recorder = Answers(*answers), Recorder(None)
    pool = DeletePool(client, recorder, workers=1, resolve_missing=resolve, **settings)  # type: ignore[arg-type]
    rows = [PlannedRow(f"id-{number}", "wf", "processed", None, None) for number in range(len(answers))]
    left = pool.run(iter(rows), len(rows))
    assert client.asked == [row.collection_id for row in rows[: len(client.asked)]]
    assert recorder.handled == len(client.asked) == len(rows) - len(left)
    assert recorder.unwritten == 0
    assert pool._finished == recorder.handled - recorder.counts["not_attempted"]
    return pool, len(left)


DOWN = AnyformatConnectionError("no answer", fate_unknown=True, attempts=3)


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ([500] * 30, 10),
        ([DOWN] * 30, 10),
        ([429] * 30, 10),
        ([401, *[204] * 9], 9),
        ([402, *[204] * 9], 9),
        ([403, *[204] * 9], 9),
        ([AnyformatRateLimitError("used up", retry_after=61.0), *[204] * 9], 9),
        ([AnyformatRateLimitError("used up", retry_after=60.0), *[204] * 9], 0),
        ([*[500] * 19, 204, *[500] * 19], 0),
        # What says something of one collection alone neither counts nor breaks the row.
        *(([status] * 30, 0) for status in (400, 404, 409, 412, 422)),
        ([*[500] * 19, 422, 500, 204], 1),
        ([ValueError("a mistake of ours"), 204], 1),
    ],
    ids=lambda value: f"{str(value)[:40]}",
)
def test_what_stops_the_rest(answers: list[object], left: int) -> None:
    pool, remaining = run(answers)
    assert remaining == left
    assert (pool.aborted_by is not None) is (left > 0)
    assert not pool.all_missing


@pytest.mark.parametrize(
    ("answers", "alarm", "all_missing", "left"),
    [
        ([404] * 25, 20, True, 5),
        ([404] * 25, None, False, 0),
        ([204, *[404] * 25], 20, False, 0),
        ([*[404] * 19, 204, *[404] * 19], 20, False, 0),
        # Of a short list all have to be missing.
        ([404] * 5, 20, True, 0),
        ([404] * 4, 20, False, 0),
        ([404] * 5, None, False, 0),
        ([*[404] * 5, 204], 20, False, 0),
    ],
    ids=lambda value: f"{str(value)[:40]}",
)
@pytest.mark.parametrize("resolve", [gone, failed])
def test_ids_that_are_all_missing(
    answers: list[object], alarm: int | None, all_missing: bool, left: int, resolve: Callable[[Outcome], Outcome]
) -> None:
    pool, remaining = run(answers, resolve, missing_alarm=alarm)
    assert (pool.all_missing, remaining, pool.aborted_by) == (all_missing, left, None)


def test_no_thread_runs_far_ahead_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", Mock(side_effect=Signal))
    recorder = Recorder(None)
    pool = DeletePool(Answers(), recorder, workers=1, resolve_missing=failed)  # type: ignore[arg-type]
    pool._todo = iter([PlannedRow(f"id-{number}", "wf", "processed", None, None) for number in range(3)])
    pool._inbox.extend([Outcome("waits", "wf", "deleted")] * 90)
    recorder.unwritten = MOST_UNRECORDED - 92
    for paused, goes_on in ((True, False), (False, True), (False, True), (False, False)):
        pool._paused = paused
        with nullcontext() if goes_on else pytest.raises(Signal):
            assert pool._next() is not None


@pytest.mark.parametrize(
    ("done", "total", "line"),
    [
        (0, 80, "deleted 0 of 80 (0 %), 0.0/s, time left unknown"),
        (21, 80, "deleted 21 of 80 (26 %), 2.1/s, 28 s left"),
        (0, 0, "deleted 0 of 0 (0 %), 0.0/s, time left unknown"),
    ],
)
def test_progress(caplog: pytest.LogCaptureFixture, done: int, total: int, line: str) -> None:
    caplog.set_level("INFO")
    pool = DeletePool(Answers(), Recorder(None), workers=1, resolve_missing=failed)  # type: ignore[arg-type]
    pool._finished, pool._total = done, total
    pool._show_progress(10.0)
    assert caplog.messages == [line]


def test_who_waits_for_room_can_be_stopped() -> None:
    room, check = Room(10), Mock(side_effect=Signal)
    with room.taken(10, check), pytest.raises(Signal), room.taken(1, check):
        pass
    with room.taken(10, check):
        assert check.call_count == 1


def test_a_second_look_comes_between_deletes() -> None:
    client, recorder, looks = Answers(*[204] * 6), Recorder(None), []
    pool = DeletePool(client, recorder, workers=1, resolve_missing=failed)  # type: ignore[arg-type]
    rows = [PlannedRow(f"id-{number}", "wf", "processed", None, None) for number in range(6)]

    def look() -> None:
        # Nothing is in flight, and what was done is on record.
        assert (recorder.handled, recorder.unwritten) == (len(client.asked), 0)
        looks.append(len(client.asked))

    assert pool.run(iter(rows), 6, recheck=look, recheck_interval=0.0) == []
    assert looks
    assert recorder.counts["deleted"] == 6


class Hanging(Answers):
    """A client whose delete is under way when a signal comes; its answer comes after that, or never."""

    def __init__(self, comes: bool) -> None:
        super().__init__(204)
        self.comes = comes
        self.began, self.stopped, self.over = (threading.Event() for _ in range(3))

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        self.began.set()
        (self.stopped if self.comes else self.over).wait(30)
        return super().delete_file_collection(collection_id)

    def stop(self, grace: float) -> None:
        self.stopped.set()

    def check_stopped(self, what: str) -> None:
        assert self.began.wait(30)
        raise Signal


@pytest.mark.parametrize("comes", [True, False])
def test_what_is_in_flight_when_a_run_is_cut_short(monkeypatch: pytest.MonkeyPatch, comes: bool) -> None:
    monkeypatch.setattr(pooling, "GRACE", 20.0 if comes else 0.1)
    client, recorder = Hanging(comes), Recorder(None)
    flush = Mock(wraps=recorder.flush)
    monkeypatch.setattr(recorder, "flush", flush)
    pool = DeletePool(client, recorder, workers=1, resolve_missing=failed)  # type: ignore[arg-type]
    with pytest.raises(Signal):
        pool.run(iter([PlannedRow("id-0", "wf", "processed", None, None)]), 1)
    assert recorder.counts == {"deleted": int(comes), "already_gone": 0, "failed": int(not comes), "not_attempted": 0}
    assert (recorder.has_unknown, recorder.unwritten) == (not comes, 0)
    # What is known is written before the wait, and again after it; a second call has nothing to do.
    pool.shutdown()
    assert flush.call_count == 2
    said = [(each.message, each.retryable) for each in recorder.failures.values()]
    assert said == ([] if comes else [("it was in flight when the task had to end", True)])
    client.over.set()
