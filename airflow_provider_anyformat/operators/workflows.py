"""Operators that run documents through workflows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import conf
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators._task import _AnyformatOperator, _WaitingOperator
from airflow_provider_anyformat.parameters import NOT_GIVEN, NotGiven
from airflow_provider_anyformat.storage import open_folder, open_path

if TYPE_CHECKING:
    from airflow_provider_anyformat._airflow import Context
    from airflow_provider_anyformat.api.runs import RunState
    from airflow_provider_anyformat.bulk.batch import Batch
    from airflow_provider_anyformat.operators._task import Task

DEFERRABLE: bool = conf.getboolean("operators", "default_deferrable", fallback=False)


class RunWorkflowOperator(_WaitingOperator):
    """
    Run a document through a workflow, once, and wait until it is processed.

    It sends the document again only after HTTP 429, or when the request certainly never left this machine. If the reply
    to the submit is lost, version 2 of the API cannot tell whether the document was accepted, so the task fails
    permanently, see ``on_lost_reply``. On version 3 an ``Idempotency-Key`` makes sending it again safe.

    .. note::
        A retry of the task submits nothing if an earlier try did: it goes on waiting for that collection, which it
        finds in ``task_state_store`` (Airflow 3.3) or by its name in the workflow's listing. A cleared task submits
        again.

    .. note::
        Errors while waiting do not fail the task before the timeout. Many waits on one connection in one process, as in
        a triggerer, leave half of the rate limit to others by polling less often.

    :param workflow_id: the workflow's id. (templated)
    :param document: absolute path, or URL that ``ObjectStoragePath`` takes, of a file of at most 20 MiB. (templated)
    :param document_name: the file name that anyformat shows. Default: the last part of ``document``. (templated)
    :param wait_for_completion: whether to wait; if not, the task ends when the document is submitted. Default
        ``True``. (templated)
    :param deferrable: whether a triggerer waits. Default: Airflow's ``[operators] default_deferrable``. (templated)
    :param poll_interval: seconds between two polls, at least 0.5. Default 15. (templated)
    :param timeout: how long to wait, as ``timedelta`` or ISO 8601 duration such as ``"PT2H"``; longer than
        ``poll_interval``. Default one hour. After that the task fails, and its retry goes on waiting. (templated)
    :param results_path: folder, as an absolute path or a URL, in which the results are stored as
        ``<workflow_id>/<collection_id>.json``; it is checked before the submit. Default: they are not stored.
        (templated)
    :param on_lost_reply: ``"fail"`` (default), or ``"resubmit"`` to accept that a document is processed, and billed,
        twice on version 2. (templated)
    :param cancel_on_kill: whether a task that is killed while it waits deletes the collection, which cancels its
        processing. Default ``False``. (templated)
    :param retry_policy: a retry policy of Airflow 3.3 or later. Default: the DAG's, else ``AnyformatRetryPolicy``.
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the collection's id, also the XCom ``collection_id`` as soon as it is known; the XCom ``results_path`` too.
    :raises AirflowFailException: a parameter or the connection cannot be used, anyformat refused, the processing failed
        or was cancelled, or the reply to the submit was lost.
    :raises AnyformatError: it did not succeed now, but may later; ``AnyformatTimeoutError`` after the timeout.
    """

    template_fields: Sequence[str] = (
        "workflow_id",
        "document",
        "document_name",
        "wait_for_completion",
        "deferrable",
        "poll_interval",
        "timeout",
        "results_path",
        "on_lost_reply",
        "cancel_on_kill",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        workflow_id: str,
        document: str,
        document_name: str | NotGiven = NOT_GIVEN,
        wait_for_completion: bool | str = True,
        deferrable: bool | str = DEFERRABLE,
        poll_interval: float | str = 15.0,
        timeout: timedelta | str = timedelta(hours=1),
        results_path: str | NotGiven = NOT_GIVEN,
        on_lost_reply: str = "fail",
        cancel_on_kill: bool | str = False,
        retry_policy: Any = None,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.workflow_id = workflow_id
        self.document = document
        self.document_name = document_name
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.results_path = results_path
        self.on_lost_reply = on_lost_reply
        self.cancel_on_kill = cancel_on_kill
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> str:
        """Submit the document, or find what an earlier try submitted, and wait; return the collection's id."""
        with self._task(context, RunWorkflowOperator) as task:
            workflow_id = task.workflow_id
            self._check_times(task)
            self._check_results(task)
            if task.results is not None:
                task.results.check_writable()
            collection_id = self._submit(task, workflow_id)
            task.push("collection_id", collection_id)
            if not task.given["wait_for_completion"]:
                return collection_id
            if task.given["deferrable"]:
                self._defer(task, workflow_id, collection_id)
            with self._cancelling(task, lambda: [collection_id]):
                state = task.hook.wait_for_end(
                    workflow_id,
                    collection_id,
                    poll_interval=task.given["poll_interval"],
                    timeout=task.given["timeout"],
                )
            return self._finish(task, workflow_id, collection_id, state)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> str:
        """Take what the trigger saw; return the collection's id."""
        from airflow_provider_anyformat.api.waits import from_event

        with self._task(context, RunWorkflowOperator) as task:
            return self._finish(task, event["workflow_id"], event["collection_id"], from_event(event))

    @staticmethod
    def _check_results(task: Task) -> None:

        if not task.given["wait_for_completion"] and task.results is not None:
            raise AnyformatValueError(
                f"results_path: {task.given['results_path']!a} needs a task that waits; leave it out with"
                " wait_for_completion=False, and store the results with GetResultsOperator"
            )

    @staticmethod
    def _submit(task: Task, workflow_id: str) -> str:
        from airflow_provider_anyformat.bulk.documents import read_document
        from airflow_provider_anyformat.bulk.submitting import DocumentRun

        source = open_path(task.given["document"], "document")
        name = task.given["document_name"]
        name = source.name if name is NOT_GIVEN else name
        return DocumentRun(
            task.client,
            workflow_id,
            name,
            lambda: read_document(source, name),
            task.attempt,
            resubmit=task.given["on_lost_reply"] == "resubmit",
        ).submit_once()

    def _defer(self, task: Task, workflow_id: str, collection_id: str) -> None:
        from airflow_provider_anyformat.triggers.files import FileCollectionTrigger

        self.defer(
            trigger=FileCollectionTrigger(
                workflow_id,
                collection_id,
                poll_interval=task.given["poll_interval"],
                deadline=time.time() + task.given["timeout"].total_seconds(),
                anyformat_conn_id=task.given["anyformat_conn_id"],
                cancel_on_kill=task.given["cancel_on_kill"],
            ),
            method_name="execute_complete",
        )

    @staticmethod
    def _finish(task: Task, workflow_id: str, collection_id: str, state: RunState) -> str:
        from airflow_provider_anyformat.bulk.submitting import finish

        path = finish(task.client, workflow_id, collection_id, state, task.results)
        if path is not None:
            task.push("results_path", path)
        return collection_id


