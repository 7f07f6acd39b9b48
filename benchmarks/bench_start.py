"""
What a DAG file pays to import and a task to start, beside what a user would write instead.

Each number is the median of several fresh runs in this one process tree; only the ratios mean anything elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IMPORT = """
import sys, time
import airflow_provider_anyformat._airflow as sdk
sdk.BaseOperator, sdk.BaseHook, sdk.conf
before = set(sys.modules)
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, "requests" in set(sys.modules) - before)
"""
OURS = ("airflow_provider_anyformat.operators.files", "airflow_provider_anyformat.operators.workflows")
THEIRS = "airflow.providers.http.operators.http"
IMPORT_RUNS, EXECUTE_RUNS = 7, 300


class _Answer204(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.send_header("X-API-Version", "2.0.0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def import_seconds(module: str) -> tuple[float, bool]:
    """Import a module in a fresh interpreter that has Airflow's base classes already."""
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT.format(module=module)], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(output[-2]), output[-1] == "True"


def median_seconds(call: Callable[[], object], runs: int) -> float:
    """Time one call, many times over."""
    samples = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def show_imports() -> None:
    """Print the import of our operators beside the HTTP provider's."""
    # One after the other in turn, so that all see the same machine; the first turn writes the bytecode.
    turns = [[import_seconds(module) for module in (*OURS, THEIRS)] for _ in range(IMPORT_RUNS + 1)][1:]
    *ours, theirs = (statistics.median(turn[i][0] for turn in turns) for i in range(len(OURS) + 1))
    for i, module in enumerate(OURS):
        print(f"import {module}: {ours[i] * 1e3:.2f} ms; {THEIRS}: {theirs * 1e3:.1f} ms")
        print(
            f"  ratio {ours[i] / theirs:.4f} (goal: at most 0.05); requests added: {any(turn[i][1] for turn in turns)}"
        )


def show_execute() -> None:
    """Print one ``execute`` beside one bare ``requests.delete``, and beside an operator that does no more than that."""
    with silence():
        import requests

        from airflow_provider_anyformat._airflow import BaseHook, BaseOperator
    from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

    class Bare(BaseOperator):
        def execute(self, context: object) -> None:
            connection = BaseHook.get_connection("anyformat_default")
            headers = {"Authorization": f"Bearer {connection.password}"}
            requests.delete(f"{connection.host}/v2/files/abc/", headers=headers, timeout=30).raise_for_status()

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer204)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ["AIRFLOW_CONN_ANYFORMAT_DEFAULT"] = (
        f'{{"conn_type": "anyformat", "password": "af_benchmark", "host": "{address}"}}'
    )
    bare, ours = Bare(task_id="bare"), DeleteFileCollectionOperator(task_id="ours", collection_id="abc")
    calls: list[Callable[[], object]] = [
        lambda: requests.delete(f"{address}/v2/files/abc/", timeout=30),
        lambda: bare.execute({}),
        lambda: ours.execute({}),
    ]
    try:
        with silence():
            for call in calls:
                call()
            # In small turns, so that all three see the same machine.
            turns = [[median_seconds(call, EXECUTE_RUNS // 10) for call in calls] for _ in range(10)]
    finally:
        server.shutdown()
        server.server_close()
    request, bare_operator, our_operator = (statistics.median(turn[i] for turn in turns) for i in range(3))
    print(
        f"one bare requests.delete {request * 1e3:.2f} ms; connection and requests {bare_operator * 1e3:.2f} ms;",
        end=" ",
    )
    print(f"one execute {our_operator * 1e3:.2f} ms")
    print(
        f"  ratio {our_operator / request:.2f} (goal: at most 2.0); the bare operator's {bare_operator / request:.2f}"
    )


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Send standard output nowhere: Airflow 3 logs to it, past what ``logging`` has disabled."""
    sys.stdout.flush()
    console, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(console, 1)
        os.close(console)
        os.close(nowhere)


def main() -> None:
    """Print both."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as home:
        os.environ["AIRFLOW_HOME"] = home
        # Both with bytecode, as they are installed, also where the package is a checkout.
        os.environ["PYTHONPYCACHEPREFIX"] = f"{home}/bytecode"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        show_imports()
        show_execute()


if __name__ == "__main__":
    main()
