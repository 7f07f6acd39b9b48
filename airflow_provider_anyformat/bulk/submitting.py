"""One document's way through a workflow: submitted once, whatever dies, and its results kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_anyformat.bulk.documents import find_submitted, idempotency_key, sha256, the_one
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatNoResultsError

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.api.runs import Document, RunState
    from airflow_provider_anyformat.bulk.results import ResultsFolder
    from airflow_provider_anyformat.retention.earlier import Store
    from airflow_provider_anyformat.retention.plan import Origin

# Under which key a later try finds the collection's id, with the life that it belongs to.
STORE_KEY = "anyformat_collection"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Try:
    """
    Which try of a task this is.

    :param origin: the run.
    :param life: how often the task was cleared, or its equivalent: 0 for a task that never was.
    :param is_retry: whether an earlier try of the same life may have submitted.
    :param run_started: when the DAG run started.
    :param store: what a later try still knows; ``None`` where Airflow has no such thing.
    """

    origin: Origin
    life: int = 0
    is_retry: bool = False
    run_started: datetime | None = None
    store: Store | None = None

    def recall(self) -> tuple[str, int] | None:
        """Return the id that the last submit kept, and the life of that try."""
        kept = None if self.store is None else self.store.get(STORE_KEY)
        return (str(kept["collection_id"]), int(kept["life"])) if isinstance(kept, dict) else None

    def keep(self, collection_id: str) -> None:
        """Keep the id for a later try; the log has it, too, for one that cannot."""
        if self.store is None:
            return
        try:
            self.store.set(STORE_KEY, {"collection_id": collection_id, "life": self.life})
        except Exception as error:  # noqa: BLE001 - the document is submitted and paid for: go on
            log.warning("collection %s could not be kept for a retry: %s", collection_id, type(error).__name__)


class DocumentRun:
    """
    Submit one document, once.

    :param client: the client.
    :param workflow_id: the workflow.
    :param name: the file name that the server gets.
    :param read: reads the document.
    :param attempt: which try of the task this is.
    :param resubmit: whether a lost reply may be answered by a second submit.
    """

    def __init__(
        self,
        client: AnyformatClient,
        workflow_id: str,
        name: str,
        read: Callable[[], Document],
        attempt: Try,
        *,
        resubmit: bool,
    ) -> None:
        self._client = client
        self._workflow_id = workflow_id
        self._name = name
        self._read = read
        self._try = attempt
        self._resubmit = resubmit

    def submit_once(self) -> str:
        """
        Return the collection of this document: that of an earlier try, else a new one.

        :raises AnyformatError: it was not submitted, or it cannot be told which one it is.
        """
        if self._try.is_retry:
            earlier = self._of_an_earlier_try()
            if earlier is not None:
                log.info("An earlier try submitted %a as collection %s: going on waiting for it", self._name, earlier)
                return earlier
        document = self._read()
        self._leave_behind()
        key = idempotency_key(self._try.origin, self._try.life, 0, self._name, sha256(document.content))
        collection_id = self._client.run_workflow(self._workflow_id, document, key, resubmit=self._resubmit)
        log.info("Submitted %a to workflow %s as collection %s", self._name, self._workflow_id, collection_id)
        self._try.keep(collection_id)
        return collection_id

    def _of_an_earlier_try(self) -> str | None:
        kept = self._try.recall()
        if kept is not None and kept[1] == self._try.life:
            return kept[0]
        # Where a repeated submit is recognised, repeating it is surer than looking for a name.
        if self._client.submits_once:
            return None
        found = find_submitted(self._client, self._workflow_id, [self._name], self._try.run_started)
        return the_one(found[self._name], self._name, self._workflow_id)

    def _leave_behind(self) -> None:
        """Say which collection a cleared task leaves."""
        if not self._try.life:
            return
        left = self._try.recall()
        ids = self._listed_before() if left is None else [left[0]]
        if ids:
            log.warning(
                "The task was cleared, and submits %a again; it leaves collection %s behind, which can be deleted",
                self._name,
                ", ".join(ids),
            )

    def _listed_before(self) -> list[str]:
        try:
            found = find_submitted(self._client, self._workflow_id, [self._name], None)
        except AnyformatError as error:
            log.warning("Could not find out which collection the cleared task leaves behind: %s", error)
            return []
        return [row.id for row in found[self._name]]


def check_processed(workflow_id: str, collection_id: str, state: RunState) -> None:
    """
    Check that a run that is over ended well.

    :raises AnyformatNoResultsError: it ended in an error or was cancelled.
    """
    if state.status != "processed":
        raise AnyformatNoResultsError(
            f"collection {collection_id} of workflow {workflow_id} ended as {state.status}:"
            f" {state.detail or 'no reason was given'}"
        )


def finish(
    client: AnyformatClient,
    workflow_id: str,
    collection_id: str,
    state: RunState,
    results: ResultsFolder | None,
) -> str | None:
    """
    Draw the conclusions from how a run ended.

    :return: where the results are kept; ``None`` without a folder for them.
    :raises AnyformatNoResultsError: it ended in an error or was cancelled.
    :raises AnyformatStorageError: the results are not safely kept.
    """
    check_processed(workflow_id, collection_id, state)
    if results is None:
        return None
    return results.keep(workflow_id, collection_id, client.get_results(workflow_id, collection_id))
