"""What OpenLineage learns about a run; its provider calls this, and without it nothing here is imported."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.generated.base import RunFacet

SERVICE = "https://api.anyformat.ai"


@attr.define
class AnyformatRunFacet(RunFacet):
    """
    What became of the collections, as numbers.

    :param due: how many were due, or given.
    :param deleted: how many were deleted.
    :param already_gone: how many were gone before.
    :param failed: how many may not have been deleted.
    :param not_attempted: how many were not asked for.
    :param kept: how many were kept, by reason.
    """

    due: int
    deleted: int
    already_gone: int
    failed: int
    not_attempted: int
    kept: dict[str, int]


def lineage_of(operator: Any) -> OperatorLineage:
    """
    Return the workflows as inputs, the run's ledger as output, and its numbers, as far as it came.

    :param operator: the task, after its run.
    """
    summary = operator.summary or {}
    given = getattr(operator, "workflow_id", None)
    workflow_ids = summary.get("workflow_ids") or ([given] if isinstance(given, str) else given or [])
    facets = {}
    if summary:
        names = [each.name for each in attr.fields(AnyformatRunFacet) if each.name in summary]
        facets["anyformat_deletion"] = AnyformatRunFacet(**{name: summary[name] for name in names})
    return OperatorLineage(
        inputs=[Dataset(namespace=SERVICE, name=f"workflows/{workflow_id}") for workflow_id in workflow_ids],
        outputs=[_folder(summary["ledger"])] if summary.get("ledger") else [],
        run_facets=facets,
    )


def _folder(path: str) -> Dataset:
    url = urlsplit(path)
    if url.scheme in ("", "file"):
        return Dataset(namespace="file", name=url.path)
    return Dataset(namespace=f"{url.scheme}://{url.netloc}", name=url.path.strip("/"))
