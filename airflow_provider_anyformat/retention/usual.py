"""Whether a run would delete unusually many, measured by what earlier runs of its task deleted."""

from __future__ import annotations

import json
import statistics
from bisect import insort
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_anyformat.exceptions import AnyformatLedgerError, AnyformatStoppedError, AnyformatValueError
from airflow_provider_anyformat.retention.chain import FOLLOWS, runs_of_task, unnamed
from airflow_provider_anyformat.retention.ledger import task_folder
from airflow_provider_anyformat.retention.plan import PLAN_FILE, SUMMARY_FILE, Guards, Origin, PurgePlan

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder

# With fewer closed runs nothing is usual yet.
_FEWEST_RUNS = 5
_LAST_RUNS = 10


def usual_deletions(root: Folder | None, origin: Origin, guards: Guards) -> float | None:
    """
    Return the median of what the last runs of a task deleted that deleted anything.

    :param root: the ledger; ``None`` for a task without one.
    :param origin: the run that asks.
    :param guards: its guards.
    :return: ``None`` where the guard is not set, or too few runs are on record.
    :raises AnyformatValueError: the guard is set, and there is no ledger.
    :raises AnyformatLedgerError: the earlier runs could not be read.
    """
    if guards.max_times_usual is None:
        return None
    if root is None:
        raise AnyformatValueError(
            "max_times_usual: it requires ledger_path, because earlier runs are looked up there; give a ledger_path, or"
            " leave max_times_usual out"
        )
    folder = root.folder(task_folder(origin))
    try:
        runs = runs_of_task(folder)
        if sum(SUMMARY_FILE in files for files in runs.values()) < _FEWEST_RUNS:
            return None
        last = list(islice((number for number in _newest_first(folder, runs) if number), _LAST_RUNS))
    except AnyformatStoppedError:
        raise
    except Exception as error:
        # Each object store has exceptions of its own.
        raise AnyformatLedgerError(
            f"max_times_usual: the earlier runs in {folder.url} could not be read: {type(error).__name__}: {error}."
            " Nothing was deleted; see that the task may list and read its ledger"
        ) from error
    return statistics.median(last) if last else None


def _newest_first(folder: Folder, runs: Mapping[str, Collection[str]]) -> Iterator[int]:
    """Yield how many each closed run deleted, going back along the chain, so that old runs are not read."""
    seen: set[str] = set()
    waiting: list[tuple[str, str]] = []
    more = unnamed(runs)
    while True:
        for name in more:
            if name in runs and name not in seen:
                seen.add(name)
                insort(waiting, (str(json.loads(folder.read(f"{name}/{PLAN_FILE}"))["made_at"]), name))
        if not waiting:
            return
        _, name = waiting.pop()
        yield int(json.loads(folder.read(f"{name}/{SUMMARY_FILE}"))["deleted"])
        named = (json.loads(folder.read(f"{name}/{file}")) for file in runs[name] if FOLLOWS.fullmatch(file))
        more = [each for content in named for each in content]


def guarded(plan: PurgePlan, usual: float | None) -> PurgePlan:
    """
    Return the plan, with its guard tripped if it would delete unusually many.

    :param usual: what :func:`usual_deletions` returned.
    """
    times = plan.guards.max_times_usual
    if usual is None or times is None or len(plan.rows) <= times * usual:
        return plan
    sentence = (
        f"max_times_usual: this run would delete {len(plan.rows)} file collections, more than {times:g} times the usual"
        f" {usual:g}, the median of the last runs of this task that deleted anything. Nothing was deleted. If that many"
        " are meant to go, raise max_times_usual."
    )
    return replace(plan, tripped=plan.tripped | {"max_times_usual": sentence})
