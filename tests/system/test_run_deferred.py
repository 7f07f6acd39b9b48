"""Runs under a real Airflow: deferred, restarted, marked failed, killed, watched; and what is kept of secrets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_3_PLUS
from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_3, LocalAirflow

DAG_ID = "system_run"
WATCHED = "11111111-2222-4333-8444-555555555555"
CONTENT = "content that nobody shows"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module", autouse=AIRFLOW_V_3_0_PLUS)
def seen_before(local_airflow: LocalAirflow, sandbox: Sandbox) -> str:
    """Switch the watcher on; give what its first look finds processed."""
    collection_id = sandbox.add_collection(sandbox.add_workflow(WATCHED))
    local_airflow.switch_on("system_watch", seconds=120)
    # Airflow starts the watcher when it reads the file again, which it does at once where that has changed.
    (local_airflow.home / "dags" / "system_run.py").touch()
    return collection_id


def submit(airflow: LocalAirflow, sandbox: Sandbox, folder: Path, dag_id: str = DAG_ID) -> tuple[str, str]:
    """Begin a run; return its id and the workflow's."""
    document = folder / "a.pdf"
    document.write_text(CONTENT)
    workflow_id = sandbox.add_workflow()
    conf = {"workflow_id": workflow_id, "document": str(document)}
    return airflow.trigger(dag_id, conf, seconds=120), workflow_id


def defer(airflow: LocalAirflow, sandbox: Sandbox, folder: Path) -> tuple[str, str]:
    """Begin a run, and wait until a triggerer waits for it; return the run's and the collection's id."""
    sandbox.processing_seconds = 3600
    before = len(sandbox.created)
    run_id, _ = submit(airflow, sandbox, folder)
    # "deferred" alone does not tell: of a trigger that did not run yet, Airflow ends nothing.
    airflow.processes.wait_for(
        lambda: any(sandbox.requests_to("GET", one) for one in sandbox.created[before:]), "the triggerer's look", 120
    )
    (collection_id,) = sandbox.created[before:]
    return run_id, collection_id


def told(airflow: LocalAirflow) -> list[str]:
    """Give the lines of all runs that the watcher started."""
    logs = (airflow.home / "logs" / "dag_id=system_watch").rglob("attempt=*.log")
    return [line for path in logs for line in path.read_text().splitlines() if "told" in line]


def all_that_is_kept(airflow: LocalAirflow) -> Iterator[tuple[str, bytes]]:
    """Yield each file below Airflow's home, and each row of its database, a trigger's parameters decrypted."""
    for path in airflow.home.rglob("*"):
        if path.is_file():
            yield path.suffix, path.read_bytes()
    fernet = Fernet(airflow.environment["AIRFLOW__CORE__FERNET_KEY"])
    with closing(sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield table, repr(row).encode()
        for (parameters,) in database.execute("SELECT kwargs FROM trigger"):
            # Airflow encrypts those of a task's trigger on some lines only.
            plain = parameters.encode()
            yield "a trigger's parameters", plain if plain.startswith(b"{") else fernet.decrypt(plain)


def places_of(text: str, airflow: LocalAirflow) -> set[str]:
    """Say where a text is kept."""
    return {place for place, kept in all_that_is_kept(airflow) if text.encode() in kept}


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2.11 has no asset watchers")
def test_a_collection_that_becomes_processed_starts_a_dag(
    local_airflow: LocalAirflow, sandbox: Sandbox, seen_before: str
) -> None:
    def looked() -> bool:
        return any(request.status == 200 for request in sandbox.requests_to("GET", f"{WATCHED}/files/$"))

    local_airflow.processes.wait_for(looked, "the watcher's first look", 120)
    new = sandbox.add_collection(WATCHED)

    local_airflow.processes.wait_for(lambda: bool(told(local_airflow)), "the run that the watcher starts", 120)

    (line,) = told(local_airflow)
    assert new in line
    assert seen_before not in line


def test_a_triggerer_that_is_restarted_waits_on(local_airflow: LocalAirflow, sandbox: Sandbox, tmp_path: Path) -> None:
    run_id, collection_id = defer(local_airflow, sandbox, tmp_path)
    before = told(local_airflow)
    local_airflow.processes.kill("triggerer")
    missed = sandbox.add_collection(WATCHED) if AIRFLOW_V_3_3_PLUS else None
    local_airflow.start("triggerer")
    sandbox.update_collection(collection_id, status="processed")

    assert local_airflow.wait_for_run(DAG_ID, run_id, 240) == "success"

    assert local_airflow.task(DAG_ID, run_id, "run")["try_number"] == 1
    assert sandbox.started[collection_id] == 1
    assert collection_id in sandbox
    if missed is not None:
        local_airflow.processes.wait_for(lambda: len(told(local_airflow)) > len(before), "what was missed", 120)
        (line,) = set(told(local_airflow)) - set(before)
        assert missed in line


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2.11 takes minutes to see that a worker died")
def test_killed_once_it_has_submitted(local_airflow: LocalAirflow, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.processing_seconds = 0
    before = len(sandbox.created)
    run_id, workflow_id = submit(local_airflow, sandbox, tmp_path, "system_killed")

    assert local_airflow.wait_for_run("system_killed", run_id) == "success"

    assert local_airflow.task("system_killed", run_id, "run")["try_number"] == 2
    assert len(sandbox.created) == before + 1
    # Airflow 3.3 keeps the id in its task_state_store; before, the listing has to tell.
    assert bool(sandbox.requests_to("GET", f"{workflow_id}/files/$")) is not AIRFLOW_V_3_3_PLUS


def test_marked_failed_while_deferred(local_airflow: LocalAirflow, sandbox: Sandbox, tmp_path: Path) -> None:
    run_id, collection_id = defer(local_airflow, sandbox, tmp_path)
    assert {".log", "xcom", "a trigger's parameters"} <= places_of(collection_id, local_airflow)
    body = {"new_state": "failed"} if AIRFLOW_3 else {"new_state": "failed", "dry_run": False}
    local_airflow.ask("PATCH", f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/run", body)

    assert local_airflow.wait_for_run(DAG_ID, run_id, 120) == "failed"
    if AIRFLOW_V_3_3_PLUS:
        local_airflow.processes.wait_for(lambda: collection_id not in sandbox, "the cancelled collection", 60)
    else:
        # Airflow does not tell the trigger.
        assert collection_id in sandbox

    for secret in (sandbox.key, CONTENT):
        assert places_of(secret, local_airflow) == set()
