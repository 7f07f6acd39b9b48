"""A bulk delete from its plan to its summary: recorded, guarded, deleted, reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.bulk.outcome import of_row
from airflow_provider_anyformat.bulk.pool import DeletePool
from airflow_provider_anyformat.bulk.recorder import Recorder
from airflow_provider_anyformat.bulk.report import log_end, make_summary, plan_markdown, plan_table
from airflow_provider_anyformat.bulk.scan import due_both_times
from airflow_provider_anyformat.bulk.signals import finish_despite_signals
from airflow_provider_anyformat.exceptions import (
    AnyformatBulkError,
    AnyformatError,
    AnyformatStoppedError,
    AnyformatValueError,
)
from airflow_provider_anyformat.retention.archive import Archive
from airflow_provider_anyformat.retention.chain import follow
from airflow_provider_anyformat.retention.folder import Interruptible
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.plan import Origin, PurgePlan
from airflow_provider_anyformat.retention.settling import settle

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.bulk.scan import Scan
    from airflow_provider_anyformat.retention.earlier import Earlier, Store
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.policy import PlannedRow
    from airflow_provider_anyformat.retention.signing import Signer

# Seconds after which a purge that is still deleting lists and decides again.
RECHECK_INTERVAL = 3600.0
_NAMED = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """
    How a run deletes, and where it keeps what.

    :param origin: which run this is.
    :param max_workers: number of threads.
    :param quota_reserve: share of each rate-limit window that is left to others.
    :param ledger: the folder below which the run is recorded; default: no ledger.
    :param signer: signs the run's summary in the ledger; default: it is not signed.
    :param archive: the folder for results, kept before a collection is deleted; default: no archive.
    :param store: what Airflow keeps for the task's later tries; default: nothing is kept.
    :param push: keeps a value under a key where other tasks find it: the summary, before a failing run raises; default:
        nothing is kept.
    """

    origin: Origin
    max_workers: int
    quota_reserve: float
    ledger: Folder | None = None
    signer: Signer | None = None
    archive: Folder | None = None
    store: Store | None = None
    push: Callable[[str, Any], object] = lambda *_: None

    def earlier_runs(self, client: AnyformatClient) -> Folder | None:
        """Return the ledger to read what earlier runs left; a stop of the client ends the reading."""
        if self.ledger is None:
            return None
        return Interruptible(self.ledger, partial(client.check_stopped, "reading the ledger"))


class DeletionRun:
    """
    Carry out one plan: record it, delete, record that, and say what came of it.

    :param client: the client, paced.
    :param plan: what to delete.
    :param options: how.
    :param unlisted: planned ids that the listing does not show; they are looked up and never deleted.
    :param resolve_missing: see :class:`DeletePool`; default: the server says whether it is gone.
    :param missing_alarm: see :class:`DeletePool`.
    :param earlier: told what this try may delete, and what it may have deleted; default: no later try has to know.
    """

    def __init__(
        self,
        client: AnyformatClient,
        plan: PurgePlan,
        options: RunOptions,
        *,
        unlisted: Collection[str] = (),
        resolve_missing: Callable[[Outcome], Outcome] | None = None,
        missing_alarm: int | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        self.plan = plan
        self._tries = earlier
        self._client = client
        self._root = options.earlier_runs(client)
        self._push = options.push
        self._unlisted = set(unlisted)
        self._ledger = None
        if options.ledger is not None:
            self._ledger = Ledger(options.ledger, plan.origin, signer=options.signer)
        self._recorder = Recorder(self._ledger)
        self._pool = DeletePool(
            client,
            self._recorder,
            workers=options.max_workers,
            archive=None if options.archive is None else Archive(options.archive),
            resolve_missing=resolve_missing or self._ask_server,
            unlisted=self._unlisted,
            missing_alarm=missing_alarm,
        )
        # The files of the task's earlier runs.
        self._earlier: dict[str, list[str]] = {}
        self._next_row = 0
        # What is not asked for, although it is in the plan.
        self._skipped: set[str] = set()

    def only_plan(self) -> dict[str, Any]:
        """Record and show the plan, delete nothing, and return the summary."""
        self._write_plan()
        log.info("%s", plan_table(self.plan))
        for sentence in (*self.plan.tripped.values(), *self.plan.not_applicable):
            log.warning("%s", sentence)
        summary = make_summary(self.plan, self._recorder, self._ledger)
        self._close(summary)
        self._push("summary", summary)
        self._push("plan_markdown", plan_markdown(self.plan))
        log_end(summary, self.plan, plan_only=True)
        return summary

    def _write_plan(self) -> None:
        if self._root is None or self._ledger is None:
            return
        self._earlier, warnings = follow(self._root, self._ledger, self.plan.origin)
        for sentence in warnings:
            log.warning("%s", sentence)
        self._ledger.write_plan(self.plan)

    def carry_out(self, scan: Scan | None = None) -> dict[str, Any]:
        """
        Check the guards, delete what is planned, and return the summary.

        :param scan: the complete reading that the plan was made of; default: only ids were given.
        :raises AnyformatError: a guard tripped, or something was not deleted.
        """
        self._write_plan()
        if self.plan.tripped:
            self._end()
            raise AnyformatValueError("\n".join(self.plan.tripped.values()))
        try:
            if scan is not None:
                self._settle(scan)
            if self._tries is not None:
                self._tries.before(row.collection_id for row in self.plan.rows)
            left = self._pool.run(
                self._rows(),
                len(self.plan.rows),
                recheck=None if scan is None else partial(self._recheck, scan),
                recheck_interval=RECHECK_INTERVAL,
            )
            for row in left:
                self._record(of_row(row, "not_attempted"))
            summary = self._end()
        except BaseException as error:
            self._end_badly(error)
            raise
        failure = self._failure(summary)
        if failure is not None:
            raise failure
        return summary

    def _rows(self) -> Iterator[PlannedRow]:
        for number, row in enumerate(self.plan.rows, 1):
            self._next_row = number
            if row.collection_id not in self._skipped:
                yield row

    def _settle(self, scan: Scan) -> None:
        if self._root is None or self._ledger is None:
            return

        def is_gone(workflow_id: str, collection_id: str) -> bool:
            self._client.check_stopped("settling what earlier runs left open")
            return not scan.shown_by(collection_id) and bool(self._client.is_gone(workflow_id, collection_id))

        settled = settle(
            self._root,
            self._ledger,
            self.plan.origin,
            workflow_ids=self.plan.workflow_ids,
            is_gone=is_gone,
            planned={row.collection_id for row in self.plan.rows},
            runs=self._earlier,
        )
        for sentence in settled.warnings:
            log.warning("%s", sentence)
        if settled.outcomes:
            log.info(
                "%s collections that an earlier run left open when it was killed are gone: gone_unconfirmed",
                len(settled.outcomes),
            )

    def _skip(self, outcome: Outcome) -> None:
        self._skipped.add(outcome.collection_id)
        self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        """Record what no thread handed over; there may be thousands, so this is where a stop is looked for."""
        self._client.check_stopped("recording what is not deleted")
        self._recorder.record(outcome)
        self._recorder.tick()

    def _recheck(self, scan: Scan) -> None:
        log.info("this purge has been deleting for a while: listing and deciding again")
        rows = self.plan.rows[self._next_row :]
        again = scan.again()
        due = {row.collection_id for row in due_both_times(rows, again.selections)}
        skipped_before, unlisted_before = len(self._skipped), len(self._unlisted)
        for row in rows:
            if row.collection_id in due or row.collection_id in self._skipped:
                continue
            if again.shown_by(row.collection_id):
                self._skip(of_row(row, "no_longer_due", message="it is no longer due"))
            else:
                self._unlisted.add(row.collection_id)
        if len(self._skipped) > skipped_before:
            log.warning("%s planned collections skipped: no longer due", len(self._skipped) - skipped_before)
        if len(self._unlisted) > unlisted_before:
            number = len(self._unlisted) - unlisted_before
            log.warning("%s planned collections are not listed any more: looking each up", number)

    def _ask_server(self, missing: Outcome) -> Outcome:
        """A collection that was listed and is missing now may be gone, or the answer may be wrong: ask for it."""
        try:
            gone = self._client.is_gone(missing.workflow_id or "", missing.collection_id)
        except AnyformatStoppedError:
            gone = None
        if gone:
            return replace(missing, outcome="already_gone")
        if gone is None:
            return replace(missing, outcome="unknown", retryable=True)
        return replace(
            missing,
            outcome="failed",
            error_code="still_exists",
            message="still_exists: HTTP 404 for a delete, but the collection still exists",
            retryable=True,
        )

    def _end(self) -> dict[str, Any]:
        summary = make_summary(self.plan, self._recorder, self._ledger)
        self._close(summary)
        self._tell_later_tries()
        self._push("summary", summary)
        log_end(summary, self.plan)
        return summary

    def _tell_later_tries(self) -> None:
        if self._tries is not None:
            self._tries.after(self._recorder.maybe_deleted)

    def _close(self, summary: dict[str, Any]) -> None:
        try:
            self._recorder.close(summary)
        finally:
            # What the file cannot say of itself.
            summary["summary_sha256"] = None if self._ledger is None else self._ledger.summary_sha256

    def _end_badly(self, error: BaseException) -> None:
        """Close the ledger whatever happened; the exception that ended the run is the one that counts."""

        def end() -> None:
            self._pool.shutdown()
            unhandled = len(self.plan.rows) - self._recorder.handled
            summary = make_summary(self.plan, self._recorder, self._ledger, unhandled)
            steps: list[Callable[[], object]] = [partial(self._close, summary)]
            if isinstance(error, AnyformatError):
                steps += [self._tell_later_tries, partial(self._push, "summary", summary)]
            for step in steps:
                try:
                    step()
                except Exception as trouble:  # noqa: BLE001 - whatever it is, it must not hide why the run ended
                    log.error("%s", trouble)  # noqa: TRY400 - one sentence says it
            log.error("the run had to end: %s", summary)

        finish_despite_signals(end)

    def _failure(self, summary: dict[str, Any]) -> AnyformatError | None:
        failures = list(self._recorder.failures.values())
        if self._pool.all_missing:
            return AnyformatBulkError(
                "HTTP 404 for every collection so far, so the rest was not asked for. Likely causes:\n"
                "  the API key is another organisation's\n"
                "  file_id was passed where collection_id is needed\n"
                "  the list is an old one",
                status_code=404,
            )
        if not failures and not summary["not_attempted"]:
            return None
        aborted_by = self._pool.aborted_by
        first = aborted_by or failures[0]
        reason = first.message.replace("\n", "\n  ")
        message = f"{len(failures)} of {len(self.plan.rows)} file collections may not have been deleted"
        if aborted_by is not None:
            message += f", {summary['not_attempted']} were not attempted, because of\n  {reason}"
        else:
            message += f". The first says\n  {reason}"
        # A line each, because the log's page cuts off what is long.
        message += "".join(f"\n  {each.collection_id}" for each in failures[:_NAMED])
        message += f"\n  and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
        retryable = any(each.retryable for each in failures)
        if aborted_by is not None and aborted_by.fatal:
            retryable = aborted_by.retryable
        waits = [each.retry_after for each in (first, *failures) if each.retry_after is not None]
        return AnyformatBulkError(
            message,
            status_code=first.http_status,
            error_code=first.error_code,
            retryable=retryable,
            retry_after=max(waits, default=None),
        )
