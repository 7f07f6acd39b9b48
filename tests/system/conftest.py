"""
A whole Airflow, with its scheduler, API server, DAG processor and triggerer: one for the session.

What is run here is what a user meets: a run is triggered and a task marked by the REST API, a form is filled in by a
browser. ``make test-system`` runs it, with ``AIRFLOW=2.11.2`` on that line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, StorageState, sync_playwright

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.debian import ensure
from scripts.local_airflow import LocalAirflow
from tests.support.browser import ARGUMENTS, Visitor

ROOT = Path(__file__).resolve().parents[2]
# How soon a task learns that its state was changed from outside, in seconds: as in tests/conftest.py. The last ones say
# how soon a new triggerer takes over from one that was killed.
HEARTBEATS = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", default=".cache/pictures", help="folder for what the browser shows, in the checkout")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Give the sandbox that ``anyformat_default`` leads to."""
    with Sandbox(rate_limit=None) as running:
        yield running


@pytest.fixture(scope="session")
def ledger() -> Iterator[Path]:
    """Give the folder that the examples' ledgers lie in; its path is in the pictures."""
    with TemporaryDirectory(prefix="anyformat-ledger-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def local_airflow(sandbox: Sandbox, ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """Give a running Airflow with the examples, the tests' own DAGs, a connection and the Variable they need."""
    files = [*(ROOT / "example_dags").glob("*.*"), *(Path(__file__).parent / "dags").glob("*.py")]
    files.append(ROOT / "scripts" / "demo_dags" / "malformed_id.py")
    with LocalAirflow(tmp_path_factory.mktemp("system") / "airflow", files, settings=HEARTBEATS) as airflow:
        airflow.connect(json.loads(sandbox.conn_json()))
        airflow.set_variable("anyformat_ledger_path", str(ledger))
        yield airflow


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give Debian's browser; where there is none and none can be installed, this fails."""
    program = ensure({"chromium": "chromium fonts-liberation"})["chromium"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def user_session(chromium: Browser, local_airflow: LocalAirflow) -> StorageState:
    """Log in once, and give what the browser keeps of it."""
    visitor = Visitor(chromium, local_airflow, ROOT)
    visitor.log_in()
    session = visitor.session
    visitor.leave()
    assert visitor.asked_elsewhere == []
    return session


@pytest.fixture
def visitor(
    chromium: Browser, local_airflow: LocalAirflow, user_session: StorageState, request: pytest.FixtureRequest
) -> Iterator[Visitor]:
    """Give a person who has logged in; the test fails if a page asked for anything but this Airflow."""
    visitor = Visitor(chromium, local_airflow, ROOT / request.config.getoption("pictures"), user_session)
    yield visitor
    visitor.leave()
    assert visitor.asked_elsewhere == []
