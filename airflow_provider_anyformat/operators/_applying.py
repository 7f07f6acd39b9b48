"""Deleting what an earlier plan lists, and nothing else."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.quota import QuotaGate
from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError
from airflow_provider_anyformat.operators._bulk import folder_of, origin_of, pusher_of
from airflow_provider_anyformat.operators._listing import Reader
from airflow_provider_anyformat.operators._parameters import LEFT_OUT
from airflow_provider_anyformat.operators._purging import BulkRun, log_unmatched
from airflow_provider_anyformat.operators._storage import FolderArchive, open_folder
from airflow_provider_anyformat.retention.plan import Applied, Guards, PurgePlan, unmatched_by_all
from airflow_provider_anyformat.retention.policy import DUE
from airflow_provider_anyformat.retention.stored import StoredPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.hooks.anyformat import ConnectionSettings
    from airflow_provider_anyformat.operators._listing import Listing
    from airflow_provider_anyformat.retention.policy import PlannedRow, RetentionPolicy

# The reason of a planned collection that is still due, but of which the plan says something else.
CHANGED = "changed"

log = logging.getLogger(__name__)


def apply_plan(
    client: AnyformatClient, settings: ConnectionSettings, given: dict[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Delete what an earlier plan lists and is still due, and return the summary.

    :raises AnyformatError: the plan may not be applied, the listing failed, or something was not deleted.
    """
    stored = _load(given["plan_path"], given["plan_digest"])
    stored.check(service=client.base_url, now=datetime.now(UTC), ttl=given["plan_ttl"])
    policy = stored.policy(given["exclude_collection_ids"])
    if policy.older_than < settings.min_retention:
        raise AnyformatValueError(
            f"plan_path: the plan's older_than, {policy.older_than}, is shorter than the connection's min_retention,"
            f" {settings.min_retention}; make a plan with a longer age, or have the connection's extra changed by"
            " whoever is responsible for it"
        )
    root, archive = folder_of(given, "ledger_path"), folder_of(given, "archive_path")
    client.gate = QuotaGate(given["quota_reserve"], client.max_backoff)
    reader = _PlanReader(client, stored, policy)
    listing = reader.read()
    rows, gone, kept = _sort_out(stored, listing)
    plan = PurgePlan(
        rows=rows,
        listed=sum(selection.listed for selection in listing.selections),
        due=len(stored.rows),
        kept=dict(kept),
        workflow_ids=stored.workflow_ids,
        policy=policy,
        cutoff=listing.selections[0].cutoff,
        guards=Guards("unlimited", 100, "unlimited"),
        made_at=listing.now,
        origin=origin_of(client, context),
        unmatched_holds=unmatched_by_all(listing.selections),
        applied=Applied(
            given["plan_path"],
            given["plan_digest"],
            stored.content["policy"] | {"exclude_collection_ids": list(policy.exclude_collection_ids)},
            None if given["approved_by"] is LEFT_OUT else given["approved_by"],
        ),
    )
    _log(plan, gone)
    return BulkRun(
        client,
        plan,
        root,
        workers=given["max_workers"],
        quota_reserve=given["quota_reserve"],
        push=pusher_of(context),
        archive=None if archive is None else FolderArchive(archive),
        gone=gone,
    ).carry_out(listing, reader)


class _PlanReader(Reader):
    """
    List a plan's workflows again; due is what the plan lists, word for word, and the policy still finds due.

    :param client: the client.
    :param stored: the plan.
    :param policy: its policy, with the holds that came since.
    """

    def __init__(self, client: AnyformatClient, stored: StoredPlan, policy: RetentionPolicy) -> None:
        self._planned = {row.collection_id: row for row in stored.rows}
        super().__init__(client, stored.workflow_ids, policy, self._planned)

    def read(self) -> Listing:
        """List every workflow from its first page to its last."""
        listing = super().read()
        for selection in listing.selections:
            selection.due = [row for row in selection.due if self._planned.get(row.collection_id) == row]
        return listing


def _sort_out(stored: StoredPlan, listing: Listing) -> tuple[list[PlannedRow], set[str], Counter[str]]:
    """Return the rows that are due or gone, in the plan's order, which of them are gone, and why others are kept."""
    due = {row.collection_id for selection in listing.selections for row in selection.due}
    rows, gone, kept = [], set(), Counter[str]()
    for row in stored.rows:
        name = row.collection_id
        shown_by = listing.shown_by(name)
        if not shown_by:
            gone.add(name)
        elif name not in due:
            # Where another workflow shows it now, that one's row says why it stays, and a due one was moved.
            reason = listing.reason(row.workflow_id if row.workflow_id in shown_by else shown_by[0], name)
            kept[CHANGED if reason == DUE.reason else reason] += 1
            log.info("Collection %s is in the plan and stays: %s", name, CHANGED if reason == DUE.reason else reason)
            continue
        rows.append(row)
    return rows, gone, kept


def _load(plan_path: str, plan_digest: str) -> StoredPlan:
    folder = open_folder(plan_path, "plan_path")
    try:
        return StoredPlan.load(folder, plan_digest)
    except AnyformatValueError:
        raise
    except Exception as error:
        # Each object store has exceptions of its own.
        raise AnyformatStorageError(f"plan_path: {folder.url} could not be read: {error}") from error


def _log(plan: PurgePlan, gone: set[str]) -> None:
    kept = ", ".join(f"{reason} {number}" for reason, number in sorted(plan.kept.items())) or "none"
    log.log(
        logging.WARNING if plan.kept else logging.INFO,
        "the plan lists %s, of which %s are to be deleted now, %s are gone already, kept: %s",
        plan.due,
        len(plan.rows) - len(gone),
        len(gone),
        kept,
    )
    log_unmatched(plan)
