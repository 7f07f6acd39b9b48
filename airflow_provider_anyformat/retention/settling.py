"""What earlier, killed runs of a task left open: planned ids without an outcome."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.values import canonical_id, is_id, shown
from airflow_provider_anyformat.retention.chain import KEYS_A_FILE, key_of
from airflow_provider_anyformat.retention.ledger import GONE, OPEN_FILE, Ledger, Outcome, encoded, task_folder
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE, SUMMARY_FILE, Origin, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from airflow_provider_anyformat.retention.folder import Folder

# A run of another DAG run that wrote something within this many seconds may still be alive.
_MAY_BE_ALIVE = 3600.0


@dataclass(frozen=True, slots=True)
class Mark:
    """
    What a ``settled-….json`` says of one earlier run.

    :param folder: the run's, below the task's.
    :param left: by workflow, the ids that were neither gone nor planned again.
    :param sha256: of each of its files.
    """

    folder: str
    left: dict[str, list[str]]
    sha256: dict[str, str]


def marks_in(data: bytes) -> list[Mark]:
    """
    Return what a ``settled-….json`` says.

    :raises Exception: it is damaged.
    """
    content = json.loads(data)
    # Earlier versions wrote a file for each run and workflow.
    runs = content.get("runs") or [content | {"open": {content["workflow_id"]: content["open"]}}]
    return [
        Mark(
            str(run["folder"]),
            {name: [each for each in ids if is_id(each)] for name, ids in run["open"].items()},
            dict(run.get("sha256", {})),
        )
        for run in runs
    ]


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

    Call it after this run's plan is written and before its first delete. Runs without a ``summary.json`` are read if
    they have this run's map index or one of its workflows: an earlier try of the same DAG run at once, another only
    when its last file is older than an hour, because until then, or where the storage does not tell, it may be alive.
    What the server says is gone becomes ``gone_unconfirmed`` in *this* run's outcomes, because nothing that exists is
    ever written to; what it still shows and this run plans is in this run's hands. One ``settled-….json`` says that
    this was done, and which ids still exist without being planned again, so that no later run reads the old plans.

    :param root: the folder that the user named.
    :param ledger: this run's.
    :param origin: this run.
    :param workflow_ids: the workflows that this run has listed completely.
    :param is_gone: says of a workflow's id whether it is certainly gone: the server says so, and no listing shows it.
    :param planned: the ids of this run's plan.
    :param runs: the files of each earlier run, as ``chain.follow`` lists them.
    :raises AnyformatLedgerError: this run's ledger could not be written.
    """
    settled = Settled()
    folder = root.folder(task_folder(origin))
    old = _Old(folder, runs, settled.warnings)
    own = ledger.name.removeprefix(f"{task_folder(origin)}/")
    found = [left for name in old.over(own, origin) if (left := old.left_open(name, origin, workflow_ids))]
    over = old.gone | set(map(canonical_id, planned))
    for run in found:
        for workflow_id, ids in run.left.items():
            for key, collection_id in sorted(ids.items()):
                # What is planned may be gone as well.
                if key not in old.gone and is_gone(workflow_id, collection_id):
                    outcome = Outcome(collection_id, workflow_id, "gone_unconfirmed")
                    settled.outcomes.append(outcome)
                    ledger.record(outcome)
                    ledger.tick()
                    old.gone.add(key)
            over |= old.gone
            run.left[workflow_id] = {key: each for key, each in ids.items() if key not in over}
    ledger.flush()
    _mark(ledger, old, [run for run in found if run.left != run.marked])
    return settled


def _mark(ledger: Ledger, old: _Old, runs: list[_Left]) -> None:
    for start in range(0, len(runs), KEYS_A_FILE):
        some = runs[start : start + KEYS_A_FILE]
        content = [
            {
                "folder": run.folder,
                "open": {name: sorted(ids.values()) for name, ids in run.left.items()},
                # No summary has them: from here on a change of the killed run's files is noticed.
                "sha256": old.hashes(run.folder),
            }
            for run in some
        ]
        name = f"settled-{'-'.join(key_of(run.folder) for run in some)}.json"
        ledger.put(name, canonical({"runs": content}))


@dataclass(slots=True)
class _Left:
    """
    What one old run left open: for each workflow, ids as they were written, by their canonical form.

    :param marked: what earlier settlings found so.
    """

    folder: str
    left: dict[str, dict[str, str]]
    marked: dict[str, dict[str, str]]


