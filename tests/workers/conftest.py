"""
Airflow 3.3.2 as it runs in earnest: CeleryExecutor, Redis, Postgres, two workers.

``make test-workers`` runs it. Redis and Postgres come out of Debian's packages, and are installed if they are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import LocalAirflow
from tests.workers.cluster import HOSTS, Cluster
from tests.workers.measuring import LIMIT, WINDOW
from tests.workers.services import running

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    # How soon a worker that died is noticed, and its tasks tried again; the defaults are 300 s each.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
}

_figures: list[str] = []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a running Airflow with both its workers."""
    files = [
        ROOT / "example_dags" / "example_anyformat_purge_batches.py",
        *(Path(__file__).parent / "dags").glob("*.py"),
    ]
    ledger = tmp_path / "ledger"
    with (
        Sandbox(rate_limit=LIMIT, window=WINDOW, latency=0.1) as sandbox,
        running() as services,
        LocalAirflow(
            tmp_path / "airflow",
            files,
            database=services.database,
            executor="CeleryExecutor",
            components=("api-server", "scheduler", "dag-processor"),
            settings=SETTINGS | {"AIRFLOW__CELERY__BROKER_URL": services.broker},
        ) as airflow,
    ):
        airflow.set_variable("anyformat_ledger_path", str(ledger))
        started = Cluster(airflow, sandbox, ledger)
        started.start_workers(*HOSTS)
        yield started


@pytest.fixture
def tell() -> list[str]:
    """Give a list; what a test puts there is shown at the end, also when it passed."""
    return _figures


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures."""
    if _figures:
        terminalreporter.section("figures")
        for line in _figures:
            terminalreporter.write_line(line)
