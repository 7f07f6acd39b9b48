"""A ledger read back: which runs it has, what each planned, and what became of it."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatValueError
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE, SUMMARY_FILE
from airflow_provider_anyformat.retention.settling import Mark, marks_in

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder

# What anyone may find in a run's folder; a file of another name there is not the ledger's.
RUN_FILE = re.compile(
    r"plan\.jsonl?|held\.jsonl|summary\.(?:json|sig)|open\.json|outcomes-\d{5,}\.jsonl|(?:settled|follows)-[0-9a-f-]+\.json"
)
_PLANNED_ID = re.compile(r'^\{"collection_id":"([A-Za-z0-9_-]{1,128})",', re.MULTILINE)


@dataclass(slots=True)
class Run:
    """
    One run's folder.

    :param name: the folder, below the ledger's.
    :param files: names of its files, in order; of one in a folder below, its path from here.
    :param plan: ``plan.json``; empty where it is missing or unreadable.
    :param summary: ``summary.json``; empty likewise.
    :param summary_sha256: its SHA-256; empty where it is missing: the run was killed, or goes on.
    """

    name: str
    files: list[str] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    summary_sha256: str = ""

    @property
    def closed(self) -> bool:
        """Whether it has a summary."""
        return SUMMARY_FILE in self.files

    @property
    def previous(self) -> list[str]:
        """The hashes that its summary names."""
        previous = self.summary.get("previous")
        return [each for each in previous if isinstance(each, str)] if isinstance(previous, list) else []

    @property
    def task(self) -> str:
        """The folder, below the ledger's, of all runs of its task."""
        return self.name.rsplit("/", 4)[0]

    @property
    def parts(self) -> list[str]:
        """The outcome files, in the order they were written."""
        return sorted((name for name in self.files if name.startswith("outcomes-")), key=lambda name: (len(name), name))

    def settled(self, folder: Folder) -> Iterator[Mark]:
        """Yield what each ``settled-….json`` says; the folders of its runs are those below the ledger's."""
        for name in self.files:
            if name.startswith("settled-"):
                data = folder.read(f"{self.name}/{name}")
                # A damaged one settles nothing.
                with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    yield from [replace(each, folder=f"{self.task}/{each.folder}") for each in marks_in(data)]


def no_progress(done: int, total: int | None) -> None:
    """Report no progress."""


def find_runs(folder: Folder) -> dict[str, Run]:
    """
    Return the runs of a ledger by their folders, without reading a file.

    :param folder: the ledger.
    :raises AnyformatValueError: there is no run in it.
    :raises Exception: it could not be listed.
    """
    names = [name.rpartition("/") for name in folder.files()]
    runs = {parent: Run(parent) for parent, _, file in names if RUN_FILE.fullmatch(file)}
    for parent, _, file in names:
        owner = parent
        while owner not in runs and "/" in owner:
            owner = owner.rpartition("/")[0]
        if owner in runs:
            runs[owner].files.append(f"{parent}/{file}".removeprefix(f"{owner}/"))
    for run in runs.values():
        run.files.sort()
    if not any(PLAN_FILE in run.files or SUMMARY_FILE in run.files for run in runs.values()):
        raise AnyformatValueError(f"LEDGER: {folder.url} has no run in it; give the ledger_path of the tasks")
    return dict(sorted(runs.items()))


def load_run(folder: Folder, run: Run) -> Run:
    """Read a run's plan and summary into it; either may have gone missing since the folder was listed."""
    if PLAN_FILE in run.files:
        run.plan = as_object(folder.read(f"{run.name}/{PLAN_FILE}"))
    if SUMMARY_FILE in run.files:
        data = folder.read(f"{run.name}/{SUMMARY_FILE}")
        run.summary, run.summary_sha256 = as_object(data), hashlib.sha256(data).hexdigest()
    return run


@contextmanager
def reading(folder: Folder) -> Iterator[None]:
    """
    Read a ledger's files.

    :param folder: the ledger.
    :raises AnyformatValueError: one of them could not be read.
    """
    try:
        yield
    except AnyformatError:
        raise
    except Exception as error:
        # Each object store has exceptions of its own.
        raise AnyformatValueError(
            f"LEDGER: {folder.url} cannot be read: {type(error).__name__}: {error}. See that it exists and that you may"
            " read it"
        ) from error


def open_ledger(folder: Folder) -> dict[str, Run]:
    """
    Return the runs of a ledger, their plans and summaries read.

    :param folder: the ledger.
    :raises AnyformatValueError: there is no run in it, or it could not be read.
    """
    with reading(folder):
        return {name: load_run(folder, run) for name, run in find_runs(folder).items()}


def as_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that ``data`` is; an empty one for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def rows_of(data: bytes) -> list[Any]:
    """
    Return the rows of a ``.jsonl`` file.

    :raises ValueError: a line is not JSON.
    """
    # One call for all: a call for each line takes half as long again.
    text = data.rstrip(b"\n").replace(b"\n", b",\n")
    rows = json.loads(b"[" + text + b"]")
    if len(rows) != data.count(b"\n"):
        raise ValueError("its lines are not one row each")
    return list(rows)


def outcomes_of(folder: Folder, run: Run) -> dict[str, str]:
    """Return the outcome of each id of a run: a later one outranks an earlier one, ``deleted`` outranks all."""
    outcomes: dict[str, str] = {}
    for name in run.parts:
        add_outcomes(outcomes, folder.read(f"{run.name}/{name}"))
    return outcomes


def add_outcomes(outcomes: dict[str, str], data: bytes) -> None:
    """
    Add the outcomes of one file.

    :raises Exception: a row is not an outcome.
    """
    for row in rows_of(data):
        collection_id, outcome = row["collection_id"], row["outcome"]
        if outcomes.get(collection_id) != "deleted":
            outcomes[collection_id] = outcome


def planned_ids(data: bytes) -> list[str]:
    """
    Return the ids of ``plan.jsonl``, in its order.

    :raises ValueError: a row has no id.
    """
    text = data.decode()
    ids = _PLANNED_ID.findall(text)
    if len(ids) != text.count("\n"):
        raise ValueError(f"{ROWS_FILE} has {text.count(chr(10))} lines, of which {len(ids)} name a collection")
    return ids


def in_order(runs: dict[str, Run]) -> list[Run]:
    """Return runs oldest first: a run comes after those that its summary names, otherwise by ``made_at``."""
    by_hash = {run.summary_sha256: name for name, run in runs.items() if run.closed}
    after: dict[str, list[str]] = {name: [] for name in runs}
    waits = dict.fromkeys(runs, 0)
    for name, run in runs.items():
        for earlier in {by_hash[each] for each in run.previous if each in by_hash}:
            after[earlier].append(name)
            waits[name] += 1
    ready = [(str(runs[name].plan.get("made_at")), name) for name, number in waits.items() if not number]
    heapq.heapify(ready)
    ordered = []
    while ready:
        name = heapq.heappop(ready)[1]
        ordered.append(runs[name])
        for later in after[name]:
            waits[later] -= 1
            if not waits[later]:
                heapq.heappush(ready, (str(runs[later].plan.get("made_at")), later))
    return ordered