class RunWorkflowBatchOperator(_WaitingOperator):
    """
    Run many documents through a workflow, each once, wait for all of them, and store their results.

    It keeps to the rate limit of the submission tier, and one page of the listing shows all runs in flight. A manifest,
    ``<results_path>/<workflow_id>/runs/<dag>/<run>/<task>/<map index>/manifest.jsonl``, is stored before the first
    submit and replaced after each change, so that after a worker dies, a retry submits only what is still missing.

    .. note::
        On version 2 of the API, a document whose reply was lost fails alone: it may exist and be billed. HTTP 401, 402,
        403, a wait beyond ``max_backoff``, or 20 failed submits in a row stop the rest.

    :param workflow_id: the workflow's id. (templated)
    :param documents: a list of paths or URLs of files, or one folder; ``[]`` sends nothing and succeeds. One document
        that is missing, empty or too large fails the task before the first request. (templated)
    :param results_path: folder, as an absolute path or a URL, for the manifest and the results, which are stored as
        ``<workflow_id>/<collection_id>.json``. (templated)
    :param pattern: glob on the names of the files in a folder. Default ``"*"``: all but hidden ones. (templated)
    :param max_documents: more documents than this fail the task before the first request. Default 1000. (templated)
    :param max_in_flight: number of documents that may be in processing at once, 1 to 1000. Default 50. (templated)
    :param on_partial_failure: ``"fail"`` (default): the task fails if a document did, its value pushed first; or
        ``"continue"``. (templated)
    :param deferrable: whether a triggerer waits when nothing is left to submit for now. Default: Airflow's. (templated)
    :param poll_interval: seconds between two polls, at least 0.5. Default 15. (templated)
    :param timeout: how long each document may take. Default one hour. (templated)
    :param on_lost_reply: see :class:`RunWorkflowOperator`. Default ``"fail"``. (templated)
    :param cancel_on_kill: whether a killed task deletes what is still being processed. Default ``False``. (templated)
    :param retry_policy: a retry policy of Airflow 3.3 or later. Default: the DAG's, else ``AnyformatRetryPolicy``.
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: ``{"workflow_id", "documents", "processed", "failed", "collection_ids", "manifest_path"}``; the ids are
        those whose results are safely stored, for ``DeleteFileCollectionsOperator``.
    :raises AirflowFailException: a parameter, a document or the connection cannot be used, or documents failed in a
        way that no retry can help.
    :raises AnyformatError: documents failed, but may succeed later.
    """

    template_fields: Sequence[str] = (
        "workflow_id",
        "documents",
        "results_path",
        "pattern",
        "max_documents",
        "max_in_flight",
        "on_partial_failure",
        "deferrable",
        "poll_interval",
        "timeout",
        "on_lost_reply",
        "cancel_on_kill",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        workflow_id: str,
        documents: Sequence[str] | str,
        results_path: str,
        pattern: str = "*",
        max_documents: int | str = 1000,
        max_in_flight: int | str = 50,
        on_partial_failure: str = "fail",
        deferrable: bool | str = DEFERRABLE,
        poll_interval: float | str = 15.0,
        timeout: timedelta | str = timedelta(hours=1),
        on_lost_reply: str = "fail",
        cancel_on_kill: bool | str = False,
        retry_policy: Any = None,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.workflow_id = workflow_id
        self.documents = documents
        self.results_path = results_path
        self.pattern = pattern
        self.max_documents = max_documents
        self.max_in_flight = max_in_flight
        self.on_partial_failure = on_partial_failure
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_lost_reply = on_lost_reply
        self.cancel_on_kill = cancel_on_kill
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, wait, store; return the summary."""
        with self._task(context, RunWorkflowBatchOperator) as task:
            self._check_times(task)
            batch = self._batch(task)
            batch.begin(self._sources(task))
            return self._go_on(task, batch)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on when what was in flight is over; return the summary."""
        from airflow_provider_anyformat.api.waits import check_done

        with self._task(context, RunWorkflowBatchOperator) as task:
            check_done(event)
            batch = self._batch(task, event["began"])
            batch.resume(self._sources(task, check=False))
            return self._go_on(task, batch)

    def _go_on(self, task: Task, batch: Batch) -> dict[str, Any]:
        with self._cancelling(task, lambda: [str(row.collection_id) for row in batch.in_flight]):
            over = batch.run(wait=not task.given["deferrable"])
        if not over:
            self._defer(task, batch)
        summary = batch.summary()
        if task.given["on_partial_failure"] == "fail" and summary["failed"]:
            task.push("return_value", summary)
            batch.raise_failures()
        return summary

    def _defer(self, task: Task, batch: Batch) -> None:
        from airflow_provider_anyformat.triggers.files import FileCollectionsTrigger

        self.defer(
            trigger=FileCollectionsTrigger(
                task.workflow_id,
                [str(row.collection_id) for row in batch.in_flight],
                poll_interval=task.given["poll_interval"],
                deadline=batch.deadline(),
                began=batch.began,
                anyformat_conn_id=task.given["anyformat_conn_id"],
                cancel_on_kill=task.given["cancel_on_kill"],
            ),
            method_name="execute_complete",
        )

    @staticmethod
    def _batch(task: Task, began: float | None = None) -> Batch:
        from airflow_provider_anyformat.bulk.batch import Batch, BatchOptions
        from airflow_provider_anyformat.bulk.results import ResultsFolder

        options = BatchOptions(
            results=ResultsFolder(open_folder(task.given["results_path"], "results_path")),
            max_in_flight=task.given["max_in_flight"],
            poll_interval=task.given["poll_interval"],
            timeout=task.given["timeout"],
            resubmit=task.given["on_lost_reply"] == "resubmit",
        )
        return Batch(task.client, task.workflow_id, options, task.attempt, began)

    @staticmethod
    def _sources(task: Task, *, check: bool = True) -> list[Any]:
        from airflow_provider_anyformat.bulk.documents import in_folder

        given, most = task.given["documents"], task.given["max_documents"]
        if isinstance(given, str):
            sources = in_folder(open_path(given, "documents"), task.given["pattern"])
        else:
            sources = [open_path(one, "documents") for one in dict.fromkeys(given)]
        if check and len(sources) > most:
            raise AnyformatValueError(
                f"max_documents: {len(sources)} documents are more than {most}; raise it, or give fewer"
            )
        return sources


class GetResultsOperator(_AnyformatOperator):
    """
    Store the results of a collection.

    :param workflow_id: the workflow's id. (templated)
    :param collection_id: the collection's id. (templated)
    :param results_path: folder, as an absolute path or a URL, in which the results are stored as
        ``<workflow_id>/<collection_id>.json``, in the place of older ones. (templated)
    :param retry_policy: a retry policy of Airflow 3.3 or later. Default: the DAG's, else ``AnyformatRetryPolicy``.
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the path of the results.
    :raises AirflowFailException: a parameter or the connection cannot be used, anyformat refused, or there will be no
        results.
    :raises AnyformatError: they are not ready, or it did not succeed now, but may later.
    """

    template_fields: Sequence[str] = ("workflow_id", "collection_id", "results_path", "anyformat_conn_id")

    def __init__(
        self,
        *,
        workflow_id: str,
        collection_id: str,
        results_path: str,
        retry_policy: Any = None,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy, **kwargs)
        self.workflow_id = workflow_id
        self.collection_id = collection_id
        self.results_path = results_path
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> str:
        """Store the results; return their path."""
        from airflow_provider_anyformat.bulk.results import ResultsFolder

        with self._task(context, GetResultsOperator) as task:
            workflow_id, collection_id = task.workflow_id, task.given["collection_id"]
            results = ResultsFolder(open_folder(task.given["results_path"], "results_path"))
            return results.keep(workflow_id, collection_id, task.hook.get_results(workflow_id, collection_id))
