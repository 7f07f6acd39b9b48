"""
A whole local Airflow to click through: the example DAGs, a connection that works, a sandbox with something to delete.

Airflow's home, its database, its logs and the ledger are in ``.airflow/local``, which git ignores; each start begins
anew. The sandbox is part of this process. Ctrl-C, SIGTERM or a closed terminal end all of it, with exit code 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import USER, LocalAirflow
from scripts.processes import NotStartedError, free_port, sigterm_unwinds

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".airflow" / "local"
DAG_FILES = (*(ROOT / "example_dags").glob("*.*"), ROOT / "scripts" / "demo_dags" / "malformed_id.py")
PORT = 8080
# The example DAGs name the first one, the approval the last; the second is for whatever comes next.
WORKFLOW = "11111111-2222-4333-8444-555555555555"
ANOTHER_WORKFLOW = "22222222-3333-4444-8555-666666666666"
WORKFLOW_TO_APPROVE = "33333333-4444-4555-8666-777777777777"
# Slow enough for a purge of 400 to show how it goes on.
LATENCY = 0.6


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """
    Keep a folder to this process, for each start empties it.

    :raises NotStartedError: another process keeps it.
    """
    home.parent.mkdir(exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStartedError(f"one is running already in {home.relative_to(ROOT)}: end that first") from None
        yield


def fill(sandbox: Sandbox, workflow_id: str, name: str) -> list[str]:
    """Add a workflow with collections of every kind; return the ids of a few that are due, for legal holds."""
    sandbox.add_workflow(workflow_id, name)
    now = datetime.now(UTC)
    step = timedelta(hours=7)
    due = sandbox.fill(workflow_id, 400, name="invoice-{}.pdf", created_at=now - timedelta(days=220), step=step)
    sandbox.fill(workflow_id, 240, name="invoice-1{}.pdf", created_at=now - timedelta(days=80), step=step)
    for n, status, days in (
        (24, "error", 150),
        (16, "cancelled", 150),
        (6, "in_progress", 150),
        (4, "pending", 0),
        (3, "queued", 0),
    ):
        sandbox.fill(workflow_id, n, name="scan-{}.png", status=status, created_at=now - timedelta(days=days))
    sandbox.fill(workflow_id, 12, name="contract-{}.pdf", created_at=now - timedelta(days=200), step=step)
    sandbox.fill(workflow_id, 8, name=None, created_at=now - timedelta(days=200), step=step)
    return due[:3]


def fill_to_approve(sandbox: Sandbox) -> None:
    """Add a workflow of which 140 collections are due, over several months, and 50 are not."""
    sandbox.add_workflow(WORKFLOW_TO_APPROVE, "Receipts")
    now, step = datetime.now(UTC), timedelta(hours=19)
    sandbox.fill(WORKFLOW_TO_APPROVE, 140, name="receipt-{}.pdf", created_at=now - timedelta(days=210), step=step)
    sandbox.fill(WORKFLOW_TO_APPROVE, 50, name="receipt-1{}.pdf", created_at=now - timedelta(days=40), step=step)


def tell(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    """Print where it is, how to get in, and what to click first."""
    lines = [
        ("Airflow " + version("apache-airflow"), airflow.url),
        ("log in as", f"{USER}, password {airflow.password}"),
        ("sandbox", f"{sandbox.url}, API key {sandbox.key}, three workflows:"),
        ("", f"{WORKFLOW}, which the example DAGs name,"),
        ("", f"{ANOTHER_WORKFLOW}, to enter in the form when you trigger one,"),
        ("", f"{WORKFLOW_TO_APPROVE}, for the approval"),
        ("ledger", f"{(HOME / 'ledger').relative_to(ROOT)}/"),
        ("logs", f"{(HOME / 'logs').relative_to(ROOT)}/"),
    ]
    print()
    for label, text in lines:
        print(f"{label:<16}{text}")
    print("""
What to click first:
  1. Dags > example_anyformat_run > Trigger: a document goes in, its results are stored, its collection is deleted
  2. Dags > example_anyformat_plan_only > Trigger: its task's log says what a purge would delete; nothing is deleted
  3. Dags > example_anyformat_nightly_purge > Trigger: purges that workflow and no other. The log shows the progress,
     Storage > XCom the summary
  4. Dags > example_anyformat_purge_approval > Trigger. Its question appears under Browse > Required Actions: read the
     plan, approve it, and 140 collections go
  5. Dags > anyformat_retention_invoices, …_failed_scans, …_delivery_notes: three rules of one file,
     example_dags/retention.yaml. Switch one on, and it runs once, for last night; the last one asks before it deletes
  6. Dags > example_anyformat_malformed_id > Trigger: what a refusal looks like
  7. Admin > Connections > anyformat_default: the form, and a Test button that asks the sandbox

Ctrl-C ends all of it.""")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line, if there is still a terminal that takes one."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def run() -> None:
    """
    Start everything, and wait until somebody ends it.

    :raises NotStartedError: a part did not start, or ended by itself.
    """
    port = free_port(PORT)
    if port != PORT:
        print(f"port {PORT} is taken: Airflow goes to {port}")
    print("starting Airflow, which takes half a minute", flush=True)
    with Sandbox(latency=LATENCY) as sandbox, LocalAirflow(HOME, DAG_FILES, port=port) as airflow:
        held = fill(sandbox, WORKFLOW, "Invoices")
        fill(sandbox, ANOTHER_WORKFLOW, "Delivery notes")
        fill_to_approve(sandbox)
        airflow.connect(
            {
                "conn_type": "anyformat",
                "description": "the sandbox of make airflow",
                "password": sandbox.key,
                "schema": "http",
                "host": "127.0.0.1",
                # Apart from the host, for without it Airflow 3.3.2's Test button refuses (apache/airflow#73298).
                "port": sandbox.port,
            }
        )
        airflow.set_variable("anyformat_ledger_path", str(HOME / "ledger"))
        airflow.set_variable("anyformat_legal_holds", json.dumps(held))
        documents = HOME / "documents"
        documents.mkdir()
        for number in range(1, 6):
            (documents / f"invoice-{number}.txt").write_text(f"Invoice {4710 + number}, total {number * 99}.00 EUR")
        airflow.set_variable("anyformat_documents_path", str(documents))
        airflow.set_variable("anyformat_results_path", str(HOME / "results"))
        tell(airflow, sandbox)
        try:
            while True:
                airflow.processes.check()
                time.sleep(1)
        except KeyboardInterrupt:
            say("\nending Airflow and the sandbox")
            raise


def main() -> int:
    """Run until told to end; the exit code is 1 if it ended for another reason."""
    with sigterm_unwinds():
        try:
            with alone(HOME):
                run()
        except KeyboardInterrupt:
            say("ended")
        except (NotStartedError, OSError) as error:
            print(f"airflow: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
