"""Deleting many collections: a few threads, one row at a time, every outcome handed to the main thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from airflow_provider_anyformat.bulk.outcome import MOST_UNRECORDED, of_delete, of_error, of_row
from airflow_provider_anyformat.bulk.report import duration
from airflow_provider_anyformat.bulk.room import RESULTS_IN_MEMORY, SMALL_RESULT, Room
from airflow_provider_anyformat.bulk.signals import finish_despite_signals
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatNoResultsError, AnyformatTooLongError
from airflow_provider_anyformat.retention.reasons import KEPT_AFTER_ALL

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.bulk.recorder import Recorder
    from airflow_provider_anyformat.retention.archive import Archive
    from airflow_provider_anyformat.retention.ledger import Outcome
    from airflow_provider_anyformat.retention.policy import PlannedRow

# This many failures in a row mean the server or the key is at fault, not the collections.
FAILURES_IN_A_ROW = 20
# All of a list that are missing mean that the ids or the key are wrong; so do the first 20 at a first try.
MISSING_AT_THE_START = 20
MISSING_OF_ALL = 5
# Seconds that answers in flight are waited for when the task has to end.
GRACE = 2.0
PROGRESS_INTERVAL = 15.0
_POLL = 0.02
_MAY_HAVE_NO_RESULTS = frozenset({"error", "cancelled"})
# Answers that say something of this collection, and nothing of the server or the key.
_ITS_OWN = frozenset({400, 404, 409, 412, 422})

log = logging.getLogger(__name__)


class _NotFinalError(Exception):
    """There are no results to archive, but the server does not say that there will be none."""


@dataclass(slots=True)
class _Received:
    """Results on their way to the archive: the thread that got them waits until the main thread says how it went."""

    row: PlannedRow
    body: bytes
    saved: SimpleQueue[AnyformatError | None] = field(default_factory=SimpleQueue)


class DeletePool:
    """
    Delete collections with a few threads.

    The threads take one row at a time, so that stopping stops at once. Storage belongs to the main thread: outcomes,
    and results to be archived, come to it through an inbox, and no thread runs further ahead of the record than
    ``MOST_UNRECORDED``.

    :param client: the client; each thread gets a session of its own.
    :param recorder: keeps the outcomes.
    :param workers: number of threads.
    :param archive: keeps each collection's results before it is deleted; ``None`` for no archive.
    :param resolve_missing: says what became of one for which the answer was HTTP 404; called in the threads.
    :param unlisted: ids that are looked up and never deleted, because no listing shows them.
    :param missing_alarm: this many ids that are all missing from the start stop the rest, and so do all of a list of
        five or more; ``None``: they may be missing.
    """

    def __init__(
        self,
        client: AnyformatClient,
        recorder: Recorder,
        *,
        workers: int,
        archive: Archive | None = None,
        resolve_missing: Callable[[Outcome], Outcome],
        unlisted: Container[str] = frozenset(),
        missing_alarm: int | None = None,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._workers = workers
        self._archive = archive
        self._resolve_missing = resolve_missing
        self._unlisted = unlisted
        self._missing_alarm = missing_alarm
        self._lock = threading.Lock()
        self._todo: Iterator[PlannedRow] = iter(())
        self._total = 0
        self._room = Room(RESULTS_IN_MEMORY)
        self._in_flight: dict[str, PlannedRow] = {}
        self._inbox: deque[Outcome | _Received] = deque()
        # Wakes the main thread. What is in it means nothing: a signal may take a token away, but no outcome.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._finished = 0
        self._missing = 0
        self._in_a_row = 0
        self._paused = False
        self._grace_ends: float | None = None
        self._is_shut_down = False
        self.aborted_by: Outcome | None = None
        self.all_missing = False

    def run(
        self,
        rows: Iterable[PlannedRow],
        total: int,
        *,
        recheck: Callable[[], None] | None = None,
        recheck_interval: float = 3600.0,
    ) -> list[PlannedRow]:
        """
        Delete ``rows`` and return those that were not attempted, because something stopped the rest.

        :param rows: what to delete; taken one at a time.
        :param total: how many they are, for the progress lines.
        :param recheck: called in the main thread every ``recheck_interval`` seconds, while nothing is in flight; it
            makes ``rows`` skip what is no longer due.
        :raises AnyformatStoppedError: the task was told to stop; everything known was recorded.
        """
        self._todo, self._total = iter(rows), total
        started = time.monotonic()
        shown_at = checked_at = started
        self._working = min(self._workers, max(total, 1))
        self._threads = [
            threading.Thread(target=self._work, name=f"anyformat-delete-{number}", daemon=True)
            for number in range(self._working)
        ]
        try:
            for thread in self._threads:
                thread.start()
            while self._working or self._inbox:
                self._drain()
                self._recorder.tick()
                if recheck is not None and time.monotonic() - checked_at >= recheck_interval:
                    self._recheck(recheck)
                    checked_at = time.monotonic()
                self._check_stopped()
                if time.monotonic() - shown_at >= PROGRESS_INTERVAL:
                    shown_at = time.monotonic()
                    self._show_progress(shown_at - started)
                if self._working:
                    self._wait()
            # A signal that came when the threads had ended must not leave the task green.
            self._check_stopped()
            self._recorder.flush()
        except BaseException:
            finish_despite_signals(self.shutdown)
            raise
        if self._missing_alarm is not None and MISSING_OF_ALL <= self._missing == self._finished:
            self.all_missing = True
        return list(self._todo)

    def _check_stopped(self) -> None:
        self._client.check_stopped("deleting the rest")

    def shutdown(self) -> None:
        """
        Record what is known at once, and what is in flight as unknown; then wait a little for the latter.

        It goes on where it stood if a signal's exception cut it short, and does nothing when it is finished.
        """
        if self._is_shut_down:
            return
        self._client.stop(GRACE)
        if self._grace_ends is None:
            self._grace_ends = time.monotonic() + GRACE
        self._drain()
        with self._lock:
            in_flight = list(self._in_flight.values())
        for row in in_flight:
            self._recorder.record(
                of_row(row, "unknown", message="it was in flight when the task had to end", retryable=True)
            )
        self._flush_if_possible()
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < self._grace_ends:
            self._wait()
            self._drain()
        self._drain()
        self._flush_if_possible()
        self._is_shut_down = True

    def _flush_if_possible(self) -> None:
        try:
            self._recorder.flush()
        except AnyformatError as error:
            # The log has what the recorder could not write; why the run ends is for another exception to say.
            log.error("%s", error)  # noqa: TRY400 - one sentence says it

    def _wait(self) -> None:
        """Wait until a thread has something that should not wait, but not for long: a signal rings no bell."""
        with suppress(Empty):
            self._bell.get(timeout=_POLL)

    def _drain(self) -> None:
        """Take what the threads handed over; a signal's exception loses nothing, because it stays until it is taken."""
        while self._inbox:
            first = self._inbox[0]
            if isinstance(first, _Received):
                self._save(first)
            else:
                self._recorder.record(first)
            self._inbox.popleft()

    def _save(self, received: _Received) -> None:
        if self._archive is not None and self._client.stop_at() is None:
            refused = None
            try:
                self._archive.save(received.row, received.body)
            except AnyformatError as error:
                refused = error
            received.saved.put(refused)

    def _recheck(self, recheck: Callable[[], None]) -> None:
        with self._lock:
            self._paused = True
        while self._in_flight and self._client.stop_at() is None:
            self._drain()
            self._wait()
        self._drain()
        self._recorder.flush()
        if self._client.stop_at() is None:
            recheck()
        self._paused = False

    def _show_progress(self, elapsed: float) -> None:
        done, rate = self._finished, self._finished / elapsed
        left = f"{duration((self._total - done) / rate)} left" if rate else "time left unknown"
        percent = 100 * done // max(self._total, 1)
        log.info("deleted %s of %s (%s %%), %.1f/s, %s", done, self._total, percent, rate, left)

    def _work(self) -> None:
        try:
            while (row := self._next()) is not None:
                found = self._delete(row)
                outcome = self._resolve_missing(found) if found.outcome == "missing" else found
                with self._lock:
                    self._count(found, outcome)
                    self._inbox.append(outcome)
                    del self._in_flight[row.collection_id]
        finally:
            with self._lock:
                self._working -= 1
            self._bell.put(None)

    def _next(self) -> PlannedRow | None:
        while True:
            with self._lock:
                if self.aborted_by is not None or self.all_missing or self._client.stop_at() is not None:
                    return None
                ahead = len(self._in_flight) + len(self._inbox) + self._recorder.unwritten
                if not self._paused and ahead < MOST_UNRECORDED:
                    row = next(self._todo, None)
                    if row is not None:
                        self._in_flight[row.collection_id] = row
                    return row
            time.sleep(_POLL)

    def _count(self, found: Outcome, outcome: Outcome) -> None:
        """Draw the conclusions from one more outcome, as it was found and resolved; the caller holds the lock."""
        self._finished += outcome.outcome != "not_attempted"
        if found.outcome == "missing":
            self._missing += 1
            if self._missing_alarm is not None and self._missing_alarm <= self._missing == self._finished:
                self.all_missing = True
        if outcome.is_gone or outcome.outcome in KEPT_AFTER_ALL:
            self._in_a_row = 0
        elif outcome.outcome in ("failed", "unknown") and outcome.http_status not in _ITS_OWN:
            self._in_a_row += 1
        if self.aborted_by is None and (outcome.fatal or self._in_a_row >= FAILURES_IN_A_ROW):
            self.aborted_by = outcome

    def _delete(self, row: PlannedRow) -> Outcome:
        try:
            if row.collection_id in self._unlisted:
                return self._look(row)
            archived = None
            if self._archive is not None:
                try:
                    self._archive_results(row)
                except AnyformatNoResultsError:
                    if row.status not in _MAY_HAVE_NO_RESULTS:
                        raise
                    archived = "none"
            return of_delete(row, self._client.delete_file_collection(row.collection_id), archived)
        except _NotFinalError:
            return of_row(row, "no_results", message="it has no results to archive, and may still get some")
        except AnyformatError as error:
            return of_error(row, error, self._client.max_backoff)
        except Exception as error:
            # A mistake of ours must neither lose the record of this delete nor go on with the next.
            log.exception("Deleting collection %s failed unexpectedly", row.collection_id)
            return of_row(row, "unknown", message=f"unexpected {type(error).__name__}", fatal=True)

    def _look(self, row: PlannedRow) -> Outcome:
        if self._client.is_gone(row.workflow_id or "", row.collection_id):
            return of_row(row, "gone_unconfirmed")
        return of_row(row, "not_listed", message="the server does not say that it is gone, but does not list it either")

    def _archive_results(self, row: PlannedRow) -> None:
        """Have a collection's results archived; a large one is fetched again, alone, so that memory has room for it."""
        try:
            self._archive_within(row, SMALL_RESULT, limit=SMALL_RESULT)
        except AnyformatTooLongError:
            self._archive_within(row, RESULTS_IN_MEMORY)

    def _archive_within(self, row: PlannedRow, room: int, **bounds: int) -> None:
        def check() -> None:
            self._client.check_stopped(f"archiving the results of collection {row.collection_id}")

        with self._room.taken(room, check):
            received = _Received(row, self._fetch(row, **bounds))
            self._inbox.append(received)
            self._bell.put(None)
            while True:
                check()
                with suppress(Empty):
                    refused = received.saved.get(timeout=_POLL)
                    break
        if refused is not None:
            raise refused

    def _fetch(self, row: PlannedRow, **bounds: int) -> bytes:
        try:
            return self._client.get_results(row.workflow_id or "", row.collection_id, **bounds)
        except (AnyformatNoResultsError, AnyformatTooLongError):
            raise
        except AnyformatError as error:
            if error.status_code in (412, 422) and row.status in _MAY_HAVE_NO_RESULTS:
                raise _NotFinalError from None
            # No answer, maybe, but no delete either.
            error.fate_unknown = False
            raise
