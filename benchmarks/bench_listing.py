"""
Listing, deciding and planning at a million rows: time beside ``json.loads`` of the same pages alone, and memory.

For the time, ``AnyformatClient.iter_pages`` is stood in for: it makes each page's text out of nothing, which is not
counted, and reads it as the client does (``json.loads``, ``Page.from_json``). Seconds are those of the processor, so
that other work on the machine counts little.

For the memory nothing is stood in for. A process of its own runs ``PurgeFileCollectionsOperator(plan_only=True)`` with
a ledger against a server in another process: pages over HTTP, decision, plan, digest, both files of the plan.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.models import Page
    from benchmarks._server import PAGE_SIZE, page_text, serving
else:
    # This file runs alone, and finds what lies beside it.
    from _server import PAGE_SIZE, page_text, serving

ROWS, EVERY, TURNS = 1_000_000, 10, 3
# Rows, of which every so-many-th is due, and what that may take.
MEMORY = ((1_000_000, 10, 220), (60_000, 1, 40))
PAGES = -(-ROWS // PAGE_SIZE)


def loads_alone() -> float:
    """Read every page's text; return the seconds that took."""
    taken = 0.0
    for number in range(1, PAGES + 1):
        text = page_text(ROWS, EVERY, number)
        start = time.process_time()
        json.loads(text)
        taken += time.process_time() - start
    return taken


def read_and_decide() -> float:
    """Read, decide and plan through the operators' own path; return the seconds without the making of the texts."""
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.api.models import Page
    from airflow_provider_anyformat.bulk.jobs import make_plan
    from airflow_provider_anyformat.bulk.scan import Scanner
    from airflow_provider_anyformat.retention.plan import Guards, Origin
    from airflow_provider_anyformat.retention.policy import RetentionPolicy

    making = 0.0

    class Client(AnyformatClient):
        def iter_pages(self, workflow_id: str) -> Iterator[Page]:
            nonlocal making
            for number in range(1, PAGES + 1):
                start = time.process_time()
                text = page_text(ROWS, EVERY, number)
                making += time.process_time() - start
                yield Page.from_json(json.loads(text), workflow_id, number, datetime.now(UTC))

    policy = RetentionPolicy(older_than=timedelta(days=90), reference_time=datetime.now(UTC))
    guards, origin = Guards("unlimited", 100, "unlimited"), Origin("http://127.0.0.1:1")
    start = time.process_time()
    scan = Scanner(Client("af_benchmark", "http://127.0.0.1:1"), ("listing",), policy).scan()
    plan = make_plan(scan, guards, origin)
    taken = time.process_time() - start - making
    if (plan.listed, len(plan.rows)) != (ROWS, ROWS // EVERY):
        raise RuntimeError(f"of {plan.listed} rows {len(plan.rows)} are due")
    return taken


def show_time() -> bool:
    """Print the time beside that of ``json.loads`` alone."""
    turns = [(loads_alone(), read_and_decide()) for _ in range(TURNS)]
    alone, ours = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    ratio = statistics.median(ours / alone for alone, ours in turns)
    print(f"{f'{ROWS:,} rows, {ROWS // EVERY:,} due':40}{'json.loads':>12}{'ours':>12}{'ratio':>8}  goal")
    print(f"{'read, decide, plan':40}{alone:10.2f} s{ours:10.2f} s{ratio:8.2f}  at most 3", flush=True)
    return ratio <= 3


def status_mb(name: str) -> float:
    """Return an entry of Linux's ``/proc/self/status``: ``ru_maxrss`` would be that of the parent to begin with."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


def purge_memory(rows: int, every: int, folder: str) -> None:
    """Plan a purge, in a process of its own, and write down what it took over the start."""
    from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

    def purge(rows: int, every: int) -> int:
        operator = PurgeFileCollectionsOperator(
            task_id="purge",
            workflow_id=f"list-{rows}-{every}",
            older_than=timedelta(days=90),
            max_deletions="unlimited",
            plan_only=True,
            ledger_path=f"{folder}/ledger",
        )
        return int(operator.execute({})["due"])

    # What is imported and made once belongs to the start.
    purge(1, 1)
    start = status_mb("VmRSS")
    due = purge(rows, every)
    Path(folder, "result").write_text(f"{status_mb('VmHWM') - start} {due}")


def show_memory() -> bool:
    """Print what planning a purge takes over the start, at the highest."""
    met = True
    print(f"\n{'memory over the start, at the highest':40}{'ours':>12}  goal")
    with serving() as url:
        for rows, every, goal in MEMORY:
            with tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as folder:
                connection = {"conn_type": "anyformat", "host": url, "password": "af_benchmark"}
                environment = os.environ | {
                    "AIRFLOW_HOME": folder,
                    "AIRFLOW_CONN_ANYFORMAT_DEFAULT": json.dumps(connection),
                }
                command = [sys.executable, "-W", "ignore", __file__, str(rows), str(every), folder]
                subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
                taken, due = Path(folder, "result").read_text().split()
            if int(due) != rows // every:
                raise RuntimeError(f"of {rows} rows {due} are due")
            met = met and float(taken) <= goal
            print(
                f"{f'{rows:,} listed, {rows // every:,} due':40}{float(taken):9.0f} MB  at most {goal} MB", flush=True
            )
    return met


def main() -> bool:
    """Print both tables; return whether every goal was met."""
    logging.disable(logging.INFO)
    met = show_time()
    return show_memory() and met


if __name__ == "__main__":
    if len(sys.argv) == 4:
        purge_memory(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        raise SystemExit(not main())
