"""A bulk delete from its plan to its summary: what the operators for many collections share."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.quota import QuotaGate
from airflow_provider_anyformat.exceptions import (
    AnyformatBulkError,
    AnyformatError,
    AnyformatStoppedError,
    AnyformatValueError,
)
from airflow_provider_anyformat.operators._deleting import Archive, Crew, Item, Result
from airflow_provider_anyformat.operators._recording import OutcomeRecorder, make_summary
from airflow_provider_anyformat.operators._showing import plan_markdown, plan_table
from airflow_provider_anyformat.operators._task import to_the_end
from airflow_provider_anyformat.retention.ledger import Ledger
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan, due_both_times
from airflow_provider_anyformat.retention.settling import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.operators._listing import Listing, Reader
    from airflow_provider_anyformat.retention.storage import Folder

# Seconds after which a purge that is still deleting lists and decides again.
SECOND_LOOK_INTERVAL = 3600.0
_NAMED = 20

log = logging.getLogger(__name__)


class BulkRun:
    """
    Carry out one plan: record it, delete, record that, and say what came of it.

    :param client: the client; it is paced from now on.
    :param plan: what to delete.
    :param root: the ledger's folder; ``None`` for no ledger.
    :param workers: number of threads.
    :param quota_reserve: share of each window that is left to others.
    :param push: keeps a value under a key where other tasks find it; the summary, before a failing task raises.
    :param archive: keeps results before a collection is deleted.
    :param gone: planned ids that the listing does not show any more; they are recorded and not asked for.
    :param judge_missing: see :class:`OutcomeRecorder`.
    :param alarm_if_missing: see :class:`Crew`.
    """

    def __init__(
        self,
        client: AnyformatClient,
        plan: PurgePlan,
        root: Folder | None,
        *,
        workers: int,
        quota_reserve: float,
        push: Callable[[str, Any], None],
        archive: Archive | None = None,
        gone: Collection[str] = (),
        judge_missing: Callable[[Result], Result] | None = None,
        alarm_if_missing: bool = False,
    ) -> None:
        self.plan = plan
        self._client = client
        self._root = root
        self._push = push
        self._ledger = None if root is None else Ledger(root, plan.origin)
        self._recorder = OutcomeRecorder(self._ledger, judge_missing)
        self._crew = Crew(
            client,
            self._recorder,
            workers=workers,
            archive=archive,
            judge_missing=judge_missing,
            alarm_if_missing=alarm_if_missing,
        )
        self._next_row = 0
        self._gone = gone
        # What is not asked for, although it is in the plan.
        self._left_out: set[str] = set()
        if client.gate is None:
            client.gate = QuotaGate(quota_reserve, client.max_backoff)

    def only_plan(self) -> dict[str, Any]:
        """Record and show the plan, delete nothing, and return the summary."""
        if self._ledger is not None:
            self._ledger.write_plan(self.plan)
        log.info("%s", plan_table(self.plan))
        for sentence in (*self.plan.tripped.values(), *self.plan.not_applicable):
            log.warning("%s", sentence)
        summary = make_summary(self.plan, self._recorder, self._ledger)
        self._recorder.close(summary)
        self._push("summary", summary)
        self._push("plan_markdown", plan_markdown(self.plan))
        log_end(summary, self.plan)
        return summary

    def carry_out(self, listing: Listing | None = None, reader: Reader | None = None) -> dict[str, Any]:
        """
        Check the guards, delete what is planned, and return the summary.

        :param listing: the complete listing that the plan was made of; ``None`` where only ids were given.
        :param reader: lists again, for a second look and for what was missing; given with ``listing``.
        :raises AnyformatError: a guard tripped, or something was not deleted.
        """
        if self._ledger is not None:
            self._ledger.write_plan(self.plan)
        if self.plan.tripped:
            self._end()
            raise AnyformatValueError("\n".join(self.plan.tripped.values()))
        try:
            if listing is not None:
                self._settle(listing)
            self._record_gone()
            left = self._crew.run(
                self._items(),
                len(self.plan.rows) - len(self._left_out),
                look_again=None if reader is None else lambda: self._look_again(reader),
                look_interval=SECOND_LOOK_INTERVAL,
            )
            for item in left:
                self._recorder.record(Result(item, "not_attempted"))
                self._recorder.tick()
            if reader is not None and self._recorder.missing:
                self._confirm_missing(reader)
            summary = self._end()
        except BaseException as error:
            self._end_badly(error)
            raise
        failure = self._failure(summary)
        if failure is not None:
            raise failure
        return summary

    def _items(self) -> Iterator[Item]:
        for number, row in enumerate(self.plan.rows):
            self._next_row = number + 1
            if row.collection_id not in self._left_out:
                yield Item(row.collection_id, row.workflow_id or "", row.status or "")

    def _settle(self, listing: Listing) -> None:
        if self._root is None or self._ledger is None:
            return

        def shows(collection_id: str) -> bool:
            if self._client.stop_at() is not None:
                raise AnyformatStoppedError("the task was told to stop; nothing was deleted yet")
            return bool(listing.shown_by(collection_id))

        settled = settle(
            self._root,
            self._ledger,
            self.plan.origin,
            workflow_ids=self.plan.workflow_ids,
            shows=shows,
            planned={row.collection_id for row in self.plan.rows},
        )
        for sentence in settled.warnings:
            log.warning("%s", sentence)
        if settled.outcomes:
            log.info(
                "%s collections that an earlier run left open when it was killed are gone: gone_unconfirmed",
                len(settled.outcomes),
            )

    def _record_gone(self) -> None:
        for row in self.plan.rows:
            if row.collection_id in self._gone:
                self._left_out.add(row.collection_id)
                self._recorder.record(Result(Item(row.collection_id, row.workflow_id or ""), "gone_unconfirmed"))
                self._recorder.tick()

    def _look_again(self, reader: Reader) -> None:
        log.info("this purge has been deleting for a while: listing and deciding again")
        rows = self.plan.rows[self._next_row :]
        listing = reader.read()
        due = {row.collection_id for row in due_both_times(rows, listing.selections)}
        left_out_before = len(self._left_out)
        for row in rows:
            if row.collection_id in due or row.collection_id in self._left_out:
                continue
            self._left_out.add(row.collection_id)
            item = Item(row.collection_id, row.workflow_id or "")
            if listing.shown_by(item.collection_id):
                self._recorder.record(Result(item, "no_longer_due", message="it is no longer due"))
            else:
                self._recorder.record(Result(item, "gone_unconfirmed"))
        if len(self._left_out) > left_out_before:
            number = len(self._left_out) - left_out_before
            log.warning("%s planned collections are gone, or stay: no longer due", number)

    def _confirm_missing(self, reader: Reader) -> None:
        """A collection that was listed a moment ago and is missing now may be gone, or the answer may be wrong."""
        missing = dict(self._recorder.missing)
        log.info("%s collections that had been listed were missing (HTTP 404): listing once more", len(missing))
        listing = reader.read()
        for collection_id, item in missing.items():
            if listing.shown_by(collection_id):
                sentence = "still_listed: HTTP 404 for a delete, but the listing still shows it"
                result = Result(item, "failed", 404, "still_listed", message=sentence, retryable=True)
            else:
                result = Result(item, "already_gone", 404)
            self._recorder.record(result)
            self._recorder.tick()

    def _end(self) -> dict[str, Any]:
        summary = make_summary(self.plan, self._recorder, self._ledger)
        self._close(summary)
        self._push("summary", summary)
        log_end(summary, self.plan)
        return summary

    def _close(self, summary: dict[str, Any]) -> None:
        self._recorder.flush()
        if self._ledger is not None and self._recorder.has_unknown:
            self._ledger.leave_open()
        self._recorder.close(summary)

    def _end_badly(self, error: BaseException) -> None:
        """Close the ledger whatever happened; the exception under way is the one that counts."""

        def end() -> None:
            self._crew.wind_down()
            unhandled = len(self.plan.rows) - self._recorder.handled
            summary = make_summary(self.plan, self._recorder, self._ledger, unhandled)
            steps = [partial(self._close, summary)]
            if isinstance(error, AnyformatError):
                steps.append(partial(self._push, "summary", summary))
            for step in steps:
                try:
                    step()
                except Exception as trouble:  # noqa: BLE001 - whatever it is, it must not hide why the run ended
                    log.error("%s", trouble)  # noqa: TRY400 - one sentence says it
            log.error("the run had to end: %s", summary)

        to_the_end(end)

    def _failure(self, summary: dict[str, Any]) -> AnyformatError | None:
        crew, failures = self._crew, list(self._recorder.failures.values())
        if crew.alarm:
            return AnyformatBulkError(
                "HTTP 404 for every collection so far, so the rest was not asked for. Likely causes: the API key is"
                " another organisation's, file_id was passed where collection_id is needed, or the list is an old one",
                status_code=404,
                retryable=False,
            )
        if not failures and not summary["not_attempted"]:
            return None
        named = ", ".join(result.item.collection_id for result in failures[:_NAMED])
        more = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
        message = (
            f"{len(failures)} of {len(self.plan.rows)} file collections are not known to be deleted: {named}{more}"
        )
        halted = crew.halted_by
        if halted is not None:
            message += f". {summary['not_attempted']} were not attempted, because of: {halted.message}"
        elif failures:
            message += f". The first says: {failures[0].message}"
        retryable = any(result.retryable for result in failures)
        if halted is not None and halted.halts:
            retryable = halted.retryable
        first = halted or failures[0]
        return AnyformatBulkError(
            message, status_code=first.http_status, error_code=first.error_code, retryable=retryable
        )


def make_plan(listing: Listing, guards: Guards, origin: Origin) -> PurgePlan:
    """Make the plan of a complete listing."""
    plan = PurgePlan.of_selections(listing.selections, guards=guards, origin=origin, now=listing.now)
    if not listing.contradictory:
        return plan
    return replace(plan, kept=dict(Counter(plan.kept) + Counter(contradictory=listing.contradictory)))


def plan_of_ids(collection_ids: Sequence[str], held: Sequence[str], guards: Guards, origin: Origin) -> PurgePlan:
    """Make the plan of ids that were handed over."""
    return PurgePlan.of_ids(collection_ids, held=held, guards=guards, origin=origin, now=datetime.now(UTC))


def log_plan(plan: PurgePlan) -> None:
    """Say in one line what was listed, what is due, and what is kept and why; a list has no other line."""
    kept = ", ".join(f"{reason} {number}" for reason, number in sorted(plan.kept.items())) or "none"
    level = logging.WARNING if plan.anomalies else logging.INFO
    log.log(level, "listed %s, due %s, to be deleted %s, kept: %s", plan.listed, plan.due, len(plan.rows), kept)
    log_unmatched(plan)


def log_unmatched(plan: PurgePlan) -> None:
    """Warn of legal holds that name nothing: they may be misspelt."""
    if plan.unmatched_holds:
        log.warning(
            "exclude_collection_ids: %s of the holds matched no listed collection: %s",
            len(plan.unmatched_holds),
            ", ".join(plan.unmatched_holds[:_NAMED]),
        )


def log_end(summary: dict[str, Any], plan: PurgePlan) -> None:
    """Say the ledger, then the end in one line: a warning where rows are kept that somebody should look into."""
    if summary["ledger"]:
        # A line of its own, for the log's page cuts off what is long.
        log.info("ledger: %s", summary["ledger"])
    anomalies = ", ".join(f"{reason} {number}" for reason, number in sorted(plan.anomalies.items()))
    log.log(
        logging.WARNING if anomalies or summary["failed"] or summary["not_attempted"] else logging.INFO,
        "done: deleted %s, already gone %s, failed %s, not attempted %s, kept %s%s",
        summary["deleted"],
        summary["already_gone"],
        summary["failed"],
        summary["not_attempted"],
        sum(summary["kept"].values()),
        f", of which somebody should look at {anomalies}" if anomalies else "",
    )
