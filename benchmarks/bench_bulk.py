"""
Deleting many collections at 50 ms a call, beside what one would write instead.

The server is a process of its own. What is compared takes turns in one process, and each ratio is the median of those
within a turn. Then real DAG runs (``DAG.test()``): one bulk task beside one ``HttpOperator`` task a file.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks._server import serving
else:
    # This file runs alone, and finds what lies beside it.
    from _server import serving

LATENCY = 0.05
WORKERS = 16
DELETES, LOOPED, TURNS = 960, 40, 5
MAPPED, MAPPED_FEW, BULK, RUNS = 14, 2, 600, 3

DAGS = """
import sys
from datetime import datetime
from airflow.providers.http.operators.http import HttpOperator
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

ids = {ids}
for number in ({mapped}, {mapped_few}):
    with DAG(f"mapped_{{number}}", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
        HttpOperator.partial(task_id="delete", method="DELETE").expand(
            endpoint=[f"v2/files/{{each}}/" for each in ids[:number]]
        )
    globals()[dag.dag_id] = dag
with DAG("bulk", schedule=None, start_date=datetime(2024, 1, 1)) as bulk:
    DeleteFileCollectionsOperator(task_id="delete", collection_ids=ids, max_workers={workers})
"""


def connect(url: str) -> None:
    """Let Airflow's connections lead to the server."""
    ours = {"conn_type": "anyformat", "host": url, "password": "af_benchmark"}
    headers = {"Authorization": "Bearer af_benchmark"}
    theirs = {"conn_type": "http", "host": "127.0.0.1", "port": int(url.rpartition(":")[2]), "extra": headers}
    os.environ["AIRFLOW_CONN_ANYFORMAT_DEFAULT"] = json.dumps(ours)
    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps(theirs)


def set_up(home: Path) -> Callable[[str], None]:
    """Give Airflow a home of its own, and no way to standard output; return what still prints there."""
    os.environ.update(
        {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
    )
    console = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    logging.captureWarnings(True)
    return lambda line: print(line, file=console, flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pool(url: str, ids: list[str]) -> None:
    """Delete with a bare thread pool, one session each."""
    import requests

    local = threading.local()

    def delete(collection_id: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.headers["Authorization"] = "Bearer af_benchmark"
        local.session.delete(f"{url}/v2/files/{collection_id}/", timeout=30).raise_for_status()

    with ThreadPoolExecutor(WORKERS) as executor:
        list(executor.map(delete, ids))


def loop(url: str, ids: list[str]) -> None:
    """Delete with one session in a loop."""
    import requests

    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer af_benchmark"
        for collection_id in ids:
            session.delete(f"{url}/v2/files/{collection_id}/", timeout=30).raise_for_status()


def show_deletes(url: str, home: Path, show: Callable[[str], None]) -> bool:
    """Print the bulk delete and the purge beside a bare pool and beside a loop."""
    from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator, PurgeFileCollectionsOperator

    ids = [f"{n:08x}-c011-4ec7-a000-{n:012x}" for n in range(DELETES)]
    common: dict[str, Any] = {"max_workers": WORKERS, "max_deletions": "unlimited"}
    ledger = str(home / "ledger")
    bulk = DeleteFileCollectionsOperator(task_id="bulk", collection_ids=ids, **common)
    recorded = DeleteFileCollectionsOperator(task_id="recorded", collection_ids=ids, ledger_path=ledger, **common)
    purge = PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id=f"list-{DELETES}-1",
        older_than=timedelta(days=90),
        ledger_path=ledger,
        **common,
    )
    ways: dict[str, Callable[[], object]] = {
        "pool": lambda: pool(url, ids),
        "bulk delete": lambda: bulk.execute({}),
        "bulk delete, with ledger": lambda: recorded.execute({}),
        "purge, with listing and ledger": lambda: purge.execute({}),
        "loop": lambda: loop(url, ids[:LOOPED]),
    }
    for call in (bulk.execute, purge.execute):
        # Whatever is imported or made once.
        call({})
    names = list(ways)
    # Another one begins each time, so that none always follows the same.
    turns = [{name: seconds(ways[name]) for name in names[i:] + names[:i]} for i in range(TURNS)]
    met = True
    title = f"{DELETES} deletes at {LATENCY * 1e3:.0f} ms, {WORKERS} workers"
    show(f"{title:44}{'pool':>11}{'ours':>11}{'ratio':>8}  goal")
    for name in names[1:-1]:
        ratio = statistics.median(turn[name] / turn["pool"] for turn in turns)
        theirs, ours = (statistics.median(turn[each] for turn in turns) for each in ("pool", name))
        show(f"{name:44}{theirs:9.3f} s{ours:9.3f} s{ratio:8.3f}  at most 1.05")
        met = met and ratio <= 1.05
    each = [turn["loop"] / LOOPED for turn in turns]
    times = statistics.median(one / (turn["bulk delete"] / DELETES) for one, turn in zip(each, turns, strict=True))
    ours = statistics.median(turn["bulk delete"] for turn in turns) / DELETES
    show(f"\n{'one session in a loop, a file':44}{'loop':>11}{'ours':>11}{'times':>8}  goal")
    show(f"{'bulk delete':44}{statistics.median(each) * 1e3:8.2f} ms{ours * 1e3:8.2f} ms{times:8.1f}  at least 12")
    return met and times >= 12


def show_tasks(home: Path, show: Callable[[str], None]) -> bool:
    """Print one bulk task beside one mapped task a file, at 50 ms a call and with a server that answers at once."""
    ids = [f"{n:08x}-c011-4ec7-a000-{n:012x}" for n in range(BULK)]
    file = home / "dags" / "benchmark.py"
    file.parent.mkdir()
    file.write_text(DAGS.format(ids=ids, mapped=MAPPED, mapped_few=MAPPED_FEW, workers=WORKERS))
    from airflow.utils import db

    db.initdb()
    names: dict[str, Any] = {"__file__": str(file), "__name__": "benchmark"}
    exec(compile(file.read_text(), str(file), "exec"), names)
    dags = {name: names[name] for name in ("bulk", f"mapped_{MAPPED}", f"mapped_{MAPPED_FEW}")}
    show(f"\n{f'DAG.test(), a file; {MAPPED} mapped, {BULK} in bulk':44}{'mapped':>11}{'ours':>11}{'times':>8}  goal")
    met = True
    for latency in (LATENCY, 0.0):
        with serving(latency) as url:
            connect(url)
            for dag in dags.values():
                seconds_of_run(dag)
            turns = [{name: seconds_of_run(dag) for name, dag in dags.items()} for _ in range(RUNS)]
        # What a run takes at any size is left out for the mapped tasks, and counted for the bulk task.
        mapped = [(turn[f"mapped_{MAPPED}"] - turn[f"mapped_{MAPPED_FEW}"]) / (MAPPED - MAPPED_FEW) for turn in turns]
        bulk = [turn["bulk"] / BULK for turn in turns]
        times = statistics.median(one / other for one, other in zip(mapped, bulk, strict=True))
        show(
            f"{f'one task for all, {latency * 1e3:.0f} ms a call':44}{statistics.median(mapped) * 1e3:8.2f} ms"
            f"{statistics.median(bulk) * 1e3:8.2f} ms{times:8.1f}  at least 50"
        )
        met = met and times >= 50
    return met


def seconds_of_run(dag: Any) -> float:
    """Time ``DAG.test()``, which has to succeed."""
    runs: list[Any] = []
    taken = seconds(lambda: runs.append(dag.test()))
    if runs[0].state != "success":
        raise RuntimeError(f"the run of {dag.dag_id} ended as {runs[0].state}")
    return taken


def main() -> bool:
    """Print all tables; return whether every goal was met."""
    with tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as folder:
        home = Path(folder)
        show = set_up(home)
        with serving(LATENCY) as url:
            connect(url)
            met = show_deletes(url, home, show)
        return show_tasks(home, show) and met


if __name__ == "__main__":
    raise SystemExit(not main())
