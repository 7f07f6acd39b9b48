"""Reading workflows completely, and deciding on the way what is due."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.exceptions import AnyformatListingError, AnyformatStoppedError
from airflow_provider_anyformat.operators._deleting import PROGRESS_INTERVAL
from airflow_provider_anyformat.retention.policy import CONTRADICTORY, DUE, RetentionPolicy, Selection

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow_provider_anyformat.api.client import AnyformatClient

# So many readings of a workflow may turn out incomplete before the task fails.
PASSES = 3
_CLOCKS_APART = timedelta(days=1)

log = logging.getLogger(__name__)


class Listing:
    """
    One complete reading of some workflows.

    An id that two workflows show is due in neither: their rows are of one collection, and disagree whose it is.

    :param selections: what is due, a selection for each workflow.
    :param readings: what each workflow's listing shows, in the same order.
    :param now: the moment of the decision: the earlier of the worker's clock and the server's.
    :param watched: where in its workflow's reading each id stood whose reason :meth:`reason` has to know.
    """

    def __init__(
        self,
        selections: list[Selection],
        readings: list[ListingPass],
        now: datetime,
        watched: dict[str, dict[str, int]],
    ) -> None:
        self.selections = selections
        self.now = now
        self._watched = watched
        self._readings = {reading.workflow_id: reading for reading in readings}
        self.contradictory = sum(map(self._drop_what_others_show, selections))

    def _drop_what_others_show(self, selection: Selection) -> int:
        others = [reading for name, reading in self._readings.items() if name != selection.workflow_id]
        if not others:
            return 0
        before = len(selection.due)
        selection.due = [row for row in selection.due if not any(each.shows(row.collection_id) for each in others)]
        return before - len(selection.due)

    def shown_by(self, collection_id: str) -> list[str]:
        """Return the workflows that still have a collection; it may have moved from one to another."""
        return [name for name, reading in self._readings.items() if reading.shows(collection_id)]

    def reason(self, workflow_id: str, collection_id: str) -> str:
        """Return the reason of a watched id that is shown."""
        selection = next(each for each in self.selections if each.workflow_id == workflow_id)
        reason = selection.reason_at(self._watched[workflow_id][collection_id])
        if reason == DUE.reason and self.shown_by(collection_id) != [workflow_id]:
            return CONTRADICTORY.reason
        return reason


class _Clocks:
    """The moment of the decision, once for all workflows: the earlier of the worker's clock and the server's."""

    def __init__(self) -> None:
        self.now = datetime.max.replace(tzinfo=UTC)

    def compare(self, server_date: datetime | None) -> None:
        """
        Hold the worker's clock against the server's; the first answer says what time it is.

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
                " more than a day apart, so that no age can be trusted; set the worker's clock",
                retryable=False,
            )
        self.now = min(self.now, worker, server_date)


class Reader:
    """
    Read workflows' listings, and again if one was not complete.

    :param client: the client.
    :param workflow_ids: the workflows.
    :param policy: what is due.
    :param watched: ids of which the listing has to know the reason, whatever it is; default none.
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

    def read(self) -> Listing:
        """
        List every workflow from its first page to its last.

        :raises AnyformatListingError: one was incomplete three times over, or the clocks cannot be trusted.
        :raises AnyformatError: the server refused, or did not answer.
        """
        clocks = _Clocks()
        selections, readings, watched = [], [], {}
        for workflow_id in self._workflow_ids:
            selection, reading = self._read_workflow(workflow_id, clocks)
            selections.append(selection)
            readings.append(reading)
            if self._watched:
                watched[workflow_id] = reading.positions(self._watched)
        return Listing(selections, readings, clocks.now, watched)

    def _read_workflow(self, workflow_id: str, clocks: _Clocks) -> tuple[Selection, ListingPass]:
        for number in range(1, PASSES + 1):
            try:
                return self._one_pass(workflow_id, clocks)
            except AnyformatListingError as error:
                if not error.retryable or number == PASSES:
                    error.args = (f"{error.args[0]}; nothing was deleted on the strength of it",)
                    raise
                log.warning("%s; reading it again", error)
            self._client.sleep(self._client.backoff * number, f"listing of workflow {workflow_id}")
        raise RuntimeError("unreachable: the last pass returns or raises")

    def _one_pass(self, workflow_id: str, clocks: _Clocks) -> tuple[Selection, ListingPass]:
        reading = ListingPass(workflow_id)
        selection: Selection | None = None
        shown_at = time.monotonic()
        for page in self._client.iter_pages(workflow_id):
            clocks.compare(page.server_date)
            if selection is None:
                selection = Selection(self._policy, clocks.now, workflow_id)
            selection.add(reading.add(page))
            if self._client.stop_at() is not None:
                raise AnyformatStoppedError(f"listing of workflow {workflow_id}: the task was told to stop")
            if time.monotonic() - shown_at >= PROGRESS_INTERVAL:
                shown_at = time.monotonic()
                log.info("listed %s of %s collections of workflow %s", len(reading), page.count, workflow_id)
        reading.finish()
        if selection is None:
            raise AnyformatListingError(f"the listing of workflow {workflow_id} has no page")
        selection.finish(reading.contradicted_positions())
        return selection, reading
