"""What the sandbox knows: workflows, their collections, and what was deleted. All in memory, safe for threads."""

from __future__ import annotations

import os
import threading
import time
import uuid
import zlib
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat.sandbox.settings import RequestRecord, Settings

# A moment as the user may give it. Text is shown as it is: a test may want a timestamp that is none.
Moment = datetime | str | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LEFT_OUT: Any = object()


class Row:
    """One file collection. A million of these are held, so moments are microseconds since 1970 wherever they can be."""

    __slots__ = ("created", "file_id", "gone", "id", "name", "started", "status", "updated", "workflow")

    def __init__(
        self,
        workflow: Workflow,
        id: str,  # noqa: A002 - the field's name in the API
        name: str | None,
        status: str,
        created: int | str | None,
        updated: int | str | None,
        file_id: str | None,
        started: float | None = None,
    ) -> None:
        self.workflow = workflow
        self.id = id
        self.name = name
        self.status = status
        self.created = created
        self.updated = updated
        self.file_id = file_id
        self.started = started
        self.gone = False


class Workflow:
    """A workflow and its rows, which may hold some that are gone until the next listing."""

    __slots__ = ("count", "created", "gaps", "id", "name", "rows", "sorted_by")

    def __init__(self, id: str, name: str, created: int) -> None:  # noqa: A002 - the field's name in the API
        self.id = id
        self.name = name
        self.created = created
        self.rows: list[Row] = []
        self.count = 0
        self.gaps = False
        self.sorted_by: str | None = None

    def ordered(self, order: str) -> list[Row]:
        """Return the live rows in ``order``; work is done only where something changed since the last call."""
        if self.gaps:
            self.rows = [row for row in self.rows if not row.gone]
            self.gaps = False
        if self.sorted_by != order:
            if order == "shuffled":
                self.rows.sort(key=lambda row: zlib.crc32(row.id.encode()))
            else:
                self.rows.sort(key=lambda row: _age_key(row.created), reverse=order == "newest")
            self.sorted_by = order
        return self.rows


def _age_key(created: int | str | None) -> int:
    if isinstance(created, int):
        return created
    try:
        return to_micros(datetime.fromisoformat(created or ""))
    except ValueError:
        return 0


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970; a moment without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def iso(moment: int | str | None) -> str | None:
    """Return a moment as the API writes it."""
    if isinstance(moment, int):
        return (_EPOCH + moment * _MICROSECOND).isoformat().replace("+00:00", "Z")
    return moment


def _stored(moment: Moment) -> int | str | None:
    return to_micros(moment) if isinstance(moment, datetime) else moment


