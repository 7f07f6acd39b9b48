"""What can be done with many collections: list what is due, delete ids, purge."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.models import canonical_id
from airflow_provider_anyformat.bulk.report import log_plan
from airflow_provider_anyformat.bulk.run import DeletionRun, RunOptions
from airflow_provider_anyformat.bulk.scan import Scan, Scanner
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.earlier import maybe_deleted
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.usual import guarded, usual_deletions

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.retention.ledger import Outcome
    from airflow_provider_anyformat.retention.policy import RetentionPolicy


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
    usual = usual_deletions(options.ledger, options.origin, guards)
    earlier = maybe_deleted(options.ledger, options.origin)
    plan = PurgePlan.of_ids(
        collection_ids,
        held=held,
        guards=guards,
        origin=options.origin,
        now=datetime.now(UTC),
        earlier=earlier or (),
    )
    plan = guarded(plan, usual)
    log_plan(plan)

    def resolve_missing(outcome: Outcome) -> Outcome:
        was_sent = is_retry and (earlier is None or canonical_id(outcome.collection_id) in earlier)
        return replace(outcome, outcome="already_gone" if was_sent or ignore_if_missing else "failed")

    return DeletionRun(
        client.paced(options.quota_reserve),
        plan,
        options,
        resolve_missing=resolve_missing,
        # Without a ledger nobody knows what an earlier try has sent.
        abort_if_all_missing=not is_retry or (earlier is not None and not earlier),
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
    usual = usual_deletions(options.ledger, options.origin, guards)
    scan = Scanner(client.paced(options.quota_reserve), workflow_ids, policy).scan()
    earlier = maybe_deleted(options.ledger, options.origin) or ()
    plan = guarded(make_plan(scan, guards, options.origin, earlier), usual)
    log_plan(plan)
    run = DeletionRun(client, plan, options)
    return run.only_plan() if plan_only else run.carry_out(scan)


def make_plan(scan: Scan, guards: Guards, origin: Origin, earlier: Collection[str] = ()) -> PurgePlan:
    """Make the plan of a complete reading; ``earlier`` are ids that earlier tries may have deleted."""
    return PurgePlan.of_selections(scan.selections, guards=guards, origin=origin, now=scan.now, earlier=earlier)
