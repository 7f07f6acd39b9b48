"""Ledgers read back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.verification import verify

GONE = {"deleted", "already_gone", "gone_unconfirmed"}


@dataclass(frozen=True)
class Run:
    """
    One run's folder of a ledger.

    :param name: the folder, below the ledger's.
    :param files: content by name.
    """

    name: str
    files: dict[str, bytes]

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        parts = [data for name, data in sorted(self.files.items()) if name.startswith(prefix)]
        return [json.loads(line) for data in parts for line in data.splitlines()]

    @property
    def planned(self) -> list[str]:
        return [row["collection_id"] for row in self.rows("plan.jsonl")] if "plan.json" in self.files else []

    @property
    def outcomes(self) -> dict[str, str]:
        return outcomes_by_id(self.rows("outcomes-"))

    @property
    def summary(self) -> dict[str, Any] | None:
        return json.loads(self.files["summary.json"]) if "summary.json" in self.files else None

    def check_digests(self) -> None:
        """Hold the summary's SHA-256 against every other file of the folder."""
        assert self.summary is not None
        actual = {n: hashlib.sha256(data).hexdigest() for n, data in self.files.items() if n != "summary.json"}
        assert self.summary["sha256"] == actual


def outcomes_by_id(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the outcome of each id: a later one outranks an earlier one, ``deleted`` outranks all."""
    outcomes: dict[str, str] = {}
    for row in rows:
        if outcomes.get(row["collection_id"]) != "deleted":
            outcomes[row["collection_id"]] = row["outcome"]
    return outcomes


def read_runs(names: Iterable[str], read: Callable[[str], bytes]) -> list[Run]:
    """Read every run's folder of a ledger, by name."""
    runs: dict[str, dict[str, bytes]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        runs.setdefault(folder, {})[file] = read(name)
    return [Run(name, files) for name, files in sorted(runs.items())]


def ledger_of(folder: Path) -> list[Run]:
    """Read a local ledger; nothing in it looks tampered with."""
    planned = any(folder.rglob("plan.json"))
    found = {each.problem: each.detail for each in verify(LocalFolder(folder)).problems} if planned else {}
    assert found.keys() <= {"unclosed"}, found
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    visible = [name for name in names if ".unfinished-" not in name]
    return read_runs(visible, lambda name: (folder / name).read_bytes())


def ledger_rows(folder: str, name: str = "outcomes-*.jsonl") -> list[dict[str, Any]]:
    """Read the rows of one run's folder."""
    return [json.loads(line) for file in sorted(Path(folder).glob(name)) for line in file.read_text().splitlines()]


def ledger_outcomes(folder: str) -> dict[str, str]:
    """Read the outcome of each id from one run's folder."""
    return outcomes_by_id(ledger_rows(folder))


def plan_json(folder: str) -> dict[str, Any]:
    (content,) = ledger_rows(folder, "plan.json")
    return content


def age(folder: Path, hours: float = 2) -> None:
    """Let what is in a ledger be older: a run that wrote something within the last hour may be alive."""
    for file in folder.rglob("*.json*"):
        os.utime(file, (file.stat().st_mtime - 3600 * hours,) * 2)