class State:
    """
    The sandbox's memory. Every method may be called from any thread.

    :param settings: read anew at each use, so that a change takes effect at once.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.workflows: dict[str, Workflow] = {}
        self.rows: dict[str, Row] = {}
        self.deleted: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.log: deque[RequestRecord] = deque(maxlen=settings.log_size)
        self.extra_keys: set[str] = set()
        self.revoked_keys: set[str] = set()
        self.denied_scopes: dict[str, str] = {}

    def now(self) -> datetime:
        """Return what the server's clock shows."""
        return datetime.now(UTC) + self.settings.clock_offset

    def key_is_valid(self, key: str) -> bool:
        """Say whether ``key`` opens this server."""
        return key not in self.revoked_keys and (key == self.settings.key or key in self.extra_keys)

    def add_workflow(self, workflow_id: str | None, name: str) -> str:
        """Add a workflow; return its id."""
        workflow = Workflow(workflow_id or str(uuid.uuid4()), name, to_micros(self.now()))
        with self.lock:
            if workflow.id in self.workflows:
                raise ValueError(f"id: there is a workflow {workflow.id!r} already; give another id or none")
            self.workflows[workflow.id] = workflow
        return workflow.id

    def add(
        self,
        workflow_id: str,
        *,
        collection_id: str | None = None,
        name: str | None = "document.pdf",
        status: str = "processed",
        created_at: Moment = LEFT_OUT,
        updated_at: Moment = LEFT_OUT,
        file_id: str | None = None,
        processing: bool = False,
    ) -> Row:
        """Add one collection. ``processing`` starts the clock that makes it ``processed`` after a while."""
        created = to_micros(self.now()) if created_at is LEFT_OUT else _stored(created_at)
        row = Row(
            self.workflow(workflow_id),
            collection_id or str(uuid.uuid4()),
            name,
            status,
            created,
            created if updated_at is LEFT_OUT else _stored(updated_at),
            file_id,
            time.monotonic() if processing else None,
        )
        with self.lock:
            if row.id in self.rows:
                raise ValueError(f"id: there is a collection {row.id!r} already; give another id or none")
            self._insert([row])
        return row

    def fill(
        self, workflow_id: str, n: int, *, status: str, name: str | None, created_at: datetime, step: timedelta
    ) -> list[str]:
        """Add ``n`` collections, each ``step`` younger than the one before; return their ids."""
        workflow = self.workflow(workflow_id)
        first, each = to_micros(created_at), step // _MICROSECOND
        numbered = name is not None and "{}" in name
        rows = []
        for i, collection_id in enumerate(_uuids(n)):
            created = first + i * each
            rows.append(
                Row(
                    workflow,
                    collection_id,
                    name.replace("{}", str(i)) if numbered and name else name,
                    status,
                    created,
                    created,
                    None,
                )
            )
        with self.lock:
            self._insert(rows)
        return [row.id for row in rows]

    def _insert(self, rows: list[Row]) -> None:
        for row in rows:
            self.rows[row.id] = row
        if rows:
            workflow = rows[0].workflow
            workflow.rows.extend(rows)
            workflow.count += len(rows)
            workflow.sorted_by = None

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the workflow, or raise ``KeyError`` with a sentence."""
        with self.lock:
            try:
                return self.workflows[workflow_id]
            except KeyError:
                raise KeyError(f"there is no workflow {workflow_id!r}; add_workflow() makes one") from None

    def update(self, collection_id: str, **fields: Moment) -> None:
        """Change fields of a collection; ``KeyError`` where there is none."""
        with self.lock:
            row = self.rows[collection_id]
            if "status" in fields:
                row.status, row.started = str(fields["status"]), None
            if "name" in fields:
                row.name = None if fields["name"] is None else str(fields["name"])
            if "created_at" in fields:
                row.created = _stored(fields["created_at"])
                row.workflow.sorted_by = None
            if "updated_at" in fields:
                row.updated = _stored(fields["updated_at"])

    def delete(self, collection_id: str) -> bool:
        """Delete as the API does; say whether there was something to delete."""
        with self.lock:
            row = self.rows.get(collection_id)
            if row is None:
                return False
            if self.status_and_update(row)[0] in ("pending", "queued", "in_progress"):
                self.cancelled.add(collection_id)
            self.remove(collection_id)
            self.deleted[collection_id] += 1
            return True

    def remove(self, collection_id: str) -> None:
        """Make a collection vanish without counting it as deleted; ``KeyError`` where there is none."""
        with self.lock:
            row = self.rows.pop(collection_id)
            row.gone = True
            row.workflow.gaps = True
            row.workflow.count -= 1

    def status_and_update(self, row: Row) -> tuple[str, int | str | None]:
        """Return the status a collection has now, and its ``updated_at``: processing goes on between two looks."""
        if row.started is None:
            return row.status, row.updated
        whole = self.settings.processing_seconds
        elapsed = time.monotonic() - row.started
        if elapsed < whole / 2:
            return "pending", row.updated
        status, after = ("in_progress", whole / 2) if elapsed < whole else ("processed", whole)
        return status, row.updated + int(after * 1_000_000) if isinstance(row.updated, int) else row.updated

    def as_json(self, row: Row) -> dict[str, Any]:
        """Return a row as a listing shows it."""
        status, updated = self.status_and_update(row)
        shown = {
            "id": row.id,
            "name": row.name,
            "status": status,
            "created_at": iso(row.created),
            "updated_at": iso(updated),
        }
        if row.file_id is not None:
            shown["file_id"] = row.file_id
        elif self.settings.file_ids:
            # Version 5 of the collection's id: always the same one, and never that of a collection.
            shown["file_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, row.id))
        return shown

    def page(self, workflow_id: str, page: int, page_size: int) -> dict[str, Any]:
        """Return one page of a workflow's listing."""
        with self.lock:
            workflow = self.workflow(workflow_id)
            start = (page - 1) * page_size
            rows = workflow.ordered(self.settings.order)[start : start + page_size]
            return {
                "count": workflow.count,
                "page": page,
                "page_size": page_size,
                "results": [self.as_json(row) for row in rows],
            }

    def statuses(self, workflow_id: str) -> dict[str, int]:
        """Return how many collections a workflow has in each status."""
        with self.lock:
            live = self.workflow(workflow_id).ordered(self.settings.order)
            return dict(Counter(self.status_and_update(row)[0] for row in live))


def _uuids(n: int) -> Iterator[str]:
    """Yield ``n`` random UUIDs of version 4, several times faster than the standard library writes them."""
    while n > 0:
        text = os.urandom(16 * 4096).hex()
        for at in range(0, 32 * min(n, 4096), 32):
            h = text[at : at + 32]
            yield f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"
        n -= 4096
