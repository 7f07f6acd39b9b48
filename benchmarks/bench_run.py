"""
Documents through a workflow: submits at a rate limit, one deferred wait and a thousand, a batch beside mapped tasks.

Each row runs against a sandbox in a process of its own. Run it alone on the machine: ``python benchmarks/bench_run.py``
(some three minutes).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

WINDOW = 4
DOCUMENTS = 300
WAITS = 1000
MINUTE = 60.0
_SPAWN = multiprocessing.get_context("spawn")


def serve(pipe: Connection, settings: dict[str, Any], collections: int) -> None:
    """Run a sandbox until the other side is done; then tell of each request its method, status and moment."""
    from airflow_provider_anyformat.sandbox import Sandbox

    with Sandbox(key="af_sandbox-key-1", **settings) as sandbox:
        workflow = sandbox.add_workflow()
        ids = sandbox.fill(workflow, collections, status="in_progress") if collections else []
        pipe.send((sandbox.conn_env(), workflow, ids))
        pipe.recv()
        pipe.send([(record.method, record.status, record.time) for record in sandbox.requests])


def on_sandbox(measure: Callable[..., Any], collections: int = 0, **settings: Any) -> tuple[Any, list[Any]]:
    """Call ``measure(workflow, ids)`` with a connection to a sandbox; return what it returns, and the requests."""
    here, there = _SPAWN.Pipe()
    server = _SPAWN.Process(target=serve, args=(there, settings, collections), daemon=True)
    server.start()
    environment, workflow, ids = here.recv()
    os.environ.update(environment)
    measured = measure(workflow, ids)
    here.send(None)
    requests = here.recv()
    server.join(10)
    return measured, requests


def folder_of(documents: int) -> Path:
    """Make a folder of small documents."""
    folder = Path(tempfile.mkdtemp(prefix="anyformat-bench-"))
    for number in range(documents):
        (folder / f"{number:04}.pdf").write_text(f"document {number}")
    return folder


def batch(workflow: str, ids: list[str]) -> float:
    """Run a batch; return how long it took."""
    from airflow_provider_anyformat.bulk.batch import Batch, BatchOptions
    from airflow_provider_anyformat.bulk.results import ResultsFolder
    from airflow_provider_anyformat.bulk.submitting import Try
    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
    from airflow_provider_anyformat.retention.folder import LocalFolder
    from airflow_provider_anyformat.retention.plan import Origin

    folder = folder_of(DOCUMENTS)
    options = BatchOptions(ResultsFolder(LocalFolder(folder / "out")), DOCUMENTS, 1.0, timedelta(minutes=10), False)
    run = Batch(AnyformatHook().get_conn(), workflow, options, Try(Origin("bench")))
    run.begin(sorted(folder.glob("*.pdf")))
    # Windows begin at multiples of their length.
    time.sleep(WINDOW - time.monotonic() % WINDOW + 0.005)
    began = time.monotonic()
    run.run()
    assert run.summary()["processed"] == DOCUMENTS
    return time.monotonic() - began


def submits_at_a_limit() -> tuple[str, bool]:
    """Submit at 60 in 4 s; the ideal is that the last window's are sent at its beginning."""
    _, requests = on_sandbox(
        batch, submission_limit=60, window=WINDOW, window_anchor="clock", rate_limit=None, processing_seconds=0.1
    )
    moments = [moment for method, status, moment in requests if method == "POST" and status < 300]
    refused = sum(status == 429 for _, status, _ in requests)
    ideal = (DOCUMENTS // 60 - 1) * WINDOW
    share = ideal / (max(moments) - min(moments))
    return f"300 documents, 60 in 4 s: {share:.2f} of the ideal, {refused} refused", share >= 0.97 and not refused


def one_deferred_run() -> tuple[str, bool]:
    """Submit, and let the trigger itself wait."""
    processing, interval = 2.0, 1.0

    def run(workflow: str, ids: list[str]) -> float:
        from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
        from airflow_provider_anyformat.triggers.files import FileCollectionTrigger

        async def wait(collection_id: str) -> None:
            trigger = FileCollectionTrigger(workflow, collection_id, interval, time.time() + 60)
            async for event in trigger.run():
                assert event.payload["status"] == "processed"
                return

        began = time.monotonic()
        collection_id = AnyformatHook().run_workflow(workflow, "a.pdf", b"x")
        asyncio.run(wait(collection_id))
        return time.monotonic() - began

    taken, _ = on_sandbox(run, processing_seconds=processing)
    beyond = taken - processing
    return f"one deferred run: {beyond:.2f} s beyond the processing, at an interval of 1 s", beyond <= interval + 0.3


def thousand_waits(workflow: str, ids: list[str]) -> tuple[float, float]:
    """Wait for all in one process, for two windows and a bit; return the share of a core and the megabytes it took."""
    import psutil

    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
    from airflow_provider_anyformat.triggers.files import FileCollectionTrigger

    AnyformatHook().shared_waits()
    process = psutil.Process()
    empty = process.memory_info().rss

    async def wait(collection_id: str) -> None:
        async for _ in FileCollectionTrigger(workflow, collection_id, 15.0, time.time() + 3600).run():
            return

    async def wait_for_all() -> tuple[float, float]:
        waits = [asyncio.create_task(wait(collection_id)) for collection_id in ids]
        await asyncio.sleep(5)
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(2 * MINUTE)
        used = (time.process_time() - cpu) / (time.monotonic() - began)
        memory = (process.memory_info().rss - empty) / 1e6
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return used, memory

    return asyncio.run(wait_for_all())


def many_deferred_waits() -> tuple[str, bool]:
    """Hold the number of requests against the limit of 600 a minute."""
    (cpu, memory), requests = on_sandbox(thousand_waits, collections=WAITS, rate_limit=600, window=60)
    first = min(moment for _, _, moment in requests)
    windows = [sum(MINUTE * n <= moment - first < MINUTE * (n + 1) for _, _, moment in requests) for n in range(2)]
    share = sum(windows) / (600 * len(windows))
    refused = sum(status == 429 for _, status, _ in requests)
    text = f"1,000 deferred waits: {share:.2f} of the limit, {refused} refused, {cpu:.1%} of a core, {memory:.0f} MB"
    return text, 0.45 <= share <= 0.52 and not refused and cpu <= 0.10 and memory <= 120


MAPPED = """
import os, sys
from airflow_provider_anyformat.operators.workflows import RunWorkflowOperator
RunWorkflowOperator(
    task_id="t", workflow_id=sys.argv[1], document=sys.argv[2], deferrable=False, poll_interval=0.5
).execute({})
"""


def batch_beside_mapped() -> tuple[str, bool]:
    """Hold the slot time a document of a batch against that of a mapped task, a process each."""

    def both(workflow: str, ids: list[str]) -> float:
        document = str(folder_of(1) / "0000.pdf")
        began = time.monotonic()
        for _ in range(3):
            subprocess.run([sys.executable, "-c", MAPPED, workflow, document], check=True, capture_output=True)
        mapped = (time.monotonic() - began) / 3
        return mapped / (batch(workflow, ids) / DOCUMENTS)

    ratio, _ = on_sandbox(both, rate_limit=None, submission_limit=None, processing_seconds=0.5)
    return f"a batch of 300 beside 300 mapped tasks: {ratio:.0f} times less slot time a document", ratio >= 10


IMPORT = """
import json, sys, time
from airflow_provider_anyformat._airflow import BaseOperator, conf
conf.getboolean("operators", "default_deferrable", fallback=False)
began = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - began)
"""


def imports() -> tuple[str, bool]:
    """Hold the import of our operators against the http operator's, after Airflow itself."""

    def seconds(module: str) -> float:
        command = [sys.executable, "-c", IMPORT, module]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(5)]
        return min(float(json.loads(run.stdout.splitlines()[-1])) for run in runs)

    ratio = seconds("airflow_provider_anyformat.operators.workflows") / seconds("airflow.providers.http.operators.http")
    return f"import of operators.workflows beside the http operator: {ratio:.3f}", ratio <= 0.05


def main() -> int:
    """Print a row each; 1 if one missed its goal."""
    missed = 0
    for row in (imports, one_deferred_run, submits_at_a_limit, batch_beside_mapped, many_deferred_waits):
        text, met = row()
        missed += not met
        print(f"{'ok  ' if met else 'MISS'} {text}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
