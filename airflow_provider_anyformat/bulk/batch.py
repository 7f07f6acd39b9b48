"""Many documents through a workflow: submitted once each, waited for together, their results stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.runs import RunState
from airflow_provider_anyformat.api.values import is_document_name
from airflow_provider_anyformat.api.waits import RESERVE, ends_a_wait
from airflow_provider_anyformat.bulk.documents import find_submitted, idempotency_key, read_document, sha256, the_one
from airflow_provider_anyformat.bulk.manifest import Manifest, Row, now
from airflow_provider_anyformat.exceptions import (
    AnyformatBulkError,
    AnyformatError,
    AnyformatLostReplyError,
    AnyformatValueError,
)

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.bulk.documents import Source
    from airflow_provider_anyformat.bulk.results import ResultsFolder
    from airflow_provider_anyformat.bulk.submitting import Try

# Uploads at once: several, because one may take longer than the second that the submission tier gives it.
_UPLOADS = 6
# This many are noted as being submitted at once, because each note writes the whole manifest.
_AHEAD, _LARGEST_AHEAD = 18, 64 * 1024 * 1024
_PAUSE = 0.02
_SAVES_APART = 0.25
_SETTLE = 5.0
# Wrong key, no credit, no permission: the answer to every other submit, too. So are this many failures in a row.
_HALTING_STATUSES = frozenset({401, 402, 403})
_FAILURES_IN_A_ROW = 20
_PROGRESS = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """
    How a batch is run.

    :param results: the folder for results and manifest.
    :param max_in_flight: documents that may be submitted and not finished.
    :param poll_interval: seconds between two looks at all of them.
    :param timeout: how long a document may take from its submit, or from the beginning of a retry.
    :param resubmit: whether a lost reply may be answered by a second submit.
    """

    results: ResultsFolder
    max_in_flight: int
    poll_interval: float
    timeout: timedelta
    resubmit: bool


class Batch:
    """
    One try of a batch. All storage belongs to the thread that runs it.

    :param client: the client; it is paced from now on.
    :param workflow_id: the workflow.
    :param options: how.
    :param attempt: which try of the task this is.
    :param began: when the try began, in seconds since the epoch; default now.
    """

    def __init__(
        self,
        client: AnyformatClient,
        workflow_id: str,
        options: BatchOptions,
        attempt: Try,
        began: float | None = None,
    ) -> None:
        self._client = client.paced(RESERVE)
        self._workflow_id = workflow_id
        self._options = options
        self._try = attempt
        self.began = time.time() if began is None else began
        self.manifest = Manifest(options.results.folder, workflow_id, attempt.origin)
        self._sources: dict[str, Source] = {}
        self._uploads: dict[Future[str], Row] = {}
        self._retry_after: float | None = None
        self._todo: list[Row] = []
        # What is over and not concluded: results are fetched one by one, between two submits.
        self._ended: dict[str, tuple[Row, RunState]] = {}
        # Collections whose results could not be had or kept in this try.
        self._given_up: set[str | None] = set()
        self._failed_in_a_row = 0
        self._halted_by: AnyformatError | None = None

    @property
    def in_flight(self) -> list[Row]:
        """The rows whose runs are not known to be over, and whose time is not."""
        rows = [row for row in self.manifest.rows if row.status == "submitted" and self._left(row) > 0]
        return [row for row in rows if row.collection_id not in self._given_up | self._ended.keys()]

    def begin(self, sources: Sequence[Source]) -> None:
        """
        Check all documents and write the manifest, or take up that of an earlier try.

        :param sources: the documents.
        :raises AnyformatError: one cannot be submitted, or the manifest cannot be written; nothing was sent.
        """
        self._sources = {str(source): source for source in sources}
        found = self.manifest.load() if self._try.is_retry or self._try.life else False
        if found and self._try.is_retry and self.manifest.life == self._try.life:
            self._resolve_doubts()
        else:
            if found:
                left = [row.collection_id for row in self.manifest.rows if row.collection_id is not None]
                log.warning(
                    "The task was cleared, and submits everything again; it leaves these collections behind: %s", left
                )
            self.manifest.create([self._row(source) for source in self._sources.values()], self._try.life)
        for row in self.manifest.rows:
            if not row.is_over:
                row.error = row.finished_at = None
        self._plan()

    def resume(self, sources: Sequence[Source]) -> None:
        """
        Go on with a batch that was deferred.

        :param sources: the documents.
        """
        self._sources = {str(source): source for source in sources}
        self.manifest.load()
        self._plan()

    def _plan(self) -> None:
        # What failed in this try has an error, and is left to the next one.
        self._todo = [row for row in self.manifest.rows if row.status is None and row.error is None][::-1]
        self._given_up = {row.collection_id for row in self.manifest.rows if row.error is not None}

    def _row(self, source: Source) -> Row:
        if not is_document_name(source.name):
            raise AnyformatValueError(f"documents: {str(source)!a}: its name cannot be the file name of an upload")
        content = read_document(source, source.name, "documents").content
        return Row(str(source), source.name, sha256(content))

    def _resolve_doubts(self) -> None:
        """Find out what became of submits whose end an earlier try did not note."""
        doubtful = [row for row in self.manifest.rows if row.status in ("submitting", "unknown")]
        if not doubtful or self._client.submits_once:
            for row in doubtful:
                row.status = None
            return
        # The server may still be working on what a worker sent just before it died.
        latest = max(datetime.fromisoformat(row.submitted_at).timestamp() for row in doubtful if row.submitted_at)
        self._client.sleep(min(_SETTLE, max(0.0, latest + _SETTLE - time.time())), "the batch")
        names = [row.document_name for row in doubtful]
        found = find_submitted(self._client, self._workflow_id, names, self._try.run_started)
        known = {row.collection_id for row in self.manifest.rows}
        for row in doubtful:
            candidates = [one for one in found[row.document_name] if one.id not in known]
            try:
                if candidates and names.count(row.document_name) > 1:
                    raise AnyformatValueError(f"several documents of the batch are called {row.document_name!a}")
                row.collection_id = the_one(candidates, row.document_name, self._workflow_id)
            except AnyformatValueError as error:
                row.status, row.error = "unknown", str(error)
                continue
            if row.collection_id is not None:
                log.info("An earlier try submitted %a as collection %s", row.document, row.collection_id)
                row.status, row.submitted_at, row.error = "submitted", row.submitted_at or now(), None
            elif row.status == "submitting":
                row.status = None
        self.manifest.save()

    def run(self, *, wait: bool = True) -> bool:
        """
        Submit, look, store, until all is over.

        :param wait: whether to wait here for what is in flight.
        :return: whether all is over; ``False`` only without ``wait``.
        :raises AnyformatStoppedError: the task was told to stop; everything known is in the manifest.
        """
        pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="anyformat-submit")
        looked = shown = saved = -1e9
        changed = False
        try:
            while True:
                changed |= self._collect()
                self._hand_out(pool)
                changed |= self._conclude_one()
                if time.monotonic() - looked >= self._options.poll_interval and self.in_flight:
                    changed |= self._look()
                    looked = time.monotonic()
                    if not wait and not (self._ended or self._uploads or self._may_submit()):
                        return False
                # What a kill loses of this, the listing still tells.
                if changed and time.monotonic() - saved >= _SAVES_APART:
                    self.manifest.save()
                    saved, changed = time.monotonic(), False
                if time.monotonic() - shown >= _PROGRESS:
                    shown = time.monotonic()
                    self._show()
                if not self._uploads and not self._todo and not self.in_flight and not self._ended:
                    return True
                self._client.sleep(0.0 if self._ended else _PAUSE, "the batch")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._collect()
            self.manifest.save()

    def _may_submit(self, more: int = 0) -> bool:
        return bool(self._todo) and len(self.in_flight) + len(self._uploads) + more < self._options.max_in_flight

    def _hand_out(self, pool: ThreadPoolExecutor) -> None:
        """Start uploads; that a document is being submitted is on storage before it is."""
        started: list[tuple[Row, Any]] = []
        size = _LARGEST_AHEAD if len(self._uploads) > _UPLOADS else 0
        while size < _LARGEST_AHEAD and len(self._uploads) + len(started) < _AHEAD and self._may_submit(len(started)):
            row = self._todo.pop()
            try:
                document = read_document(self._source(row), row.document_name, "documents")
                if sha256(document.content) != row.sha256:
                    raise AnyformatValueError(f"documents: {row.document!a} changed while the batch ran")
            except AnyformatError as error:
                self._note(row, error)
                continue
            row.status, row.submitted_at = "submitting", now()
            started.append((row, document))
            size += len(document.content)
        if started:
            self.manifest.save()
        for row, document in started:
            position = self.manifest.rows.index(row)
            key = idempotency_key(self._try.origin, self._try.life, position, row.document_name, row.sha256)
            run = partial(self._client.run_workflow, resubmit=self._options.resubmit)
            self._uploads[pool.submit(run, self._workflow_id, document, key)] = row

    def _source(self, row: Row) -> Source:
        if row.document not in self._sources:
            raise AnyformatValueError(f"documents: {row.document!a} was given to an earlier try only; give it again")
        return self._sources[row.document]

    def _collect(self) -> bool:
        """Take the outcomes of uploads."""
        done = [upload for upload in self._uploads if upload.done()]
        for upload in done:
            row = self._uploads.pop(upload)
            if upload.cancelled():
                row.status, row.submitted_at = None, None
                continue
            error = upload.exception()
            if error is None:
                row.collection_id, row.status, row.submitted_at = upload.result(), "submitted", now()
                self._failed_in_a_row = 0
            elif isinstance(error, AnyformatError):
                self._note(row, error)
            else:
                raise error
        return bool(done)

    def _note(self, row: Row, error: AnyformatError) -> None:
        """Note why a document was not submitted."""
        log.warning("%s: %s", row.document, error)
        if isinstance(error, AnyformatLostReplyError):
            row.status = "unknown"
        elif error.fate_unknown:
            row.status = "submitting"
        else:
            row.status = None if error.retryable else "refused"
        self._retry_after = max(self._retry_after or 0.0, error.retry_after or 0.0) or None
        row.error, row.finished_at = str(error), now()
        if row.status is None:
            row.submitted_at = None
        self._failed_in_a_row += error.retryable
        too_long = error.retry_after is not None and error.retry_after > self._client.max_backoff
        if too_long or error.status_code in _HALTING_STATUSES or self._failed_in_a_row >= _FAILURES_IN_A_ROW:
            self._halted_by = error
            self._todo.clear()
            for upload in self._uploads:
                upload.cancel()

    def _look(self) -> bool:
        """Look at all that is in flight: by a page of the listing, then one by one at what that does not show."""
        waiting = {row.collection_id: row for row in self.in_flight if row.collection_id is not None}
        seen = self._page(len(waiting))
        changed = False
        for collection_id, row in waiting.items():
            status = seen.get(collection_id)
            try:
                # The listing does not say why a run ended badly.
                known = status is not None and status not in ("error", "cancelled")
                state = RunState(status or "") if known else self._client.look(self._workflow_id, collection_id)
            except AnyformatError as error:
                if ends_a_wait(error):
                    self._client.check_stopped("the batch")
                    if error.status_code in _HALTING_STATUSES:
                        raise
                    row.status, row.error, row.finished_at = "error", str(error), now()
                    changed = True
                continue
            if state.finished:
                self._ended[collection_id] = (row, state)
        return changed

    def _conclude_one(self) -> bool:
        for collection_id, (row, state) in self._ended.items():
            self._conclude(row, collection_id, state)
            del self._ended[collection_id]
            return True
        return False

    def _page(self, waiting: int) -> dict[str, str]:
        if waiting < 2:
            return {}
        try:
            return self._client.first_page(self._workflow_id)
        except AnyformatError as error:
            if ends_a_wait(error):
                raise
            log.info("%s", str(error).partition("\n")[0])
            return {}

    def _conclude(self, row: Row, collection_id: str, state: RunState) -> None:
        """Note how a run ended. Until its results are stored, a later try finds it in flight."""
        status = state.status
        if status != "processed":
            row.error = state.detail or f"status {status}"
        else:
            try:
                body = self._client.get_results(self._workflow_id, collection_id)
                row.results_path = self._options.results.keep(self._workflow_id, collection_id, body)
            except AnyformatError as error:
                self._client.check_stopped("the batch")
                log.warning("collection %s: %s", collection_id, error)
                row.error = str(error)
                if error.retryable:
                    self._retry_after = max(self._retry_after or 0.0, error.retry_after or 0.0) or None
                    self._given_up.add(collection_id)
                    return
                status = "error"
        row.status, row.finished_at = status, now()

    def _left(self, row: Row) -> float:
        """Return the seconds that a document still has."""
        begun = datetime.fromisoformat(row.submitted_at).timestamp() if row.submitted_at else self.began
        return max(begun, self.began) + self._options.timeout.total_seconds() - time.time()

    def _show(self) -> None:
        safe, all_ = sum(row.is_safe for row in self.manifest.rows), len(self.manifest.rows)
        log.info("%s of %s documents are processed and stored, %s in flight", safe, all_, len(self.in_flight))

    def deadline(self) -> float:
        """Return when the last of what is in flight runs out of time, in seconds since the epoch."""
        return time.time() + max([self._left(row) for row in self.in_flight], default=0.0)

    def summary(self) -> dict[str, Any]:
        """Return what the task returns."""
        rows = self.manifest.rows
        safe = [row.collection_id for row in rows if row.is_safe]
        return {
            "workflow_id": self._workflow_id,
            "documents": len(rows),
            "processed": len(safe),
            "failed": len(rows) - len(safe),
            "collection_ids": safe,
            "manifest_path": self.manifest.url,
        }

    def raise_failures(self) -> None:
        """
        Raise if a document did not end well.

        :raises AnyformatBulkError: final if no retry could change anything.
        """
        bad = [row for row in self.manifest.rows if not row.is_safe]
        if not bad:
            return
        lines = [f"  {row.document}: {row.error or self._unfinished(row)}" for row in bad[:10]]
        more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise AnyformatBulkError(
            f"{len(bad)} of {len(self.manifest.rows)} documents were not processed and stored; all are in"
            f" {self.manifest.url}:\n" + "\n".join(lines) + more,
            retryable=not all(row.is_over for row in bad) and (self._halted_by is None or self._halted_by.retryable),
            retry_after=self._retry_after,
        )

    @staticmethod
    def _unfinished(row: Row) -> str:
        waits_on = f"collection {row.collection_id} was not finished at the timeout; a retry goes on waiting"
        return waits_on if row.collection_id else "it was not submitted, because something stopped the rest"
