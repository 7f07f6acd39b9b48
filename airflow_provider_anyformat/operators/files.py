"""Operators on anyformat's file collections."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.exceptions import AnyformatNotFoundError, AnyformatValueError
from airflow_provider_anyformat.links import PURGE_LINKS
from airflow_provider_anyformat.operators._task import _AnyformatOperator
from airflow_provider_anyformat.parameters import NOT_GIVEN, NotGiven
from airflow_provider_anyformat.storage import open_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_anyformat._airflow import Context

# What one XCom can sensibly hold, and a mapped task expand over.
LARGEST_LIST = 100_000


class DeleteFileCollectionOperator(_AnyformatOperator):
    """
    Delete one file collection, its files and its results, permanently.

    Only HTTP 204 is success. HTTP 422 fails the task at once, without an Airflow retry, and the message has one line
    for each problem that anyformat's validation names. The client retries what may succeed later (HTTP 429, 5xx, no
    answer), then leaves it to Airflow's ``retries``.

    .. note::
        A delete cancels processing that is still in progress.

    .. note::
        A 404 on an automatic retry of the task counts as gone, with a warning, if an earlier try may have sent the
        delete. Airflow 3.3 and later remember that; before, every retry assumes it. After a task is cleared only
        ``ignore_if_missing=True`` makes a 404 green.

    :param collection_id: the ``id`` that ``POST /v2/workflows/{id}/run/`` or ``…/files/`` returned, as text; never a
        ``file_id``. One id: a list is refused, see ``DeleteFileCollectionsOperator``. (templated)
    :param ignore_if_missing: whether a collection that is not there (HTTP 404) is success. Default ``False``.
        (templated)
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the id that was deleted.
    :raises AirflowFailException: a parameter or the connection cannot be used, or anyformat refused; no retry can help.
    :raises AnyformatError: it did not succeed now, but may later.
    """

    template_fields: Sequence[str] = ("collection_id", "ignore_if_missing", "anyformat_conn_id")

    def __init__(
        self,
        *,
        collection_id: str,
        ignore_if_missing: bool | str = False,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.collection_id = collection_id
        self.ignore_if_missing = ignore_if_missing
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> str:
        """Delete the collection; return its id."""
        from airflow_provider_anyformat.exceptions import AnyformatError
        from airflow_provider_anyformat.retention.earlier import Earlier

        with self._task(context, DeleteFileCollectionOperator) as task:
            collection_id: str = task.given["collection_id"]
            earlier = Earlier(None, task.store, task.origin)
            earlier.before([collection_id])
            try:
                outcome = task.client.delete_file_collection(collection_id)
            except AnyformatError as error:
                if not error.fate_unknown:
                    earlier.after([])
                if not isinstance(error, AnyformatNotFoundError):
                    raise
                if task.is_retry and earlier.may_have_deleted(collection_id):
                    self.log.warning("%s\nAn earlier try of this task must have deleted it: it is gone.", error)
                elif task.given["ignore_if_missing"]:
                    self.log.info("Collection %s is not there, which ignore_if_missing allows", collection_id)
                else:
                    raise
            else:
                self.log.info("Collection %s: %s", collection_id, outcome)
            task.client.check_stopped(f"collection {collection_id} is gone; the task")
        return collection_id


class ListFileCollectionsOperator(_AnyformatOperator):
    """
    List the file collections of workflows by age, status and name, without deleting any.

    With ``older_than`` or ``batch_size`` the list is meant for deletion: it then requires ``older_than``, takes only
    finished statuses, and is checked against the guards like a purge. ``batch_size`` splits it for
    ``DeleteFileCollectionsOperator.partial(…).expand(collection_ids=….output)``, which spreads a purge over the
    workers; one task is almost always enough, because the server's rate limit is the bottleneck.

    .. note::
        An incomplete listing fails the task, and returns nothing.

    :param workflow_id: one workflow's id, or a list of them; there is no "all workflows". (templated)
    :param older_than: ``timedelta`` or ISO 8601 duration of weeks, days or hours, such as ``"P90D"``; a collection is
        due when its time is strictly before ``reference_time - older_than``. Default: any age, and the list is not
        meant for deletion. (templated)
    :param age_by: ``"created_at"`` (default) or ``"updated_at"``. (templated)
    :param reference_time: the moment at which ages are measured, as an aware ``datetime`` or ISO 8601 text with a zone.
        Default: the run's ``data_interval_end``, or now where it has none. Never later than now. (templated)
    :param statuses: statuses to take. Default ``("processed",)``; for deletion only ``processed``, ``error`` and
        ``cancelled`` are accepted. (templated)
    :param exclude_collection_ids: legal holds: ids of collections or files that are never listed. Default none.
        (templated)
    :param include_names: globs; only collections whose whole name matches one, case-sensitively, are listed. Default:
        any name, and collections without a name. (templated)
    :param exclude_names: globs; collections whose whole name matches one, ignoring case, are left out, and so are those
        without a name. Default none. (templated)
    :param keep_last: number of newest collections of each workflow that are left out. Default 0. (templated)
    :param max_deletions: a list meant for deletion with more ids than this fails the task permanently;
        ``"unlimited"`` for no cap. Default 1000. (templated)
    :param max_deletions_percent: a list meant for deletion with more than this percentage of all that was listed
        fails the task permanently. Default 100. (templated)
    :param limit: number of ids at most, oldest first; ``"unlimited"`` (default) for all. (templated)
    :param batch_size: return lists of at most this many ids. Default: one flat list. (templated)
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: ids, oldest first; with ``batch_size`` a list of lists of them.
    :raises AirflowFailException: a parameter or the connection cannot be used, a guard tripped, or anyformat refused.
    :raises AnyformatListingError: the listing was not complete three times over.
    :raises AnyformatError: anyformat did not answer now, but may later.
    """

    template_fields: Sequence[str] = (
        "workflow_id",
        "older_than",
        "age_by",
        "reference_time",
        "statuses",
        "exclude_collection_ids",
        "include_names",
        "exclude_names",
        "keep_last",
        "max_deletions",
        "max_deletions_percent",
        "limit",
        "batch_size",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        workflow_id: str | Sequence[str],
        older_than: timedelta | str | NotGiven = NOT_GIVEN,
        age_by: str = "created_at",
        reference_time: datetime | str | NotGiven = NOT_GIVEN,
        statuses: Sequence[str] | str = ("processed",),
        exclude_collection_ids: Sequence[str] | str = (),
        include_names: Sequence[str] | str | NotGiven = NOT_GIVEN,
        exclude_names: Sequence[str] | str = (),
        keep_last: int | str = 0,
        max_deletions: int | str = 1000,
        max_deletions_percent: float | str = 100,
        limit: int | str = "unlimited",
        batch_size: int | str | NotGiven = NOT_GIVEN,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.older_than = older_than
        self.age_by = age_by
        self.reference_time = reference_time
        self.statuses = statuses
        self.exclude_collection_ids = exclude_collection_ids
        self.include_names = include_names
        self.exclude_names = exclude_names
        self.keep_last = keep_last
        self.max_deletions = max_deletions
        self.max_deletions_percent = max_deletions_percent
        self.limit = limit
        self.batch_size = batch_size
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> list[str] | list[list[str]]:
        """List, and return the ids."""
        from airflow_provider_anyformat.bulk import list_due

        with self._task(context, ListFileCollectionsOperator) as task:
            given, guards = task.given, task.guards
            if given["older_than"] is not NOT_GIVEN:
                policy = task.policy()
                policy.check_min_retention(task.min_retention)
            elif given["batch_size"] is not NOT_GIVEN:
                raise AnyformatValueError(
                    "older_than: it was left out; a list in batches is made for deletion, and needs an age such as"
                    ' "P90D"'
                )
            else:
                # A list that is not made for deletion asks for no age: everything is older than the shortest time.
                policy = task.policy(older_than=timedelta.resolution)
                guards = replace(guards, max_deletions="unlimited", max_deletions_percent=100)
            ids = list_due(task.client, given["workflow_id"], policy, guards, task.origin)
            return _in_batches(ids, given["batch_size"])


class DeleteFileCollectionsOperator(_AnyformatOperator):
    """
    Delete many file collections by their ids, with a few threads, within the rate limit.

    One bad id fails the task before the first request; an empty list deletes nothing. A failed delete does not stop
    the others, but HTTP 401, 402 or 403, 20 failures in a row, or a wait longer than the connection's ``max_backoff``
    stops the rest. Any failure fails the task in the end and names the ids.

    .. note::
        It reads no listing: only ids are compared with the holds, and ages are not checked.

    .. note::
        If the first 20 ids, or all of five or more, are missing at the task's first try, it fails permanently,
        whatever ``ignore_if_missing`` says: the key is wrong, each is a ``file_id``, or the list is an old one. It
        does so on a retry, too, unless an earlier try may have deleted them. Without a ledger and before Airflow 3.3,
        nothing tells whether one may, and the retry fails if all of five or more are missing.

    :param collection_ids: the ids, as a list, or as JSON or a Python literal of one; repeats are sent once. One
        bare id is refused, see ``DeleteFileCollectionOperator``. (templated)
    :param ignore_if_missing: whether a collection that is not there (HTTP 404) is success. Default ``False``; on an
        automatic retry of the task it is, too, if the ledger, or Airflow's ``task_state_store`` from 3.3 on, says that
        an earlier try may have deleted it, and without either always. (templated)
    :param exclude_collection_ids: legal holds: ids that are not deleted. Default none. (templated)
    :param max_deletions: more ids than this fail the task permanently, before the first delete; ``"unlimited"`` for no
        cap. Default 1000. (templated)
    :param max_times_usual: deleting more than this many times the usual number fails the task permanently, and nothing
        is deleted; usual is the median of the last 10 runs in the ledger that deleted anything, once 5 are closed. A
        number above 1; requires a ledger. Default: no such limit. (templated)
    :param max_workers: number of threads, 1 to 64. Default 8. (templated)
    :param quota_reserve: share of each rate-limit window that is left to the key's other users, 0 to 0.9. Default 0.1.
        (templated)
    :param ledger_path: folder, as an absolute path or a URL such as ``s3://…``, in which each delete is recorded.
        Default: no ledger; the ids go to the task log. (templated)
    :param signing_conn_id: id of a connection whose password is an Ed25519 private key, as PEM or the base64 text of
        its seed; it signs the ledger's summary. Default: no signature. (templated)
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the summary; also pushed as XCom ``summary`` before a failing task raises.
    :raises AirflowFailException: a parameter or the connection cannot be used, a guard tripped, or no retry can help.
    :raises AnyformatError: something was not deleted now, but may be later.
    """

    template_fields: Sequence[str] = (
        "collection_ids",
        "ignore_if_missing",
        "exclude_collection_ids",
        "max_deletions",
        "max_times_usual",
        "max_workers",
        "quota_reserve",
        "ledger_path",
        "signing_conn_id",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        collection_ids: Sequence[str] | str,
        ignore_if_missing: bool | str = False,
        exclude_collection_ids: Sequence[str] | str = (),
        max_deletions: int | str = 1000,
        max_times_usual: float | str | NotGiven = NOT_GIVEN,
        max_workers: int | str = 8,
        quota_reserve: float | str = 0.1,
        ledger_path: str | NotGiven = NOT_GIVEN,
        signing_conn_id: str | NotGiven = NOT_GIVEN,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.collection_ids = collection_ids
        self.ignore_if_missing = ignore_if_missing
        self.exclude_collection_ids = exclude_collection_ids
        self.max_deletions = max_deletions
        self.max_times_usual = max_times_usual
        self.max_workers = max_workers
        self.quota_reserve = quota_reserve
        self.ledger_path = ledger_path
        self.signing_conn_id = signing_conn_id
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete the collections; return the summary."""
        from airflow_provider_anyformat.bulk import delete_ids

        with self._task(context, DeleteFileCollectionsOperator) as task:
            return delete_ids(
                task.client,
                task.given["collection_ids"],
                task.guards,
                task.options,
                held=task.given["exclude_collection_ids"],
                ignore_if_missing=task.given["ignore_if_missing"],
                is_retry=task.is_retry,
            )


