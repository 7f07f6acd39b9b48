"""What can be done with many collections: list what is due, delete ids, purge."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.bulk.pool import MISSING_AT_THE_START
from airflow_provider_anyformat.bulk.report import log_plan
from airflow_provider_anyformat.bulk.run import DeletionRun, RunOptions
from airflow_provider_anyformat.bulk.scan import Scan, Scanner
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.earlier import Earlier
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.usual import guarded, usual_deletions

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.retention.ledger import Outcome
    from airflow_provider_anyformat.retention.policy import RetentionPolicy

_WAY_OUT = "set ledger_path, which says what they deleted"

log = logging.getLogger(__name__)


def list_due(
    client: AnyformatClient, workflow_ids: Sequence[str], policy: RetentionPolicy, guards: Guards, origin: Origin
) -> list[str]:
    """
    Return the ids that a policy selects, oldest first.

    :param client: the client; it is paced from now on.
    :param workflow_ids: the workflows.
    :param policy: what is due.
    :param guards: the most that may be selected.
    :param origin: which run this is.
    :raises AnyformatError: the listing failed, or a guard tripped.
    """
    plan = make_plan(Scanner(client.paced(), workflow_ids, policy).scan(), guards, origin)
    log_plan(plan)
    if plan.tripped:
        raise AnyformatValueError("\n".join(plan.tripped.values()))
    return [row.collection_id for row in plan.rows]


def delete_ids(
    client: AnyformatClient,
    collection_ids: Sequence[str],
    guards: Guards,
    options: RunOptions,
    *,
    held: Sequence[str] = (),
    ignore_if_missing: bool = False,
    is_retry: bool = False,
) -> dict[str, Any]:
    """
    Delete the ids that were handed over, and return the summary.

    :param client: the client; it is paced from now on.
    :param collection_ids: the ids.
    :param guards: the most that may be deleted.
    :param options: how to delete, and where to keep what.
    :param held: legal holds: ids that stay; default none.
    :param ignore_if_missing: whether one that is not there (HTTP 404) is success; default ``False``.
    :param is_retry: whether an earlier try of the task may have deleted some of them; default ``False``.
    :raises AnyformatError: a guard tripped, or something was not deleted.
    """
    usual = usual_deletions(options.earlier_runs(client), options.origin, guards)
    earlier = _earlier(client, options)
    plan = PurgePlan.of_ids(
        collection_ids,
        held=held,
        guards=guards,
        origin=options.origin,
        now=datetime.now(UTC),
        earlier=earlier.ids,
    )
    plan = guarded(plan, usual)
    log_plan(plan)

    def resolve_missing(outcome: Outcome) -> Outcome:
        was_sent = is_retry and earlier.may_have_deleted(outcome.collection_id)
        return replace(outcome, outcome="already_gone" if was_sent or ignore_if_missing else "failed")

    if not is_retry or earlier.sent_nothing:
        missing_alarm: int | None = MISSING_AT_THE_START
    else:
        # What an earlier try deleted stands first, and is missing now; but all of it needs evidence.
        missing_alarm = None if earlier.is_known else max(MISSING_AT_THE_START, len(plan.rows))
    if is_retry and not earlier.names_all:
        log.warning("On this retry, a collection that is missing counts as deleted by an earlier try; %s", _WAY_OUT)
    return DeletionRun(
        client.paced(options.quota_reserve),
        plan,
        options,
        resolve_missing=resolve_missing,
        missing_alarm=missing_alarm,
        earlier=earlier,
    ).carry_out()


def purge(
    client: AnyformatClient,
    workflow_ids: Sequence[str],
    policy: RetentionPolicy,
    guards: Guards,
    options: RunOptions,
    *,
    plan_only: bool = False,
) -> dict[str, Any]:
    """
    Delete what a policy says is due, and return the summary.

    :param client: the client; it is paced from now on.
    :param workflow_ids: the workflows.
    :param policy: what is due.
    :param guards: the most that may be deleted.
    :param options: how to delete, and where to keep what.
    :param plan_only: whether to delete nothing and show the plan; default ``False``.
    :raises AnyformatError: the listing failed, a guard tripped, or something was not deleted.
    """
    usual = usual_deletions(options.earlier_runs(client), options.origin, guards)
    scan = Scanner(client.paced(options.quota_reserve), workflow_ids, policy).scan()
    earlier = _earlier(client, options)
    plan = guarded(make_plan(scan, guards, options.origin, earlier.ids), usual)
    log_plan(plan)
    run = DeletionRun(client, plan, options, earlier=earlier)
    return run.only_plan() if plan_only else run.carry_out(scan)


def _earlier(client: AnyformatClient, options: RunOptions) -> Earlier:
    earlier = Earlier(options.earlier_runs(client), options.store, options.origin)
    if options.origin.try_number > 1 and not earlier.names_all:
        log.warning(
            "Nothing says which collections earlier tries deleted, so limit and max_deletions count this try alone; %s",
            _WAY_OUT,
        )
    return earlier


def make_plan(scan: Scan, guards: Guards, origin: Origin, earlier: Collection[str] = ()) -> PurgePlan:
    """Make the plan of a complete reading; ``earlier`` are ids that earlier tries may have deleted."""
    return PurgePlan.of_selections(scan.selections, guards=guards, origin=origin, now=scan.now, earlier=earlier)
