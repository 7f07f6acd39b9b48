"""The sandbox's memory: its contents, and counts of what happened to them. Safe for threads."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.sandbox.documents import results, results_v3
from airflow_provider_anyformat.sandbox.faults import FaultBook
from airflow_provider_anyformat.sandbox.rows import (
    MICROSECOND,
    NOT_GIVEN,
    Moment,
    NotGiven,
    Row,
    Run,
    StoredFile,
    Workflow,
    iso,
    stored,
    to_micros,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_anyformat.sandbox.answers import Answer
    from airflow_provider_anyformat.sandbox.settings import RequestRecord, Settings

#: The server's words about a run that did not end well, unless a test gave others.
FAILURES: Mapping[str, str] = {
    "error": "The extraction failed.",
    "cancelled": "The extraction was cancelled.",
}


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
        self.uploads: dict[str, Row] = {}
        self.runs: dict[str, Run] = {}
        self.replays: dict[tuple[str, str], tuple[Any, Answer]] = {}
        self.created: list[str] = []
        self.submitted: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.faults = FaultBook()
        self.failing: list[tuple[str, str, str]] = []
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

    # --- contents that a test puts there ---

    def add_workflow(self, workflow_id: str | None, name: str, fields: Sequence[str] = ("reference",)) -> str:
        """Add a workflow; return its id."""
        workflow = Workflow(workflow_id or str(uuid.uuid4()), name, to_micros(self.now()), tuple(fields))
        with self.lock:
            if workflow.id in self.workflows:
                raise ValueError(f"id: there is a workflow {workflow.id!r} already; give another id, or leave it out")
            self.workflows[workflow.id] = workflow
        return workflow.id

    def add(
        self,
        workflow_id: str,
        *,
        collection_id: str | None = None,
        name: str | None = "document.pdf",
        status: str = "processed",
        created_at: Moment | NotGiven = NOT_GIVEN,
        updated_at: Moment | NotGiven = NOT_GIVEN,
        file_id: str | None = None,
        files: tuple[StoredFile, ...] | None = None,
    ) -> Row:
        """Add one collection."""
        created = to_micros(self.now()) if isinstance(created_at, NotGiven) else stored(created_at)
        updated = created if isinstance(updated_at, NotGiven) else stored(updated_at)
        workflow = self.workflow(workflow_id)
        row = Row(workflow, collection_id or str(uuid.uuid4()), name, status, created, updated, file_id, files)
        with self.lock:
            if row.id in self.rows:
                raise ValueError(f"id: there is a collection {row.id!r} already; give another id, or leave it out")
            self.rows[row.id] = row
            workflow.insert([row])
        return row

    def fill(
        self, workflow_id: str, n: int, *, status: str, name: str | None, created_at: datetime, step: timedelta
    ) -> list[str]:
        """Add ``n`` collections, each ``step`` younger than the one before; return their ids."""
        workflow = self.workflow(workflow_id)
        first, each = to_micros(created_at), step // MICROSECOND
        numbered = name is not None and "{}" in name
        rows = []
        for i, collection_id in enumerate(_uuids(n)):
            shown = name.replace("{}", str(i)) if numbered and name else name
            rows.append(Row(workflow, collection_id, shown, status, first + i * each, first + i * each))
        with self.lock:
            self.rows.update((row.id, row) for row in rows)
            workflow.insert(rows)
        return [row.id for row in rows]

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the workflow, or raise ``KeyError`` with a sentence."""
        with self.lock:
            try:
                return self.workflows[workflow_id]
            except KeyError:
                raise KeyError(f"there is no workflow {workflow_id!r}; add_workflow() makes one") from None

    def update(self, collection_id: str, **fields: Moment) -> None:
        """Change fields of a collection; ``KeyError`` where it does not exist."""
        with self.lock:
            row = self.rows[collection_id]
            if "status" in fields:
                row.status = str(fields["status"])
                if row.run is not None:
                    row.run.began = None
            if "name" in fields:
                row.name = None if fields["name"] is None else str(fields["name"])
            if "created_at" in fields:
                row.created = stored(fields["created_at"])
                row.workflow.sorted_by = None
            if "updated_at" in fields:
                row.updated = stored(fields["updated_at"])

    def remove(self, collection_id: str) -> None:
        """Make a collection vanish without counting it as deleted; ``KeyError`` where it does not exist."""
        with self.lock:
            row = self.rows.pop(collection_id)
            row.gone = True
            row.workflow.gaps = True
            row.workflow.count -= 1

    # --- changes through the API ---

    def upload(self, workflow: Workflow, names: Sequence[str], *, name: str | None, rename: bool = False) -> Row:
        """
        Store documents as one collection that waits to be run.

        :param name: the collection's name.
        :param rename: give a document another name where its own is taken in this workflow.
        """
        with self.lock:
            files = []
            taken = set(self.names(workflow)) if rename else set()
            for each in names:
                free = _free_name(each, taken)
                taken.add(free)
                files.append(StoredFile(str(uuid.uuid4()), free, each if free != each else None))
            shown = files[0].name if rename else name
            row = self.add(workflow.id, name=shown, status="pending", files=tuple(files))
            self.uploads.update((file.id, row) for file in files)
            self.created.append(row.id)
            self.submitted.update(names)
            return row

    def names(self, workflow: Workflow) -> Iterator[str]:
        """Yield the name of every file of a workflow."""
        for row in workflow.ordered(self.settings.order):
            for file in row.all_files:
                if file.name is not None:
                    yield file.name

    def start_run(self, row: Row) -> Run:
        """Begin a run; an entry of :attr:`failing` for one of its documents decides how it ends."""
        with self.lock:
            names = [file.original_name or file.name or "" for file in row.all_files]
            ends_as, detail = next(
                (
                    (status, detail)
                    for pattern, status, detail in reversed(self.failing)
                    if any(name == pattern or fnmatchcase(name, pattern) for name in names)
                ),
                ("processed", ""),
            )
            run = Run(row, to_micros(self.now()), began=time.monotonic(), ends_as=ends_as, detail=detail)
            row.run = self.runs[run.id] = run
            self.started[row.id] += 1
            return run

    def latest_run(self, row: Row) -> Run | None:
        """Return the last run of a collection; one that a test put there had one, unless it is ``pending``."""
        with self.lock:
            if row.run is None and row.status != "pending":
                row.run = Run(row, row.created)
                self.runs[row.run.id] = row.run
            return row.run

    def delete(self, collection_id: str) -> bool:
        """Delete as the API does; say whether there was something to delete."""
        with self.lock:
            row = self.rows.get(collection_id)
            if row is None:
                return False
            if self.progress(row)[0] in ("pending", "queued", "in_progress"):
                self.cancelled.add(collection_id)
            self.remove(collection_id)
            self.deleted[collection_id] += 1
            return True

    # --- views through the API ---

    def progress(self, row: Row, run: Run | None = None) -> tuple[str, int | str | None]:
        """
        Return the status a collection has now, and its ``updated_at``: processing goes on between two looks.

        :param run: of this run; default: of the last one.
        """
        run = run or row.run
        if run is None or run.began is None or not isinstance(run.created, int):
            return row.status, row.updated
        whole = self.settings.processing_seconds
        elapsed = time.monotonic() - run.began
        if elapsed < whole / 2:
            return "queued", run.created
        status, after = ("in_progress", whole / 2) if elapsed < whole else (run.ends_as, whole)
        return status, run.created + int(after * 1_000_000)

    def why(self, row: Row) -> str:
        """Return the server's words about a collection that was not processed."""
        detail = row.run.detail if row.run is not None else ""
        return detail or FAILURES.get(self.progress(row)[0], "")

    def results(self, row: Row, parse_format: str | None = None) -> Any:
        """Return the results of a collection in version 2, or 3 with a format, as ``mangle_results`` leaves them."""
        found = results(row) if parse_format is None else results_v3(row, parse_format)
        return found if self.settings.mangle_results is None else self.settings.mangle_results(found)

    def as_json(self, row: Row) -> dict[str, Any]:
        """Return a row as a listing of version 2 shows it."""
        status, updated = self.progress(row)
        shown = {
            "id": row.id,
            "name": row.name,
            "status": status,
            "created_at": iso(row.created),
            "updated_at": iso(updated),
        }
        if row.file_id is not None or self.settings.file_ids:
            shown["file_id"] = row.first_file_id
        return shown

    def page(self, workflow_id: str, page: int, page_size: int) -> dict[str, Any]:
        """Return one page of a workflow's listing in version 2."""
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
            return dict(Counter(self.progress(row)[0] for row in live))


def _free_name(name: str, taken: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    free, n = name, 0
    while free in taken:
        n += 1
        free = f"{stem} ({n}){dot}{suffix}" if dot else f"{name} ({n})"
    return free


def _uuids(n: int) -> Iterator[str]:
    """Yield ``n`` random UUIDs of version 4, several times faster than the standard library writes them."""
    while n > 0:
        text = os.urandom(16 * 4096).hex()
        for at in range(0, 32 * min(n, 4096), 32):
            h = text[at : at + 32]
            yield f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"
        n -= 4096
