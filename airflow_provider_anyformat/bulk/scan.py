"""Reading workflows completely, and deciding on the way what is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.exceptions import AnyformatListingError
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection, conclude, select

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.api.models import Page
    from airflow_provider_anyformat.retention.policy import PlannedRow

# How many readings of a workflow may turn out incomplete before the task fails.
PASSES = 3
PROGRESS_INTERVAL = 15.0
_CLOCKS_APART = timedelta(days=1)

log = logging.getLogger(__name__)


class Scan:
    """
    One complete reading of some workflows.

    :param scanner: what read them.
    :param selections: what is due, a concluded selection for each workflow.
    :param now: the moment of the decision: the earlier of the worker's clock and the server's.
    :param watched: where in its workflow's reading each id stood, in canonical form, whose reason :meth:`reason` has to
        know.
    """

    def __init__(
        self, scanner: Scanner, selections: list[Selection], now: datetime, watched: dict[str, dict[str, int]]
    ) -> None:
        self.selections = selections
        self.now = now
        self._scanner = scanner
        self._watched = watched

    def again(self) -> Scan:
        """Read the same workflows once more, and decide by the same policy."""
        return self._scanner.scan()

    def shown_by(self, collection_id: str) -> list[str]:
        """Return the workflows that still have a collection; it may have moved from one to another."""
        return [each.workflow_id for each in self.selections if each.reading.shows(collection_id)]

    def reason(self, workflow_id: str, collection_id: str) -> str:
        """Return the reason of a watched id that is shown."""
        selection = next(each for each in self.selections if each.workflow_id == workflow_id)
        return selection.reason_at(self._watched[workflow_id][canonical_id(collection_id)])


class _Clocks:
    """The moment of the decision, once for all workflows: the earlier of the worker's clock and the server's."""

    def __init__(self) -> None:
        self.now = datetime.max.replace(tzinfo=UTC)

    def compare(self, server_date: datetime | None) -> None:
        """
        Compare the worker's clock with the server's; the first answer says what time it is.

        :raises AnyformatListingError: they are too far apart, or the server does not say its time.
        """
        worker = datetime.now(UTC)
        if server_date is None:
            raise AnyformatListingError(
                "the server's answer has no readable Date header, so nothing tells whether the worker's clock is right",
                retryable=False,
            )
        if abs(worker - server_date) > _CLOCKS_APART:
            raise AnyformatListingError(
                f"the worker's clock says {worker:%Y-%m-%d %H:%M} UTC and the server's {server_date:%Y-%m-%d %H:%M}:"
                " more than a day apart, so no age can be trusted; set the worker's clock",
                retryable=False,
            )
        self.now = min(self.now, worker, server_date)


class Scanner:
    """
    Read workflows' listings, and again if one was not complete.

    :param client: the client.
    :param workflow_ids: the workflows.
    :param policy: what is due.
    :param watched: ids, in canonical form, whose reason the scan has to know, whatever it is; default none.
    """

    def __init__(
        self,
        client: AnyformatClient,
        workflow_ids: Sequence[str],
        policy: RetentionPolicy,
        watched: Collection[str] = (),
    ) -> None:
        self._client = client
        self._workflow_ids = workflow_ids
        self._policy = policy
        self._watched = watched

    def scan(self) -> Scan:
        """
        List every workflow from its first page to its last.

        :raises AnyformatListingError: one was incomplete three times over, or the clocks cannot be trusted.
        :raises AnyformatError: the server refused, or did not answer.
        """
        clocks = _Clocks()
        selections = [self._read_workflow(workflow_id, clocks) for workflow_id in self._workflow_ids]
        conclude(selections)
        watched = {each.workflow_id: each.reading.positions(self._watched) for each in selections if self._watched}
        self._hold_by_files(selections)
        return Scan(self, selections, clocks.now, watched)

    def _hold_by_files(self, selections: list[Selection]) -> None:
        """Find what is on hold by the id of a file, where an id on hold is listed nowhere and may be one."""
        readings = [each.reading for each in selections]
        if all(any(reading.shows(held) for reading in readings) for held in selections[0].held_ids):
            return
        shown_at, looked = time.monotonic(), 0

        def files(collection_id: str) -> Collection[str]:
            nonlocal shown_at, looked
            looked += 1
            if time.monotonic() - shown_at >= PROGRESS_INTERVAL:
                shown_at = time.monotonic()
                log.info("looked at the files of %s collections, because an id on hold may be one of theirs", looked)
            return self._client.unlisted_file_ids(collection_id)

        for selection in selections:
            selection.hold_by_files(files)

    def _read_workflow(self, workflow_id: str, clocks: _Clocks) -> Selection:
        for number in range(1, PASSES + 1):
            pages = self._pages(workflow_id, clocks)
            try:
                # The decision's time is known when the first page is there.
                first = next(pages)
                return select(chain([first], pages), self._policy, clocks.now, workflow_id)
            except AnyformatListingError as error:
                if not error.retryable or number == PASSES:
                    error.args = (f"{error.args[0]}; nothing was deleted",)
                    raise
                log.warning("%s; reading it again", error)
            self._client.sleep(self._client.backoff * number, f"listing of workflow {workflow_id}")
        raise RuntimeError("unreachable: the last pass returns or raises")

    def _pages(self, workflow_id: str, clocks: _Clocks) -> Iterator[Page]:
        shown_at, seen = time.monotonic(), 0
        for page in self._client.iter_pages(workflow_id):
            clocks.compare(page.server_date)
            yield page
            seen += len(page.collections)
            self._client.check_stopped(f"listing of workflow {workflow_id}")
            if time.monotonic() - shown_at >= PROGRESS_INTERVAL:
                shown_at = time.monotonic()
                total = "" if page.count is None else f" of {page.count}"
                log.info("listed %s%s collections of workflow %s", seen, total, workflow_id)


def due_both_times(rows: Iterable[PlannedRow], selections: Iterable[Selection]) -> list[PlannedRow]:
    """
    Return those of an earlier plan's ``rows`` that a later look finds due again, in their order.

    :param rows: what is left to do.
    :param selections: the finished selections of the later look, by the same policy.
    """
    again = {(canonical_id(row.collection_id), row.workflow_id) for selection in selections for row in selection.due}
    return [row for row in rows if (canonical_id(row.collection_id), row.workflow_id) in again]
