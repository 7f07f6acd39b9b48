"""What became of each collection: counted, and written to the ledger or the task log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_anyformat.bulk.outcome import MOST_UNRECORDED
from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.earlier import MAYBE_DELETED
from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
from airflow_provider_anyformat.retention.reasons import KEPT_AFTER_ALL

_IDS_A_LINE = 20
# A kill loses the ids of at most this many seconds from the log.
_LOG_SECONDS = 15.0

log = logging.getLogger(__name__)


class Recorder:
    """
    Keep the outcomes of one run; all of it belongs to the main thread.

    :param ledger: where they are written; ``None``: the ids go to the task log.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        # Counted when asked: a signal's exception may come between any two steps, and the same outcome a second time.
        self._outcomes: dict[str, str] = {}
        self._gone: list[str] = []
        self._broken = False
        self._waiting_since = 0.0
        self.unwritten = 0
        self.failures: dict[str, Outcome] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many were deleted, already gone, failed and not attempted, as the summary has it."""
        numbers = Counter(self._outcomes.values())
        return {
            "deleted": numbers["deleted"],
            "already_gone": numbers["already_gone"] + numbers["gone_unconfirmed"],
            # It is not known whether an "unknown" one is gone, so it is a failure.
            "failed": numbers["failed"] + numbers["unknown"],
            "not_attempted": numbers["not_attempted"],
        }

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
        """Whether it is not known of some what became of them."""
        return "unknown" in self._outcomes.values()

    @property
    def maybe_deleted(self) -> list[str]:
        """The ids that this try may have deleted."""
        return [name for name, outcome in self._outcomes.items() if outcome in MAYBE_DELETED]

    def record(self, outcome: Outcome) -> None:
        """Keep one outcome; a later one for the same id replaces it."""
        name = outcome.collection_id
        self._outcomes[name] = outcome.outcome
        if outcome.outcome in KEPT_AFTER_ALL:
            log.info("Collection %s stays: %s", name, outcome.message)
            outcome = replace(outcome, outcome="not_attempted")
        if outcome.outcome in ("failed", "unknown"):
            # What is wrong with the key or the account is said of the first alone: it is true of all in flight.
            if not (outcome.fatal and any(each.fatal for each in self.failures.values())):
                log.warning("Collection %s: %s: %s", name, outcome.outcome, outcome.message)
            self.failures[name] = outcome
        else:
            self.failures.pop(name, None)
        self._write(outcome)

    def _write(self, outcome: Outcome) -> None:
        if not self.unwritten:
            self._waiting_since = time.monotonic()
        self.unwritten += 1
        if self._ledger is not None:
            self._ledger.record(outcome)
            if self._broken:
                self._log_unwritten(self._ledger)
        elif outcome.is_gone:
            self._gone.append(outcome.collection_id)

    def tick(self) -> None:
        """
        Write what has to be written by now.

        :raises AnyformatLedgerError: it could not be written.
        """
        # Half of what may be lost, so that the threads go on while the other half is being written.
        if self.unwritten >= MOST_UNRECORDED // 2 or self._is_late():
            self.flush()

    def _is_late(self) -> bool:
        if self._ledger is not None:
            return self._ledger.due()
        return self.unwritten > 0 and time.monotonic() - self._waiting_since >= _LOG_SECONDS

    def flush(self) -> None:
        """
        Write everything now.

        :raises AnyformatLedgerError: it could not be written, for the first time; every outcome went to the log
            instead.
        """
        if self._ledger is not None and self._broken:
            self._log_unwritten(self._ledger)
        elif self._ledger is not None:
            try:
                self._ledger.flush()
            except AnyformatLedgerError:
                self._broken = True
                self._log_unwritten(self._ledger)
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
            if self.has_unknown:
                self._ledger.leave_open()
            self._ledger.close(dict(summary))

    def _log_unwritten(self, ledger: Ledger) -> None:
        for outcome in ledger.unwritten:
            log.error("not in the ledger, which broke: %s", outcome.line().decode().strip())
            ledger.forget(outcome)
        self.unwritten = 0
