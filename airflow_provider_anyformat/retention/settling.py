"""What earlier, killed runs of a task left open: planned ids of which nobody wrote what became of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.models import is_id, shown
from airflow_provider_anyformat.retention.ledger import GONE, OPEN_FILE, Ledger, Outcome, task_folder
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE, SUMMARY_FILE, Origin, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from airflow_provider_anyformat.retention.folder import Folder


@dataclass(slots=True)
class Settled:
    """
    What :func:`settle` did.

    :param outcomes: a ``gone_unconfirmed`` for each id that was planned, has no outcome and is gone.
    :param warnings: sentences about files that could not be read.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def settle(
    root: Folder,
    ledger: Ledger,
    origin: Origin,
    *,
    workflow_ids: Collection[str],
    is_gone: Callable[[str, str], bool],
    planned: Collection[str],
    runs: dict[str, list[str]],
) -> Settled:
    """
    Write down the fate of what earlier, killed runs of the same task planned and left without an outcome.

    Call it after this run's plan is written and before its first delete. Only folders of this task without a
    ``summary.json`` are read, those of all its map indexes. What the server says is gone becomes
    ``gone_unconfirmed`` in *this* run's outcomes, for nothing that exists is ever written to; what it still shows and
    this run plans is in this run's hands. ``settled-….json``, one for each old folder and workflow, says that this was
    done, and which of its ids are still listed without being planned again, so that no later run reads the old
    folder's plan once more.

    An old folder may belong to a run that is still alive. Then both write of the same id, and its ``deleted`` outranks
    our ``gone_unconfirmed``.

    :param root: the folder that the user named.
    :param ledger: this run's.
    :param origin: this run.
    :param workflow_ids: the workflows of which this run has a complete listing.
    :param is_gone: says of a workflow's id whether it is certainly gone: the server says so, and no listing shows it.
    :param planned: the ids of this run's plan.
    :param runs: the files of each earlier run, as ``chain.follow`` lists them.
    :raises AnyformatLedgerError: this run's ledger could not be written.
    """
    settled = Settled()
    folder = root.folder(task_folder(origin))
    old = _Old(folder, runs, settled.warnings)
    own = ledger.name.removeprefix(f"{task_folder(origin)}/")
    found = [left for name in old.open_runs(own) for left in old.left_open(name, workflow_ids)]
    gone = old.gone
    for left in found:
        still = {each for each in left.ids - gone if not is_gone(left.workflow_id, each)}
        for collection_id in sorted(left.ids - still - gone):
            outcome = Outcome(collection_id, left.workflow_id, "gone_unconfirmed")
            settled.outcomes.append(outcome)
            ledger.record(outcome)
            ledger.tick()
        gone |= left.ids - still
        left.ids = still.difference(planned)
    ledger.flush()
    for left in found:
        if left.ids != left.marked:
            content = {
                "folder": left.folder,
                "workflow_id": left.workflow_id,
                "open": sorted(left.ids),
                # No summary has them: from here on a change of the killed run's files is noticed.
                "sha256": old.hashes(left.folder),
            }
            ledger.put(_marker(left.folder, left.workflow_id), canonical(content))
    return settled


@dataclass(slots=True)
class _Left:
    """Ids of one workflow that one old run left open; ``marked`` are those that an earlier settling found so."""

    folder: str
    workflow_id: str
    ids: set[str]
    marked: set[str] | None


class _Old:
    """The folders of a task's earlier runs."""

    def __init__(self, folder: Folder, runs: dict[str, list[str]], warnings: list[str]) -> None:
        self._folder = folder
        self._warnings = warnings
        self._runs = runs
        self.gone: set[str] = set()

    def open_runs(self, own: str) -> list[str]:
        """Return the folders, but this run's, that have a plan and no summary."""
        return sorted(
            name
            for name, files in self._runs.items()
            if name != own and PLAN_FILE in files and (SUMMARY_FILE not in files or OPEN_FILE in files)
        )

    def hashes(self, name: str) -> dict[str, str]:
        """Return the SHA-256 of every file of an old run."""
        return {
            file: hashlib.sha256(self._folder.read(f"{name}/{file}")).hexdigest() for file in sorted(self._runs[name])
        }

    def left_open(self, name: str, workflow_ids: Collection[str]) -> Iterator[_Left]:
        """Yield what an old run left open of each of the workflows."""
        marked = {workflow_id: self._marked(name, workflow_id) for workflow_id in workflow_ids}
        if all(ids is not None and not ids for ids in marked.values()):
            return
        try:
            planned: dict[str, set[str]] = {workflow_id: set() for workflow_id in workflow_ids}
            if None in marked.values():
                for row in self._rows(name, ROWS_FILE):
                    if row["workflow_id"] in planned:
                        planned[row["workflow_id"]].add(row["collection_id"])
            known = self._known(name)
        except Exception as error:  # noqa: BLE001 - storage of any kind; the next run tries again
            self._warn(f"{name} could not be read and stays open: {type(error).__name__}: {error}")
            return
        for workflow_id, ids in marked.items():
            yield _Left(name, workflow_id, (planned[workflow_id] if ids is None else ids) - known, ids)

    def _known(self, name: str) -> set[str]:
        known = set()
        for file in self._runs[name]:
            if file.startswith("outcomes-"):
                for row in self._rows(name, file):
                    if row.get("outcome") != "unknown":
                        known.add(row["collection_id"])
                    if row.get("outcome") in GONE:
                        self.gone.add(row["collection_id"])
        return known

    def _marked(self, name: str, workflow_id: str) -> set[str] | None:
        """Return what every earlier settling of this folder and workflow found still listed; ``None`` without one."""
        file, open_ids = _marker(name, workflow_id), None
        for run, files in self._runs.items():
            if file not in files:
                continue
            try:
                ids = {each for each in json.loads(self._folder.read(f"{run}/{file}"))["open"] if is_id(each)}
            except Exception as error:  # noqa: BLE001 - then the old folder itself is read
                self._warn(f"{run}/{file} could not be read: {type(error).__name__}: {error}")
                continue
            open_ids = ids if open_ids is None else open_ids & ids
        return open_ids

    def _rows(self, name: str, file: str) -> Iterator[dict[str, Any]]:
        damaged = 0
        for line in self._folder.read(f"{name}/{file}").splitlines():
            try:
                row = json.loads(line)
                usable = is_id(row["collection_id"]) and isinstance(row["workflow_id"], str | None)
            except (ValueError, TypeError, KeyError, RecursionError):
                usable = False
            if usable:
                yield row
            else:
                damaged += 1
        if damaged:
            self._warn(f"{name}/{file}: {damaged} lines are damaged; what they said of their collections is lost")

    def _warn(self, text: str) -> None:
        self._warnings.append(f"ledger {self._folder.url}: {shown(text, 1000)[1:-1]}")


def _marker(folder: str, workflow_id: str) -> str:
    return f"settled-{hashlib.sha256(f'{folder} {workflow_id}'.encode()).hexdigest()[:16]}.json"
