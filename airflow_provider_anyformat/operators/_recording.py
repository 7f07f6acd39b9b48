"""What became of each collection: counted, and written to the ledger or the task log."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.operators._deleting import MOST_UNRECORDED, Item, Result
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.plan import PurgePlan, canonical, utc_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_IDS_A_LINE = 20
# What a summary says of an outcome: nobody knows whether an "unknown" one is gone, so it is a failure.
_COUNTED_AS = {
    "deleted": "deleted",
    "already_gone": "already_gone",
    "gone_unconfirmed": "already_gone",
    "failed": "failed",
    "unknown": "failed",
    "not_attempted": "not_attempted",
}
# Outcomes of planned collections that are kept for a good reason; "not_attempted" in the ledger, but no failure.
KEPT_AFTER_ALL = frozenset({"no_results", "no_longer_due"})

log = logging.getLogger(__name__)


class OutcomeRecorder:
    """
    Keep the outcomes of one run; all of it belongs to the main thread.

    :param ledger: where they are written; ``None``: the ids go to the task log.
    :param judge_missing: says what an id is for which anyformat answered HTTP 404; default: it stays ``missing`` until
        :meth:`record` is called again, and is ``unknown`` in the ledger until then.
    """

    def __init__(self, ledger: Ledger | None, judge_missing: Callable[[Result], Result] | None = None) -> None:
        self._ledger = ledger
        self._judge_missing = judge_missing
        # Counted when asked: a signal's exception may come between any two steps, and the same outcome a second time.
        self._outcomes: dict[str, str] = {}
        self._gone: list[str] = []
        self._broken = False
        self.unwritten = 0
        self.failures: dict[str, Result] = {}
        self.missing: dict[str, Item] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many were deleted, already gone, failed and not attempted, as the summary has it."""
        counts = dict.fromkeys(("deleted", "already_gone", "failed", "not_attempted"), 0)
        for outcome, number in Counter(self._outcomes.values()).items():
            if outcome not in KEPT_AFTER_ALL:
                counts[_COUNTED_AS[outcome]] += number
        return counts

    @property
    def kept(self) -> Counter[str]:
        """How many planned ones were kept after all, by reason."""
        return Counter(outcome for outcome in self._outcomes.values() if outcome in KEPT_AFTER_ALL)

    @property
    def handled(self) -> int:
        """Of how many something is known."""
        return len(self._outcomes)

    @property
    def has_unknown(self) -> bool:
        """Whether of some nobody knows what became of them."""
        return "unknown" in self._outcomes.values()

    def record(self, result: Result) -> None:
        """Keep one outcome; a later one for the same id replaces it."""
        item = result.item
        self.missing.pop(item.collection_id, None)
        if result.outcome == "missing" and self._judge_missing is not None:
            result = self._judge_missing(result)
        outcome = result.outcome
        if outcome == "missing":
            self.missing[item.collection_id] = item
            outcome = "unknown"
        self._outcomes[item.collection_id] = outcome
        if outcome in KEPT_AFTER_ALL:
            log.info("Collection %s stays: %s", item.collection_id, result.message)
            outcome = "not_attempted"
        self._note_failure(result)
        self.write(
            Outcome(
                item.collection_id,
                item.workflow_id or None,
                outcome,
                result.http_status,
                result.error_code,
                result.request_id,
                result.attempts,
                utc_text(result.deleted_at),
                result.server_date,
            )
        )

    def write(self, outcome: Outcome) -> None:
        """Hand one row to the ledger or the log."""
        self.unwritten += 1
        if self._ledger is not None:
            self._ledger.record(outcome)
            if self._broken:
                self._tell_unwritten(self._ledger)
        elif outcome.outcome in ("deleted", "already_gone", "gone_unconfirmed"):
            self._gone.append(outcome.collection_id)

    def tick(self) -> None:
        """
        Write what has to be written by now.

        :raises AnyformatLedgerError: it could not be written.
        """
        # Half of what may be lost, so that the threads go on while the other half is being written.
        if self.unwritten >= MOST_UNRECORDED // 2 or (self._ledger is not None and self._ledger.due()):
            self.flush()

    def flush(self) -> None:
        """
        Write everything now.

        :raises AnyformatLedgerError: it could not be written, for the first time; every outcome went to the log
            instead.
        """
        if self._ledger is not None and self._broken:
            self._tell_unwritten(self._ledger)
        elif self._ledger is not None:
            try:
                self._ledger.flush()
            except AnyformatLedgerError:
                self._broken = True
                self._tell_unwritten(self._ledger)
                raise
        while self._gone:
            log.info("deleted: %s", ", ".join(self._gone[:_IDS_A_LINE]))
            del self._gone[:_IDS_A_LINE]
        self.unwritten = 0

    def close(self, summary: Mapping[str, Any]) -> None:
        """
        Write the rest and the summary; a ledger that broke before stays as it is.

        :raises AnyformatLedgerError: it could not be written.
        """
        self.flush()
        if self._ledger is not None and not self._broken:
            self._ledger.close(dict(summary))

    def _note_failure(self, result: Result) -> None:
        collection_id = result.item.collection_id
        if result.outcome in ("failed", "unknown"):
            self.failures[collection_id] = result
            log.warning("Collection %s: %s: %s", collection_id, result.outcome, result.message)
        else:
            self.failures.pop(collection_id, None)

    def _tell_unwritten(self, ledger: Ledger) -> None:
        for outcome in ledger.unwritten:
            log.error("not in the ledger, which broke: %s", canonical(asdict(outcome)).decode().strip())
            ledger.forget(outcome)
        self.unwritten = 0


def make_summary(
    plan: PurgePlan, recorder: OutcomeRecorder, ledger: Ledger | None, unhandled: int = 0
) -> dict[str, Any]:
    """
    Return the summary of a run; it stays small at any size.

    :param unhandled: planned ids of which nothing is known, because the run had to end.
    """
    counts = recorder.counts
    kept = dict(sorted((recorder.kept + Counter(plan.kept)).items()))
    plan_path, plan_digest = None if ledger is None else ledger.url, plan.digest
    if plan.applied is not None:
        plan_path, plan_digest = plan.applied.plan_path, plan.applied.plan_digest
    return {
        "workflow_ids": list(plan.workflow_ids),
        "cutoff": utc_text(plan.cutoff),
        "listed": plan.listed,
        "due": plan.due,
        "requested": counts["deleted"] + counts["already_gone"] + counts["failed"],
        "deleted": counts["deleted"],
        "already_gone": counts["already_gone"],
        "failed": counts["failed"],
        "not_attempted": counts["not_attempted"] + unhandled,
        "kept": kept,
        "plan_path": plan_path,
        "plan_digest": plan_digest,
        "ledger": None if ledger is None else ledger.url,
    }
