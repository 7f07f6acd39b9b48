"""Deleting many collections: a few threads, one id at a time, every outcome told to the main thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from airflow_provider_anyformat.exceptions import (
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatStoppedError,
)
from airflow_provider_anyformat.operators._task import to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_anyformat.api.client import AnyformatClient

# So many failures in a row, without a success between them, are the server's or the key's, not the collections'.
FAILURES_IN_A_ROW = 20
# The first so many ids all missing, or all of a few, mean that the wrong ids or the wrong key were given.
MISSING_AT_THE_START = 20
MISSING_OF_ALL = 5
# A killed worker may lose the record of this many deletes at most, those under way included.
MOST_UNRECORDED = 200
# Seconds that answers under way are waited for when the task has to end.
GRACE = 2.0
PROGRESS_INTERVAL = 15.0
_POLL = 0.02
# Wrong or revoked key, no credit, no permission: the answer to every other request too.
_HALTING_STATUSES = frozenset({401, 402, 403})
_MAY_HAVE_NO_RESULTS = frozenset({"error", "cancelled"})

log = logging.getLogger(__name__)


class _NoResultsError(Exception):
    """A collection that ended without results has none to archive."""


@dataclass(frozen=True, slots=True)
class Item:
    """One collection to delete; workflow and status are empty where only its id was given."""

    collection_id: str
    workflow_id: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """
    What became of one collection.

    :param outcome: ``deleted``, ``already_gone``, ``missing`` (HTTP 404, to be judged by whoever asked), ``failed``,
        ``unknown``, ``not_attempted`` or ``no_results``.
    :param message: why, for the log; empty where there is nothing to say.
    :param retryable: whether a later try of a failed one could succeed.
    :param halts: whether the same would happen to every other collection.
    """

    item: Item
    outcome: str
    http_status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    attempts: int = 0
    deleted_at: datetime | None = None
    server_date: str | None = None
    message: str = ""
    retryable: bool = False
    halts: bool = False


class Recorder(Protocol):
    """Who keeps the outcomes; called in the main thread alone."""

    def record(self, result: Result) -> None:
        """Keep one outcome; a later one for the same id replaces it."""

    def tick(self) -> None:
        """Write what has to be written by now."""

    def flush(self) -> None:
        """Write everything now."""

    @property
    def unwritten(self) -> int:
        """How many outcomes a kill would lose."""


class Archive(Protocol):
    """Who keeps the results of a collection before it is deleted; called in the main thread alone."""

    def save(self, item: Item, body: bytes) -> None:
        """Keep ``body`` safely, or raise an ``AnyformatError`` that says why not."""


@dataclass(slots=True)
class _Received:
    """Results on their way to the archive: the thread that got them waits for the main thread's word."""

    item: Item
    body: bytes
    answered: bool = False
    refused: AnyformatError | None = None


