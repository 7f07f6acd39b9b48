"""What became processed since the last look at a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_anyformat.api.models import parse_timestamp

# Rows may show up this much later than the time that they bear.
_LATE = timedelta(minutes=10)
# Of the ids that bear such times, a cursor holds this many; it is kept in Airflow's database.
_IDS = 500


class News:
    """
    Tells which processed collections are new since the last look.

    :param workflow_id: the workflow.
    :param cursor: what :attr:`cursor` was in an earlier process. Default: the first look is the baseline, and
        nothing in it is news.
    """

    def __init__(self, workflow_id: str, cursor: Any = None) -> None:
        self._workflow_id = workflow_id
        self._known: set[int] | None = None
        cursor = cursor if isinstance(cursor, dict) else {}
        self._after = parse_timestamp(cursor.get("after"))
        self._ids = frozenset(cursor.get("ids", ()))

    def of(self, processed: Sequence[tuple[str, datetime | None]]) -> list[dict[str, Any]]:
        """
        Return ``{"collection_id", "workflow_id", "processed_at"}`` of each new one.

        :param processed: id and time of every processed collection.
        """
        new = [(id_, moment) for id_, moment in processed if self._is_new(id_, moment)]
        self._known = {hash(id_) for id_, _ in processed}
        dated = sorted(((moment, id_) for id_, moment in processed if moment is not None), reverse=True)
        latest = dated[0][0] if dated else datetime.now(UTC)
        recent = [(moment, id_) for moment, id_ in dated[:_IDS] if moment > latest - _LATE]
        # Where they are more than a cursor holds, those that are not in it must not come again.
        self._after = recent[-1][0] if len(recent) == _IDS else latest - _LATE
        self._ids = frozenset(id_ for _, id_ in recent)
        return [
            {
                "collection_id": id_,
                "workflow_id": self._workflow_id,
                "processed_at": None if moment is None else moment.isoformat(),
            }
            for id_, moment in new
        ]

    @property
    def cursor(self) -> dict[str, Any]:
        """Where it stands, as plain JSON."""
        return {"after": None if self._after is None else self._after.isoformat(), "ids": sorted(self._ids)}

    def _is_new(self, id_: str, moment: datetime | None) -> bool:
        if self._known is not None:
            return hash(id_) not in self._known
        return self._after is not None and moment is not None and moment >= self._after and id_ not in self._ids
