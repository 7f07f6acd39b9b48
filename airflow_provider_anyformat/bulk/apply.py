"""Deleting what an earlier plan lists, and nothing else."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.bulk.report import log_applied
from airflow_provider_anyformat.bulk.run import DeletionRun, RunOptions
from airflow_provider_anyformat.bulk.scan import Scan, Scanner
from airflow_provider_anyformat.retention.foresight import forecast
from airflow_provider_anyformat.retention.plan import Applied, Guards, PurgePlan, cases_of, unmatched_by_all
from airflow_provider_anyformat.retention.reasons import DUE
from airflow_provider_anyformat.retention.stored_plan import StoredPlan

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.holds import Hold
    from airflow_provider_anyformat.retention.policy import MinRetention, PlannedRow, RetentionPolicy

# Why a planned collection is kept that is still due, but is not as the plan has it.
CHANGED = "changed"

log = logging.getLogger(__name__)


def apply_plan(
    client: AnyformatClient,
    folder: Folder,
    digest: str,
    options: RunOptions,
    *,
    ttl: timedelta,
    plan_path: str,
    approved_by: str | None = None,
    held: Sequence[str] = (),
    holds: tuple[Hold, ...] = (),
    min_retention: MinRetention | None = None,
) -> dict[str, Any]:
    """
    Delete what an earlier plan lists and is still due, and return the summary.

    :param client: the client; it is paced from now on.
    :param folder: where the plan lies.
    :param digest: its digest: what was approved.
    :param options: how to delete, and where to keep what.
    :param ttl: how old the plan may be.
    :param plan_path: the address of ``folder`` as it was given, for the record.
    :param approved_by: who approved it; default: no one is recorded.
    :param held: legal holds that came since; default none.
    :param holds: legal holds with a case, as they are now; default none.
    :param min_retention: the shortest age that the plan may have been made with; default: any.
    :raises AnyformatError: the plan may not be applied, the listing failed, or something was not deleted.
    """
    stored = StoredPlan.load(folder, digest)
    stored.check(service=client.base_url, now=datetime.now(UTC), ttl=ttl)
    policy = stored.policy(held, holds)
    if min_retention is not None:
        policy.check_min_retention(min_retention, "plan_path")
    scan = _PlanScanner(client.paced(options.quota_reserve), stored, policy).scan()
    rows, unlisted, kept = _sort_out(stored, scan)
    plan = PurgePlan(
        rows=rows,
        listed=sum(selection.listed for selection in scan.selections),
        due=len(stored.rows),
        kept=dict(kept),
        workflow_ids=stored.workflow_ids,
        policy=policy,
        cutoff=scan.selections[0].cutoff,
        guards=Guards("unlimited", 100, "unlimited"),
        made_at=scan.now,
        origin=replace(options.origin, owner=stored.content.get("owner"), basis=stored.content.get("basis")),
        unmatched_holds=unmatched_by_all(scan.selections),
        forecast=None if stored.has_globs else forecast(scan.selections),
        cases=cases_of(scan.selections, {canonical_id(row.collection_id) for row in stored.rows}),
        applied=Applied(
            plan_path,
            digest,
            stored.content["policy"] | {"exclude_collection_ids": list(policy.exclude_collection_ids)},
            approved_by,
        ),
    )
    log_applied(plan, len(unlisted))
    return DeletionRun(client, plan, options, unlisted=unlisted).carry_out(scan)


class _PlanScanner(Scanner):
    """
    List a plan's workflows again; due is what the plan lists, word for word, and the policy still finds due.

    :param client: the client.
    :param stored: the plan.
    :param policy: its policy, with the holds that came since.
    """

    def __init__(self, client: AnyformatClient, stored: StoredPlan, policy: RetentionPolicy) -> None:
        self._planned = {canonical_id(row.collection_id): row for row in stored.rows}
        super().__init__(client, stored.workflow_ids, policy, self._planned)

    def scan(self) -> Scan:
        """List every workflow from its first page to its last."""
        scan = super().scan()
        for selection in scan.selections:
            selection.due = [row for row in selection.due if self._is_as_planned(row)]
        return scan

    def _is_as_planned(self, row: PlannedRow) -> bool:
        planned = self._planned.get(canonical_id(row.collection_id))
        return planned is not None and planned[1:] == row[1:]


def _sort_out(stored: StoredPlan, scan: Scan) -> tuple[list[PlannedRow], set[str], Counter[str]]:
    """Return the rows that are due or not listed, in the plan's order, which of them are not, and why others stay."""
    due = {canonical_id(row.collection_id) for selection in scan.selections for row in selection.due}
    rows, unlisted, kept = [], set(), Counter[str]()
    for row in stored.rows:
        name = row.collection_id
        shown_by = scan.shown_by(name)
        if not shown_by:
            # Rows shift while pages are read: that it is not listed does not mean that it is gone.
            unlisted.add(name)
        elif canonical_id(name) not in due:
            # Where another workflow shows it now, that one's row says why it stays, and a due one was moved.
            reason = scan.reason(row.workflow_id if row.workflow_id in shown_by else shown_by[0], name)
            kept[CHANGED if reason == DUE.reason else reason] += 1
            log.info("Collection %s is in the plan and stays: %s", name, CHANGED if reason == DUE.reason else reason)
            continue
        rows.append(row)
    return rows, unlisted, kept