class Crew:
    """
    Delete collections with a few threads.

    The threads take one id at a time, so that stopping stops at once. Storage belongs to the main thread: outcomes, and
    results to be archived, come to it through a queue, and no thread runs further ahead of the record than
    ``MOST_UNRECORDED``.

    :param client: the client; each thread gets a session of its own.
    :param recorder: keeps the outcomes.
    :param workers: number of threads.
    :param archive: keeps each collection's results before it is deleted; ``None`` for none.
    :param judge_missing: says whether a missing one (HTTP 404) is a failure; ``None``: that shows later.
    :param alarm_if_missing: whether ids that are all missing from the start stop the rest.
    """

    def __init__(
        self,
        client: AnyformatClient,
        recorder: Recorder,
        *,
        workers: int,
        archive: Archive | None = None,
        judge_missing: Callable[[Result], Result] | None = None,
        alarm_if_missing: bool = False,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._workers = workers
        self._archive = archive
        self._judge_missing = judge_missing
        self._alarm_if_missing = alarm_if_missing
        self._lock = threading.Lock()
        self._todo: Iterator[Item] = iter(())
        self._total = 0
        self._under_way: dict[str, Item] = {}
        self._reported: deque[Result | _Received] = deque()
        self._threads: list[threading.Thread] = []
        self._finished = 0
        self._missing = 0
        self._in_a_row = 0
        self._deleted = 0
        self._paused = False
        self._grace_ends: float | None = None
        self._wound_down = False
        self.halted_by: Result | None = None
        self.alarm = False

    def run(
        self,
        items: Iterable[Item],
        total: int,
        *,
        look_again: Callable[[], None] | None = None,
        look_interval: float = 3600.0,
    ) -> list[Item]:
        """
        Delete ``items`` and return those that were not attempted, because something stopped the rest.

        :param items: what to delete; taken one at a time.
        :param total: how many they are, for the progress lines.
        :param look_again: called in the main thread every ``look_interval`` seconds, while nothing is under way; it
            sees to it that ``items`` skips what is no longer due.
        :raises AnyformatStoppedError: the task was told to stop; everything known was recorded.
        """
        self._todo, self._total = iter(items), total
        started = time.monotonic()
        shown_at = looked_at = started
        self._threads = [
            threading.Thread(target=self._work, name=f"anyformat-delete-{number}", daemon=True)
            for number in range(min(self._workers, max(total, 1)))
        ]
        try:
            for thread in self._threads:
                thread.start()
            while any(thread.is_alive() for thread in self._threads) or self._reported:
                self._take_reported()
                self._recorder.tick()
                if look_again is not None and time.monotonic() - looked_at >= look_interval:
                    self._look(look_again)
                    looked_at = time.monotonic()
                self._raise_if_stopped()
                if time.monotonic() - shown_at >= PROGRESS_INTERVAL:
                    shown_at = time.monotonic()
                    self._show_progress(shown_at - started)
                time.sleep(_POLL)
            # A signal that came when the threads were through must not leave the task green.
            self._raise_if_stopped()
            self._recorder.flush()
        except BaseException:
            to_the_end(self.wind_down)
            raise
        if self._alarm_if_missing and MISSING_OF_ALL <= self._missing == self._finished:
            self.alarm = True
        return list(self._todo)

    def _raise_if_stopped(self) -> None:
        if self._client.stop_at() is not None:
            raise AnyformatStoppedError("the task was told to stop; what is not deleted yet stays")

    def wind_down(self) -> None:
        """
        Record what is known at once, and what is under way as unknown; then wait a little for the latter.

        It goes on where it stood if a signal's exception cut it short, and does nothing when it is through.
        """
        if self._wound_down:
            return
        self._client.stop(GRACE)
        if self._grace_ends is None:
            self._grace_ends = time.monotonic() + GRACE
        self._take_reported()
        with self._lock:
            under_way = list(self._under_way.values())
        for item in under_way:
            self._recorder.record(
                Result(item, "unknown", message="it was under way when the task had to end", retryable=True)
            )
        self._flush_if_possible()
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < self._grace_ends:
            time.sleep(_POLL)
            self._take_reported()
        self._take_reported()
        self._flush_if_possible()
        self._wound_down = True

    def _flush_if_possible(self) -> None:
        try:
            self._recorder.flush()
        except AnyformatError as error:
            # The recorder has told the log what it could not write; why the run ends is another exception's to say.
            log.error("%s", error)  # noqa: TRY400 - one sentence says it

    def _take_reported(self) -> None:
        """Take what the threads reported; a signal's exception in between loses nothing, for it stays until taken."""
        while self._reported:
            reported = self._reported[0]
            if isinstance(reported, _Received):
                self._save(reported)
            else:
                self._recorder.record(reported)
            self._reported.popleft()

    def _save(self, received: _Received) -> None:
        if self._archive is not None and self._client.stop_at() is None:
            try:
                self._archive.save(received.item, received.body)
            except AnyformatError as error:
                received.refused = error
            received.answered = True

    def _look(self, look_again: Callable[[], None]) -> None:
        with self._lock:
            self._paused = True
        while self._under_way and self._client.stop_at() is None:
            self._take_reported()
            time.sleep(_POLL)
        self._take_reported()
        self._recorder.flush()
        if self._client.stop_at() is None:
            look_again()
        self._paused = False

    def _show_progress(self, elapsed: float) -> None:
        done, rate = self._finished, self._finished / elapsed
        left = f"{duration((self._total - done) / rate)} left" if rate else "time left unknown"
        percent = 100 * done // max(self._total, 1)
        log.info("deleted %s of %s (%s %%), %.1f/s, %s", done, self._total, percent, rate, left)

    def _work(self) -> None:
        while (item := self._next()) is not None:
            result = self._delete(item)
            with self._lock:
                self._count(result)
                self._reported.append(result)
                del self._under_way[item.collection_id]

    def _next(self) -> Item | None:
        while True:
            with self._lock:
                if self.halted_by is not None or self.alarm or self._client.stop_at() is not None:
                    return None
                ahead = len(self._under_way) + len(self._reported) + self._recorder.unwritten
                if not self._paused and ahead < MOST_UNRECORDED:
                    item = next(self._todo, None)
                    if item is not None:
                        self._under_way[item.collection_id] = item
                    return item
            time.sleep(_POLL)

    def _count(self, result: Result) -> None:
        """Draw the conclusions from one more outcome; the caller holds the lock."""
        self._finished += result.outcome != "not_attempted"
        if result.outcome == "missing":
            self._missing += 1
            if self._alarm_if_missing and MISSING_AT_THE_START <= self._missing == self._finished:
                self.alarm = True
            if self._judge_missing is not None:
                result = self._judge_missing(result)
        if result.outcome in ("deleted", "already_gone", "no_results"):
            self._in_a_row = 0
        elif result.outcome in ("failed", "unknown"):
            self._in_a_row += 1
        if self.halted_by is None and (result.halts or self._in_a_row >= FAILURES_IN_A_ROW):
            self.halted_by = result

    def _delete(self, item: Item) -> Result:
        try:
            if self._archive is not None:
                self._archive_results(item)
            outcome = self._client.delete_file_collection(item.collection_id)
        except _NoResultsError:
            return Result(item, "no_results", message="it has no results to archive")
        except AnyformatError as error:
            return self._judge(item, error)
        except Exception as error:
            # A mistake of ours must neither lose the record of this delete nor go on with the next.
            log.exception("Deleting collection %s failed unexpectedly", item.collection_id)
            return Result(item, "unknown", message=f"unexpected {type(error).__name__}", halts=True)
        return Result(
            item,
            str(outcome),
            http_status=outcome.http_status,
            error_code=outcome.error_code,
            request_id=outcome.request_id,
            attempts=outcome.attempts,
            deleted_at=datetime.now(UTC) if outcome == "deleted" else None,
            server_date=outcome.server_date,
        )

    def _judge(self, item: Item, error: AnyformatError) -> Result:
        if isinstance(error, AnyformatNotFoundError):
            outcome = "missing"
        elif error.fate_unknown:
            outcome = "unknown"
        else:
            # A rate limit that is known to be used up for too long ends a call before it is sent.
            unsent = isinstance(error, AnyformatRateLimitError) and not error.attempts
            outcome = "not_attempted" if unsent or isinstance(error, AnyformatStoppedError) else "failed"
        wait = error.retry_after
        return Result(
            item,
            outcome,
            http_status=error.status_code,
            error_code=error.error_code,
            request_id=error.request_id,
            attempts=error.attempts,
            server_date=error.server_date,
            message=str(error),
            retryable=error.retryable,
            halts=error.status_code in _HALTING_STATUSES or (wait is not None and wait > self._client.max_backoff),
        )

    def _archive_results(self, item: Item) -> None:
        try:
            body = self._client.get_results(item.workflow_id, item.collection_id)
        except AnyformatError as error:
            if error.status_code in (404, 412) and item.status in _MAY_HAVE_NO_RESULTS:
                raise _NoResultsError from None
            # No answer, maybe, but no delete either.
            error.fate_unknown = False
            raise
        received = _Received(item, body)
        self._reported.append(received)
        while not received.answered:
            if self._client.stop_at() is not None:
                raise AnyformatStoppedError(
                    f"collection {item.collection_id}: not archived, because the task has to end"
                )
            time.sleep(_POLL)
        if received.refused is not None:
            raise received.refused


def duration(seconds: float) -> str:
    """Write seconds as a person would: ``2 h 5 min``, ``6 min 27 s``, ``9 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