class PurgeFileCollectionsOperator(_AnyformatOperator):
    """
    Delete the file collections of workflows whose retention period has ended, and keep the evidence.

    It lists each workflow completely, decides row by row, checks the guards on the whole plan, writes the plan, and
    only then deletes. What is not certainly due stays: a missing, unreadable or future time, an unknown status, two
    rows that contradict each other. A retry of the task lists again and deletes the rest.

    .. note::
        A purge that deletes for hours lists and decides again every hour, and deletes only what is due both times.

    :param workflow_id: one workflow's id, or a list of them; there is no "all workflows". (templated)
    :param older_than: ``timedelta`` or ISO 8601 duration of weeks, days or hours, such as ``"P90D"``; a collection is
        due when its time is strictly before ``reference_time - older_than``. Required. (templated)
    :param age_by: ``"created_at"`` (default) or ``"updated_at"``. (templated)
    :param reference_time: the moment at which ages are measured, as an aware ``datetime`` or ISO 8601 text with a zone.
        Default: the run's ``data_interval_end``, or now where it has none. Never later than now. (templated)
    :param statuses: statuses to delete, of ``processed``, ``error`` and ``cancelled``. Default ``("processed",)``.
        (templated)
    :param exclude_collection_ids: legal holds: ids of collections or files that are never deleted. Default none.
        (templated)
    :param holds: absolute path of a file of legal holds, read when the task runs. Default: no file. (templated)
    :param include_names: globs; only collections whose whole name matches one, case-sensitively, are deleted. Default:
        any name, and collections without a name. (templated)
    :param exclude_names: globs; collections whose whole name matches one, ignoring case, are kept, and so are those
        without a name. Default none. (templated)
    :param keep_last: number of newest collections of each workflow that are kept. Default 0. (templated)
    :param max_deletions: a plan of more deletions than this fails the task permanently, and nothing is deleted;
        ``"unlimited"`` for no cap. Default 1000. (templated)
    :param max_deletions_percent: a plan of more than this percentage of all that was listed fails the task
        permanently, and nothing is deleted. Default 100. (templated)
    :param max_times_usual: deleting more than this many times the usual number fails the task permanently, and nothing
        is deleted; usual is the median of the last 10 runs in the ledger that deleted anything, once 5 are closed. A
        number above 1; requires a ledger. Default: no such limit. (templated)
    :param limit: number of deletions in this DAG run at most, oldest first; ``"unlimited"`` (default) for all.
        (templated)
    :param basis: why the period is what it is, recorded in the plan together with the task's ``owner``. Default:
        neither is recorded. (templated)
    :param plan_only: plan, and delete nothing: the plan goes to the log, and as Markdown to XCom ``plan_markdown``;
        a guard that would trip is reported and does not fail the task. Default ``False``. (templated)
    :param archive_path: folder, as an absolute path or a URL, in which each collection's results are saved before it is
        deleted, as ``<workflow_id>/<collection_id>.json``. The source document is not archived. Default: no archive.
        (templated)
    :param ledger_path: folder, as an absolute path or a URL such as ``s3://…``, in which the plan and each delete are
        recorded. Default: no ledger; the ids go to the task log. (templated)
    :param signing_conn_id: id of a connection whose password is an Ed25519 private key, as PEM or the base64 text of
        its seed; it signs the ledger's summary. Default: no signature. (templated)
    :param max_workers: number of threads, 1 to 64. Default 8. (templated)
    :param quota_reserve: share of each rate-limit window that is left to the key's other users, 0 to 0.9. Default 0.1.
        (templated)
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the summary; also pushed as XCom ``summary`` before a failing task raises.
    :raises AirflowFailException: a parameter or the connection cannot be used, a guard tripped, or no retry can help.
    :raises AnyformatListingError: the listing was not complete three times over; nothing was deleted.
    :raises AnyformatError: something was not deleted now, but may be later.
    """

    operator_extra_links: Sequence[Any] = PURGE_LINKS
    template_fields: Sequence[str] = (
        "workflow_id",
        "older_than",
        "age_by",
        "reference_time",
        "statuses",
        "exclude_collection_ids",
        "holds",
        "include_names",
        "exclude_names",
        "keep_last",
        "max_deletions",
        "max_deletions_percent",
        "max_times_usual",
        "limit",
        "basis",
        "plan_only",
        "archive_path",
        "ledger_path",
        "signing_conn_id",
        "max_workers",
        "quota_reserve",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        workflow_id: str | Sequence[str],
        older_than: timedelta | str,
        age_by: str = "created_at",
        reference_time: datetime | str | NotGiven = NOT_GIVEN,
        statuses: Sequence[str] | str = ("processed",),
        exclude_collection_ids: Sequence[str] | str = (),
        holds: str | NotGiven = NOT_GIVEN,
        include_names: Sequence[str] | str | NotGiven = NOT_GIVEN,
        exclude_names: Sequence[str] | str = (),
        keep_last: int | str = 0,
        max_deletions: int | str = 1000,
        max_deletions_percent: float | str = 100,
        max_times_usual: float | str | NotGiven = NOT_GIVEN,
        limit: int | str = "unlimited",
        basis: str | NotGiven = NOT_GIVEN,
        plan_only: bool | str = False,
        archive_path: str | NotGiven = NOT_GIVEN,
        ledger_path: str | NotGiven = NOT_GIVEN,
        signing_conn_id: str | NotGiven = NOT_GIVEN,
        max_workers: int | str = 8,
        quota_reserve: float | str = 0.1,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.older_than = older_than
        self.age_by = age_by
        self.reference_time = reference_time
        self.statuses = statuses
        self.exclude_collection_ids = exclude_collection_ids
        self.holds = holds
        self.include_names = include_names
        self.exclude_names = exclude_names
        self.keep_last = keep_last
        self.max_deletions = max_deletions
        self.max_deletions_percent = max_deletions_percent
        self.max_times_usual = max_times_usual
        self.limit = limit
        self.basis = basis
        self.plan_only = plan_only
        self.archive_path = archive_path
        self.ledger_path = ledger_path
        self.signing_conn_id = signing_conn_id
        self.max_workers = max_workers
        self.quota_reserve = quota_reserve
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """List, decide, and delete what is due; return the summary."""
        from airflow_provider_anyformat.bulk import purge

        with self._task(context, PurgeFileCollectionsOperator) as task:
            policy = task.policy()
            policy.check_min_retention(task.min_retention)
            workflow_ids, plan_only = task.given["workflow_id"], task.given["plan_only"]
            return purge(task.client, workflow_ids, policy, task.guards, task.options, plan_only=plan_only)


class ApplyPurgePlanOperator(_AnyformatOperator):
    """
    Delete what an earlier ``plan_only`` run planned, and nothing else.

    Use it where a person has to approve a deletion: a purge with ``plan_only=True`` writes the plan into its ledger,
    someone approves it, and this operator carries out that very plan. It lists the workflows once more and keeps,
    counted by reason, what is no longer due: a collection whose status or times changed, or that is on hold now. A
    planned collection that is no longer listed is looked up: it counts as gone only when anyformat says so, and is
    otherwise kept as ``not_listed``. What became due since is not in the plan and stays.

    .. note::
        A plan is refused permanently if its content does not match ``plan_digest``, its guards tripped, or it was made
        for another service, in the future, longer ago than ``plan_ttl``, or with an age below the connection's
        ``min_retention``.

    .. note::
        A plan does not contain name globs, because names may be personal data. A plan made with both ``keep_last`` and
        globs cannot be checked a second time, and is refused.

    :param plan_path: folder of the plan, the ``plan_path`` of the ``plan_only`` run's summary. (templated)
    :param plan_digest: SHA-256 of the plan, the ``plan_digest`` of that summary: what was approved. (templated)
    :param plan_ttl: how old the plan may be, as ``timedelta`` or ISO 8601 duration. Default three days. (templated)
    :param approved_by: who approved it, for the ledger: a name, or the ``responded_by_user`` of an
        ``ApprovalOperator``'s XCom; Default: no name on record, as with ``None``. (templated)
    :param exclude_collection_ids: legal holds added since the plan was made: ids of collections or files that are not
        deleted. Default none. (templated)
    :param holds: absolute path of a file of legal holds, read when the task runs. Default: no file. (templated)
    :param archive_path: folder, as an absolute path or a URL, in which each collection's results are saved before it is
        deleted, as ``<workflow_id>/<collection_id>.json``. The source document is not archived. Default: no archive.
        (templated)
    :param ledger_path: folder, as an absolute path or a URL such as ``s3://…``, in which what is deleted is recorded.
        Default: no ledger; the ids go to the task log. (templated)
    :param signing_conn_id: id of a connection whose password is an Ed25519 private key, as PEM or the base64 text of
        its seed; it signs the ledger's summary. Default: no signature. (templated)
    :param max_workers: number of threads, 1 to 64. Default 8. (templated)
    :param quota_reserve: share of each rate-limit window that is left to the key's other users, 0 to 0.9. Default 0.1.
        (templated)
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: the summary; ``due`` counts the plan, ``plan_path`` and ``plan_digest`` are the plan's. It is also pushed
        as XCom ``summary`` before a failing task raises.
    :raises AirflowFailException: a parameter or the connection cannot be used, the plan was refused, or no retry can
        help.
    :raises AnyformatListingError: the listing was not complete three times over; nothing was deleted.
    :raises AnyformatError: something was not deleted now, but may be later.
    """

    operator_extra_links: Sequence[Any] = PURGE_LINKS
    template_fields: Sequence[str] = (
        "plan_path",
        "plan_digest",
        "plan_ttl",
        "approved_by",
        "exclude_collection_ids",
        "holds",
        "archive_path",
        "ledger_path",
        "signing_conn_id",
        "max_workers",
        "quota_reserve",
        "anyformat_conn_id",
    )

    def __init__(
        self,
        *,
        plan_path: str,
        plan_digest: str,
        plan_ttl: timedelta | str = timedelta(days=3),
        approved_by: str | Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        exclude_collection_ids: Sequence[str] | str = (),
        holds: str | NotGiven = NOT_GIVEN,
        archive_path: str | NotGiven = NOT_GIVEN,
        ledger_path: str | NotGiven = NOT_GIVEN,
        signing_conn_id: str | NotGiven = NOT_GIVEN,
        max_workers: int | str = 8,
        quota_reserve: float | str = 0.1,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan_path = plan_path
        self.plan_digest = plan_digest
        self.plan_ttl = plan_ttl
        self.approved_by = approved_by
        self.exclude_collection_ids = exclude_collection_ids
        self.holds = holds
        self.archive_path = archive_path
        self.ledger_path = ledger_path
        self.signing_conn_id = signing_conn_id
        self.max_workers = max_workers
        self.quota_reserve = quota_reserve
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """List again, and delete what is in the plan and still due; return the summary."""
        from airflow_provider_anyformat.bulk import apply_plan

        with self._task(context, ApplyPurgePlanOperator) as task:
            given = task.given
            return apply_plan(
                task.client,
                open_folder(given["plan_path"], "plan_path"),
                given["plan_digest"],
                task.options,
                ttl=given["plan_ttl"],
                plan_path=given["plan_path"],
                approved_by=None if given["approved_by"] is NOT_GIVEN else given["approved_by"],
                held=given["exclude_collection_ids"],
                holds=task.holds,
                min_retention=task.min_retention,
            )


def _in_batches(ids: list[str], batch_size: Any) -> list[str] | list[list[str]]:
    """
    Cut a list into batches, over which Airflow can map a task.

    :param batch_size: ids a batch; ``NOT_GIVEN``: one flat list.
    :raises AnyformatValueError: there are too many ids for an XCom, or too many batches.
    """
    if len(ids) > LARGEST_LIST:
        raise AnyformatValueError(
            f"limit: {len(ids)} ids are more than the {LARGEST_LIST} that one XCom should hold; set limit to take fewer"
            " per run (with batch_size for larger batches), or let PurgeFileCollectionsOperator do it in one task"
        )
    if batch_size is NOT_GIVEN:
        return ids
    from airflow_provider_anyformat._airflow import conf

    batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    most = int(conf.getint("core", "max_map_length", fallback=1024))
    if len(batches) > most:
        raise AnyformatValueError(
            f"batch_size: {len(ids)} ids in batches of {batch_size} make {len(batches)} batches, and Airflow maps a"
            f" task over at most {most} (core.max_map_length); raise batch_size, or set limit to take fewer per run"
        )
    return batches
