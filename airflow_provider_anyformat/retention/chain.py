"""
The chain of a task's runs: each closed run names the summaries that no other run named before it.

A later run must learn which summaries are named without reading every run of the past. So a run that names others
says which ones in the *name* of a file beside its summary, ``follows-<key>[-<key>…].json``, where a key is the start of
the SHA-256 of a run's folder: listing the task's folder is enough, and the summaries read are those to be named.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.ledger import Ledger, task_folder
from airflow_provider_anyformat.retention.plan import SUMMARY_FILE, Origin, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_anyformat.retention.folder import Folder

FOLLOWS = re.compile(r"follows((?:-[0-9a-f]{12})+)\.json")
# So that the longest name stays well below the 255 bytes that file systems take.
KEYS_A_FILE = 16
# map index / run / try / random digits
_DEPTH = 4


def follow(root: Folder, ledger: Ledger, origin: Origin) -> tuple[dict[str, list[str]], list[str]]:
    """
    Name, in a run's ledger, the closed runs of its task that no run names yet.

    :param root: the folder that the user named.
    :param ledger: the run's.
    :param origin: the run.
    :return: the files of each earlier run, none where they may not be listed, and sentences about what could not be
        read.
    :raises AnyformatLedgerError: the earlier runs could not be listed, or this run's ledger could not be written.
    """
    folder = root.folder(task_folder(origin))
    warnings: list[str] = []
    try:
        runs = runs_of_task(folder)
    except PermissionError as error:
        # Some may only add to their ledger. What this run does is on record all the same.
        sentence = f"ledger {folder.url}: the task may not list it ({error}), so this run names no earlier one"
        return {}, [f"{sentence}, and what a killed one left open is not settled"]
    except Exception as error:
        raise AnyformatLedgerError(
            f"ledger_path: the folders of earlier runs in {folder.url} could not be listed:"
            f" {type(error).__name__}: {error}"
        ) from error
    link(ledger, summaries_of(folder, unnamed(runs), warnings.append))
    return runs, [f"ledger {folder.url}: {each}" for each in warnings]


def runs_of_task(folder: Folder) -> dict[str, list[str]]:
    """
    Return the names of the files in the folder of each run.

    :param folder: the task's, as ``task_folder`` names it.
    :raises Exception: it could not be listed.
    """
    runs: dict[str, list[str]] = {}
    for name in folder.files():
        run, _, file = name.rpartition("/")
        if run.count("/") == _DEPTH - 1:
            # The same few names again and again: a year of runs has a hundred thousand files.
            runs.setdefault(run, []).append(sys.intern(file))
    return runs


def unnamed(runs: Mapping[str, Collection[str]]) -> list[str]:
    """
    Return the closed runs that no closed run names yet.

    :param runs: the files of each run's folder; the folders are those below the task's.
    """
    closed = {name: files for name, files in runs.items() if SUMMARY_FILE in files}
    named = {
        key
        for files in closed.values()
        for file in files
        if (found := FOLLOWS.fullmatch(file))
        for key in found[1].split("-")
    }
    return sorted(name for name in closed if key_of(name) not in named)


def summaries_of(folder: Folder, names: Collection[str], warn: Callable[[str], None]) -> dict[str, str]:
    """
    Return the SHA-256 of each run's ``summary.json``.

    :param folder: the task's.
    :param names: the runs, below it.
    :param warn: told about a summary that cannot be read; it is left out, and the next run tries again.
    """
    hashes = {}
    for name in names:
        try:
            hashes[name] = hashlib.sha256(folder.read(f"{name}/{SUMMARY_FILE}")).hexdigest()
        except Exception as error:  # noqa: BLE001 - storage of any kind
            warn(f"{name}/{SUMMARY_FILE} could not be read and is not chained: {type(error).__name__}: {error}")
    return hashes


def link(ledger: Ledger, hashes: Mapping[str, str]) -> None:
    """
    Name earlier runs in a run's ledger.

    :param ledger: the run's.
    :param hashes: the SHA-256 of each named run's summary, by its folder below the task's.
    :raises AnyformatLedgerError: it could not be written.
    """
    names = sorted(hashes)
    for start in range(0, len(names), KEYS_A_FILE):
        some = names[start : start + KEYS_A_FILE]
        ledger.put(f"follows-{'-'.join(map(key_of, some))}.json", canonical({name: hashes[name] for name in some}))
    ledger.previous = sorted(hashes.values())


def key_of(name: str) -> str:
    """Return what stands for a run's folder, below the task's, in the names of other runs' files."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
