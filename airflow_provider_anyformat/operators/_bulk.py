"""The operators for many collections: what was given becomes a policy, a plan, and a run."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.quota import QuotaGate
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators._listing import Reader
from airflow_provider_anyformat.operators._parameters import LEFT_OUT
from airflow_provider_anyformat.operators._purging import BulkRun, log_plan, make_plan, plan_of_ids
from airflow_provider_anyformat.operators._storage import FolderArchive, open_folder
from airflow_provider_anyformat.retention.plan import Guards, Origin
from airflow_provider_anyformat.retention.policy import RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.hooks.anyformat import ConnectionSettings
    from airflow_provider_anyformat.operators._deleting import Result

# What one XCom can sensibly hold, and a mapped task expand over.
LARGEST_LIST = 100_000
# A listing that is not made for deletion asks for no age: everything is older than the shortest time there is.
_ANY_AGE = timedelta.resolution

log = logging.getLogger(__name__)


def list_due(
    client: AnyformatClient, settings: ConnectionSettings, given: dict[str, Any], context: Mapping[str, Any]
) -> list[str] | list[list[str]]:
    """
    Return the ids that a policy selects, oldest first, in batches if that was asked for.

    :raises AnyformatError: the listing failed, a guard tripped, or the list is too long for an XCom.
    """
    batch_size = given["batch_size"]
    for_deletion = given["older_than"] is not LEFT_OUT or batch_size is not LEFT_OUT
    if for_deletion:
        _check_min_retention(given, settings)
    else:
        given = given | {"older_than": _ANY_AGE, "max_deletions": "unlimited", "max_deletions_percent": 100}
    client.gate = QuotaGate(longest_wait=client.max_backoff)
    plan = make_plan(_reader(client, given, context).read(), _guards(given), origin_of(client, context))
    log_plan(plan)
    if for_deletion and plan.tripped:
        raise AnyformatValueError("\n".join(plan.tripped.values()))
    ids = [row.collection_id for row in plan.rows]
    if len(ids) > LARGEST_LIST:
        raise AnyformatValueError(
            f"limit: {len(ids)} ids are more than the {LARGEST_LIST} that one XCom should hold; set limit to take so"
            " many a run (with batch_size for larger batches), or let PurgeFileCollectionsOperator do it in one task"
        )
    if batch_size is LEFT_OUT:
        return ids
    batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    most = _max_map_length()
    if len(batches) > most:
        raise AnyformatValueError(
            f"batch_size: {len(ids)} ids in batches of {batch_size} make {len(batches)} batches, and Airflow maps a"
            f" task over at most {most} (core.max_map_length); raise batch_size, or set limit to take fewer a run"
        )
    return batches


def delete_given(
    client: AnyformatClient, given: dict[str, Any], context: Mapping[str, Any], *, is_retry: bool
) -> dict[str, Any]:
    """
    Delete the ids that were handed over, and return the summary.

    :param is_retry: whether an earlier try of the task may have deleted some of them.
    :raises AnyformatError: a guard tripped, or something was not deleted.
    """
    plan = plan_of_ids(
        given["collection_ids"],
        given["exclude_collection_ids"],
        Guards(max_deletions=given["max_deletions"]),
        origin_of(client, context),
    )
    log_plan(plan)

    def judge_missing(result: Result) -> Result:
        gone = is_retry or given["ignore_if_missing"]
        return replace(result, outcome="already_gone" if gone else "failed")

    return BulkRun(
        client,
        plan,
        folder_of(given, "ledger_path"),
        workers=given["max_workers"],
        quota_reserve=given["quota_reserve"],
        push=pusher_of(context),
        judge_missing=judge_missing,
        alarm_if_missing=not is_retry,
    ).carry_out()


def purge(
    client: AnyformatClient, settings: ConnectionSettings, given: dict[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Delete what a policy says is due, and return the summary.

    :raises AnyformatError: the listing failed, a guard tripped, or something was not deleted.
    """
    _check_min_retention(given, settings)
    root, archive = folder_of(given, "ledger_path"), folder_of(given, "archive_path")
    client.gate = QuotaGate(given["quota_reserve"], client.max_backoff)
    reader = _reader(client, given, context)
    listing = reader.read()
    plan = make_plan(listing, _guards(given), origin_of(client, context))
    log_plan(plan)
    run = BulkRun(
        client,
        plan,
        root,
        workers=given["max_workers"],
        quota_reserve=given["quota_reserve"],
        push=pusher_of(context),
        archive=None if archive is None else FolderArchive(archive),
    )
    if given["plan_only"]:
        return run.only_plan()
    return run.carry_out(listing, reader)


def _reader(client: AnyformatClient, given: dict[str, Any], context: Mapping[str, Any]) -> Reader:
    now = datetime.now(UTC)
    reference = given["reference_time"]
    if reference is LEFT_OUT:
        # A run that an asset or a person started may have no data interval.
        reference = context.get("data_interval_end") or now
    policy = RetentionPolicy(
        older_than=given["older_than"],
        reference_time=min(reference, now),
        age_by=given["age_by"],
        statuses=given["statuses"],
        exclude_collection_ids=given["exclude_collection_ids"],
        include_names=given["include_names"],
        exclude_names=given["exclude_names"],
        keep_last=given["keep_last"],
    )
    return Reader(client, given["workflow_id"], policy)


def _guards(given: dict[str, Any]) -> Guards:
    return Guards(given["max_deletions"], given["max_deletions_percent"], given["limit"])


def _check_min_retention(given: dict[str, Any], settings: ConnectionSettings) -> None:
    older_than = given["older_than"]
    if older_than is LEFT_OUT:
        raise AnyformatValueError(
            'older_than: it was left out; a list in batches is made for deletion, and needs an age such as "P90D"'
        )
    if older_than < settings.min_retention:
        raise AnyformatValueError(
            f"older_than: {older_than} is shorter than the connection's min_retention, {settings.min_retention}; ask"
            " for a longer age, or have the connection's extra changed by whoever is responsible for it"
        )


def folder_of(given: dict[str, Any], name: str) -> Any:
    return None if given[name] is LEFT_OUT else open_folder(given[name], name)


def origin_of(client: AnyformatClient, context: Mapping[str, Any]) -> Origin:
    instance = context.get("ti")
    if instance is None:
        return Origin(service=client.base_url, provider_version=__version__)
    return Origin(
        service=client.base_url,
        dag_id=instance.dag_id,
        task_id=instance.task_id,
        map_index=instance.map_index,
        run_id=instance.run_id,
        try_number=instance.try_number,
        provider_version=__version__,
    )


def pusher_of(context: Mapping[str, Any]) -> Callable[[str, Any], None]:
    instance = context.get("ti")

    def push(key: str, value: Any) -> None:
        if instance is not None:
            instance.xcom_push(key=key, value=value)

    return push


def _max_map_length() -> int:
    from airflow_provider_anyformat._airflow import conf

    return int(conf.getint("core", "max_map_length", fallback=1024))