class _Old:
    """The folders of a task's earlier runs."""

    def __init__(self, folder: Folder, runs: dict[str, list[str]], warnings: list[str]) -> None:
        self._folder = folder
        self._warnings = warnings
        self._runs = runs
        # Which files may say that a run is settled: their names have its key.
        self._mark_files: dict[str, list[str]] = {}
        for run, files in self._runs.items():
            for file in files:
                if file.startswith("settled-"):
                    for key in file[len("settled-") : -len(".json")].split("-"):
                        self._mark_files.setdefault(key, []).append(f"{run}/{file}")
        # In canonical form.
        self.gone: set[str] = set()

    def over(self, own: str, origin: Origin) -> list[str]:
        """Return the folders, except this run's, that have a plan, no final file, and nothing more to come."""
        return sorted(
            name
            for name, files in self._runs.items()
            if name != own
            and PLAN_FILE in files
            and (OPEN_FILE in files if SUMMARY_FILE in files else self._is_over(name, origin))
        )

    def _is_over(self, name: str, origin: Origin) -> bool:
        index, run, number, _ = name.split("/")
        if (index, run) == (str(origin.map_index), encoded(origin.run_id)) and number.isdecimal():
            return int(number) <= origin.try_number
        parts = [file for file in self._runs[name] if file.startswith("outcomes-")]
        last = max(parts, key=lambda file: (len(file), file), default=PLAN_FILE)
        try:
            return time.time() - self._folder.modified(f"{name}/{last}") > _MAY_BE_ALIVE
        except Exception:  # noqa: BLE001 - storage of any kind: the run may be alive
            return False

    def hashes(self, name: str) -> dict[str, str]:
        """Return the SHA-256 of every file of an old run."""
        return {
            file: hashlib.sha256(self._folder.read(f"{name}/{file}")).hexdigest() for file in sorted(self._runs[name])
        }

    def left_open(self, name: str, origin: Origin, workflow_ids: Collection[str]) -> _Left | None:
        """Return what an old run left open of the workflows; ``None`` where that is nothing of ours."""
        marked = self._marked(name, workflow_ids)
        new: dict[str, dict[str, str]] = {each: {} for each in workflow_ids if each not in marked}
        if not new and not any(marked.values()):
            return None
        try:
            if not name.startswith(f"{origin.map_index}/"):
                workflows = json.loads(self._folder.read(f"{name}/{PLAN_FILE}"))["workflows"]
                if not set(workflow_ids).intersection(workflows):
                    return None
            if new:
                for row in self._rows(name, ROWS_FILE):
                    if row["workflow_id"] in new:
                        new[row["workflow_id"]] |= _by_key([row["collection_id"]])
            known = self._known(name)
        except Exception as error:  # noqa: BLE001 - storage of any kind; the next run tries again
            self._warn(f"{name} could not be read and stays open: {type(error).__name__}: {error}")
            return None
        left = {
            workflow_id: {key: each for key, each in ids.items() if key not in known}
            for workflow_id, ids in (marked | new).items()
        }
        return _Left(name, left, marked)

    def _known(self, name: str) -> set[str]:
        known = set()
        for file in self._runs[name]:
            if file.startswith("outcomes-"):
                for row in self._rows(name, file):
                    key = canonical_id(row["collection_id"])
                    if row.get("outcome") != "unknown":
                        known.add(key)
                    if row.get("outcome") in GONE:
                        self.gone.add(key)
        return known

    def _marked(self, name: str, workflow_ids: Collection[str]) -> dict[str, dict[str, str]]:
        """Return, for each workflow that was settled, what every earlier settling of this folder left open."""
        marked: dict[str, dict[str, str]] = {}
        earlier = (hashlib.sha256(f"{name} {each}".encode()).hexdigest()[:16] for each in workflow_ids)
        for file in {file for key in (key_of(name), *earlier) for file in self._mark_files.get(key, ())}:
            try:
                marks = marks_in(self._folder.read(file))
            except Exception as error:  # noqa: BLE001 - then the old folder itself is read
                self._warn(f"{file} could not be read: {type(error).__name__}: {error}")
                continue
            for mark in marks:
                for workflow_id in mark.left.keys() & set(workflow_ids) if mark.folder == name else ():
                    ids = _by_key(mark.left[workflow_id])
                    before = marked.get(workflow_id, ids)
                    marked[workflow_id] = {key: each for key, each in ids.items() if key in before}
        return marked

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


def _by_key(ids: Iterable[str]) -> dict[str, str]:
    return {canonical_id(each): each for each in ids}
