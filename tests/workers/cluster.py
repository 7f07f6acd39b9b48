"""Celery workers of a local Airflow, which purge on a server with a rate limit."""

from __future__ import annotations

import json
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from scripts.local_airflow import AIRFLOW, LocalAirflow

# Each worker has a name of its own for the server, so that the server's log tells them apart.
HOSTS = {"worker-1": "127.0.0.1", "worker-2": "localhost"}
# Two tasks a worker: the four that the example lets run at once take both.
CONCURRENCY = 2


class Cluster:
    """An Airflow without workers of its own, a server with a rate limit, and the workers that are started on it."""

    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, ledger: Path) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.ledger = ledger
        self._starts: Counter[str] = Counter()
        self._seen = 0
        self._awaited, self._reached = 0, threading.Event()
        sandbox.on_request.append(self._count)

    def start_workers(self, *names: str) -> None:
        """Start workers, and return when they take tasks."""
        processes = self.airflow.processes
        for name in names:
            connection = json.loads(self.sandbox.conn_json()) | {"host": f"http://{HOSTS[name]}:{self.sandbox.port}"}
            environment = self.airflow.environment | {"AIRFLOW_CONN_ANYFORMAT_DEFAULT": json.dumps(connection)}
            options = ["--celery-hostname", name, "--pid", str(self.airflow.home / f"{name}.pid"), "--skip-serve-logs"]
            command = [*AIRFLOW, "celery", "worker", "--concurrency", str(CONCURRENCY), *options]
            processes.start(name, command, environment)
            self._starts[name] += 1
        for name in names:
            processes.wait_for(partial(self._is_ready, name), name, 60)

    def wait_for_deletes(self, number: int, seconds: float) -> None:
        """Return as soon as this many deletes have arrived at the server, while more are on their way."""
        self._reached.clear()
        self._awaited = number
        if self._seen < number and not self._reached.wait(seconds):
            self.airflow.processes.check()
            pytest.fail(f"the server saw {self._seen} deletes in {seconds:.0f} s, not {number}")

    def _is_ready(self, name: str) -> bool:
        return self.airflow.processes.log(name).count(f"{name} ready") == self._starts[name]

    def _count(self, record: RequestRecord) -> None:
        self._seen += record.method == "DELETE"
        if self._seen == self._awaited:
            self._reached.set()
