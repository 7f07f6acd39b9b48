"""``history``: the runs of a ledger."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.cli.opening import open_ledger_folder
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.retention.evidence import Run, in_order, open_ledger, outcomes_of, reading

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("ledger", metavar="LEDGER", help="the ledger_path of the tasks, or a copy of it")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """List the runs, oldest first."""
    folder = open_ledger_folder(arguments.ledger)
    runs = [_entry(folder, run) for run in in_order(open_ledger(folder)) if run.plan]
    output.show({"runs": runs}, lambda: _show(runs, output))
    return 0


def _entry(folder: Folder, run: Run) -> dict[str, Any]:
    counts = run.summary if run.closed else _counts_of_killed(folder, run)
    return {
        "run": run.name,
        "made_at": run.plan.get("made_at"),
        "dag": run.plan.get("dag"),
        "due": counts.get("due"),
        "deleted": counts.get("deleted"),
        "failed": counts.get("failed"),
        "kept": counts.get("kept"),
        "approved_by": run.plan.get("approved_by"),
        "closed": run.closed,
    }


def _counts_of_killed(folder: Folder, run: Run) -> dict[str, Any]:
    with reading(folder):
        outcomes = Counter(outcomes_of(folder, run).values())
    failed = outcomes["failed"] + outcomes["unknown"]
    return {"due": run.plan.get("count"), "deleted": outcomes["deleted"], "failed": failed, "kept": {}}


def _show(runs: list[dict[str, Any]], output: Output) -> None:
    output.table(
        ("made at", "dag", "#due", "#deleted", "#failed", "#kept", "approved by", "closed", "run"),
        [
            (
                each["made_at"],
                each["dag"],
                each["due"],
                each["deleted"],
                each["failed"],
                sum((each["kept"] or {}).values()),
                each["approved_by"],
                "yes" if each["closed"] else "no",
                each["run"],
            )
            for each in runs
        ],
    )
