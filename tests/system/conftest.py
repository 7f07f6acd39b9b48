"""
A whole Airflow, with its scheduler, API server, DAG processor and triggerer: one for the session.

What is run here is what a user meets: a run is triggered and a task marked by the REST API, a form is filled in by a
browser. ``make test-system`` runs it, with ``AIRFLOW=2.11.2`` on that line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parents[2]
# How soon a task learns that its state was changed from outside, in seconds: as in tests/conftest.py.
HEARTBEATS = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Give the sandbox that ``anyformat_default`` leads to."""
    with Sandbox(rate_limit=None) as running:
        yield running


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that the examples' ledgers lie in."""
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="session")
def local_airflow(sandbox: Sandbox, ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """Give a running Airflow with the examples, the tests' own DAGs, a connection and the Variable they need."""
    files = [*(ROOT / "example_dags").glob("*.py"), *(Path(__file__).parent / "dags").glob("*.py")]
    with LocalAirflow(tmp_path_factory.mktemp("system") / "airflow", files, settings=HEARTBEATS) as airflow:
        airflow.connect(json.loads(sandbox.conn_json()))
        airflow.set_variable("anyformat_ledger_path", str(ledger))
        yield airflow
