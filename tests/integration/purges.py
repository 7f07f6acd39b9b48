"""What the tests of ledger and archive share: a purge to run, what Airflow would hand it, and its ledger read back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.verification import verify

GONE = {"deleted", "already_gone", "gone_unconfirmed"}
QUICK = {"timeout": 5, "max_attempts": 3, "backoff": 0.01, "max_backoff": 2}


@dataclass
class FakeTaskInstance:
    """As much of a task instance as the operators look at."""

    dag_id: str = "nightly"
    task_id: str = "purge"
    run_id: str = "run-1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


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
        """The last outcome of each id."""
        return {row["collection_id"]: row["outcome"] for row in self.rows("outcomes-")}

    @property
    def summary(self) -> dict[str, Any] | None:
        return json.loads(self.files["summary.json"]) if "summary.json" in self.files else None

    def check_digests(self) -> None:
        """Hold the summary's SHA-256 against every other file of the folder."""
        assert self.summary is not None
        actual = {n: hashlib.sha256(data).hexdigest() for n, data in self.files.items() if n != "summary.json"}
        assert self.summary["sha256"] == actual


def read_runs(names: Iterable[str], read: Callable[[str], bytes]) -> list[Run]:
    """Read every run's folder of a ledger, by name."""
    runs: dict[str, dict[str, bytes]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        runs.setdefault(folder, {})[file] = read(name)
    return [Run(name, files) for name, files in sorted(runs.items())]


def age(folder: Path, hours: float = 2) -> None:
    """Let what is in a ledger be older: a run that wrote something within the last hour may be alive."""
    for file in folder.rglob("*.json*"):
        os.utime(file, (file.stat().st_mtime - 3600 * hours,) * 2)


def ledger_of(folder: Path) -> list[Run]:
    """Read a local ledger; nothing in it looks tampered with."""
    planned = any(folder.rglob("plan.json"))
    found = {each.problem: each.detail for each in verify(LocalFolder(folder)).problems} if planned else {}
    assert found.keys() <= {"unclosed"}, found
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    visible = [name for name in names if ".unfinished-" not in name]
    return read_runs(visible, lambda name: (folder / name).read_bytes())


def fill(sandbox: Any, count: int, days: int = 100, **fields: Any) -> tuple[str, list[str]]:
    """Make a workflow with so many due collections and one that is too young; give its id and those of the due ones."""
    workflow_id = sandbox.add_workflow()
    due = sandbox.fill(workflow_id, count, created_at=datetime.now(UTC) - timedelta(days=days), **fields)
    sandbox.add_collection(workflow_id, name="young.pdf")
    return workflow_id, due


def purge(workflow_id: str, ti: FakeTaskInstance | None = None, /, **parameters: Any) -> dict[str, Any]:
    """Run a purge of what is older than 30 days, and give its summary."""
    given = {"older_than": "P30D", "max_deletions": "unlimited", **parameters}
    context: Mapping[str, Any] = {} if ti is None else {"ti": ti}
    operator = PurgeFileCollectionsOperator(task_id="purge", workflow_id=workflow_id, **given)
    return operator.execute(context)
