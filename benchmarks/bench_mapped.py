"""
One bulk task beside one mapped ``HttpOperator`` task a file, as a scheduler runs them: a process for each task.

A whole Airflow of this machine (API server, scheduler with ``LocalExecutor``, DAG processor, SQLite) runs both DAGs
against a server that answers after 50 ms. By Airflow's own record two times are compared, each divided by the number of
files: how long task instances took up a worker's slot, all together; and from the start of the first to the end of the
last, for which the mapped tasks have eight slots, and the bulk task one. For one process and no scheduler see
``bench_bulk.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks._server import serving
    from scripts.local_airflow import LocalAirflow
else:
    # This file runs alone, and finds what lies beside it.
    from _server import serving

LATENCY = 0.05
PARALLEL = 8
# The default of max_deletions lets so many go.
MAPPED, BULK = 40, 1000

DAGS = """
from datetime import datetime
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator

ids = [f"{{n:08x}}-c011-4ec7-a000-{{n:012x}}" for n in range({bulk})]
with DAG("mapped", schedule=None, start_date=datetime(2024, 1, 1)):
    HttpOperator.partial(task_id="delete", method="DELETE").expand(
        endpoint=[f"v2/files/{{each}}/" for each in ids[:{mapped}]]
    )
with DAG("bulk", schedule=None, start_date=datetime(2024, 1, 1)):
    DeleteFileCollectionsOperator(task_id="delete", collection_ids=ids)
"""


def seconds_of_tasks(airflow: LocalAirflow, dag_id: str, tasks: int) -> tuple[float, float]:
    """Run a DAG, which has to succeed; return the seconds of its tasks' slots, and from first start to last end."""
    run_id = airflow.trigger(dag_id)
    state = airflow.wait_for_run(dag_id, run_id, 300)
    found: list[dict[str, Any]] = airflow.ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)[
        "task_instances"
    ]
    if state != "success" or len(found) != tasks:
        raise RuntimeError(f"the run of {dag_id} ended as {state} with {len(found)} task instances")
    times = [(datetime.fromisoformat(each["start_date"]), datetime.fromisoformat(each["end_date"])) for each in found]
    slots = sum((end - start).total_seconds() for start, end in times)
    return slots, (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()


def compare(folder: Path, url: str) -> list[tuple[float, float]]:
    """Return the seconds a file of the mapped tasks and of the bulk task, for slots and from start to end."""
    # This file runs alone, and finds what lies in the folder beside it.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from scripts.local_airflow import LocalAirflow
    from scripts.processes import sigterm_unwinds

    dags = folder / "benchmark.py"
    dags.write_text(DAGS.format(mapped=MAPPED, bulk=BULK))
    headers = {"Authorization": "Bearer af_benchmark"}
    settings = {
        "AIRFLOW__CORE__PARALLELISM": str(PARALLEL),
        "AIRFLOW_CONN_ANYFORMAT_DEFAULT": json.dumps(
            {"conn_type": "anyformat", "host": url, "password": "af_benchmark"}
        ),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": url, "extra": headers}),
    }
    components = ("api-server", "scheduler", "dag-processor")
    with (
        sigterm_unwinds(),
        LocalAirflow(folder / "airflow", [dags], components=components, settings=settings) as airflow,
    ):
        before = seconds_of_tasks(airflow, "bulk", 1)
        mapped = seconds_of_tasks(airflow, "mapped", MAPPED)
        after = seconds_of_tasks(airflow, "bulk", 1)
    return [
        (one / MAPPED, (first + second) / 2 / BULK) for one, first, second in zip(mapped, before, after, strict=True)
    ]


def main() -> bool:
    """Print the table; return whether the goal was met for what a worker's slot is taken up."""
    with (
        tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as folder,
        serving(LATENCY) as url,
    ):
        (slots, whole) = compare(Path(folder), url)
    title = f"LocalExecutor, a file; {MAPPED} mapped, {BULK} in bulk"
    print(f"{title:44}{'mapped':>11}{'ours':>11}{'times':>8}  goal")
    labels = ("a worker's slot is taken up", f"from start to end, {PARALLEL} slots against 1")
    for label, (mapped, bulk) in zip(labels, (slots, whole), strict=True):
        print(f"{label:44}{mapped * 1e3:8.2f} ms{bulk * 1e3:8.2f} ms{mapped / bulk:8.1f}  at least 50", flush=True)
    return slots[0] / slots[1] >= 50


if __name__ == "__main__":
    raise SystemExit(not main())
