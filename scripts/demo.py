"""
Run real DAGs against a local sandbox; show what was on the server before, what each DAG did, and what is there after.

Everything is in ``.airflow/demo``, which git ignores: Airflow's home, its database, the full logs. The sandbox is
part of this process, on a free port. Nothing else is asked or touched, whatever the environment says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.processes import bare_environment

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".airflow" / "demo"
LEDGER = HOME / "ledger"
DOCUMENTS = HOME / "documents"
RESULTS = HOME / "results"
DAG_FILES = (
    ROOT / "example_dags" / "example_anyformat_run_batch.py",
    ROOT / "scripts" / "demo_dags" / "malformed_id.py",
    ROOT / "example_dags" / "example_anyformat_nightly_purge.py",
)
KEPT = 3
STEP_SECONDS = 300
STARTED = re.compile(r"\[DAG TEST\] starting task_id=(\S+)")
ERROR = re.compile(r"^\S*(?:Exception|Error): (?P<text>.*(?:\n  .*)*)", re.MULTILINE)
COLOURS = (
    {"bold": "1", "dim": "2", "green": "32", "red": "31"}
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ
    else {}
)


class DemoFailedError(Exception):
    """What did not come true."""


def styled(text: str, *styles: str) -> str:
    """Colour a text, on a terminal alone."""
    codes = ";".join(COLOURS[style] for style in styles if style in COLOURS)
    return f"\033[{codes}m{text}\033[0m" if codes else text


def heading(text: str) -> None:
    """Begin a scene."""
    print(f"\n{styled(text, 'bold')}\n{styled('─' * len(text), 'bold')}")


def row(label: str, text: str) -> None:
    """Print a line of the proof."""
    print(f"  {styled(f'{label:<10}', 'dim')}{text}")


def plural(number: int, noun: str) -> str:
    """Count things: ``1 line``, ``2 lines``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a dot every two seconds, so that it is seen to go on."""
    begun, done = time.monotonic(), threading.Event()

    def dots() -> None:
        while not done.wait(2):
            print(".", end="", flush=True)

    print(f"  {styled(what, 'dim')} ", end="", flush=True)
    thread = threading.Thread(target=dots, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(styled(f" {time.monotonic() - begun:.0f} s", "dim"), flush=True)


@dataclass
class Demo:
    """The sandbox that the DAGs speak with, the environment they run in, and what is to be checked at the end."""

    sandbox: Sandbox
    environment: dict[str, str]
    failures: list[str] = field(default_factory=list)

    def fill(self, workflow_id: str, n: int, days: int, status: str = "processed") -> None:
        """Put collections of that age into a workflow."""
        self.sandbox.fill(workflow_id, n, status=status, created_at=datetime.now(UTC) - timedelta(days=days))

    def count(self, workflow_id: str) -> int:
        """Count the collections of a workflow."""
        return len(self.sandbox.collections(workflow_id))

    def airflow(self, *arguments: str, log: str, database: str = "airflow.db") -> tuple[int, str]:
        """Run an ``airflow`` command; its whole output goes into a file of the demo's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / database}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        (HOME / log).write_text(done.stdout)
        return done.returncode, done.stdout

    def run_dag(self, dag_id: str, **conf: str) -> tuple[bool, str]:
        """Run a DAG; return whether it succeeded, and its log."""
        with working(f"airflow dags test {dag_id}"):
            code, log = self.airflow("dags", "test", dag_id, "--conf", json.dumps(conf), log=f"{dag_id}.log")
        return code == 0, log

    def check(self, came_true: bool, what: str) -> str:
        """Note what did not come true; return the mark for it."""
        if came_true:
            return styled("✓", "green")
        self.failures.append(what)
        return styled("✗", "red")


def _environment(sandbox: Sandbox) -> dict[str, str]:
    return bare_environment(
        AIRFLOW_HOME=str(HOME),
        AIRFLOW__CORE__DAGS_FOLDER=str(HOME / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH=str(LEDGER),
        AIRFLOW_VAR_ANYFORMAT_DOCUMENTS_PATH=str(DOCUMENTS),
        AIRFLOW_VAR_ANYFORMAT_RESULTS_PATH=str(RESULTS),
        **sandbox.conn_env(),
    )


def documents(demo: Demo) -> None:
    """Show a folder of documents that are run, whose results are stored, and whose collections are then deleted."""
    heading("1. A folder of documents goes in, results come out, the collections are deleted")
    DOCUMENTS.mkdir()
    for number in range(1, 6):
        (DOCUMENTS / f"invoice-{number}.txt").write_text(f"Invoice {4710 + number}, total {number * 99}.00 EUR")
    workflow_id = demo.sandbox.add_workflow()
    demo.fill(workflow_id, KEPT, days=30)
    before = demo.count(workflow_id)
    succeeded, log = demo.run_dag("example_anyformat_run_batch", workflow_id=workflow_id)
    deleted, after = demo.sandbox.deleted, demo.count(workflow_id)
    stored = sorted(RESULTS.glob(f"{workflow_id}/*.json"))
    right = succeeded and before == after == KEPT and len(stored) == 5 and deleted == {path.stem: 1 for path in stored}
    row("before", f"{plural(before, 'collection')} on the server, 5 documents here")
    row("the DAG", f"{', '.join(dict.fromkeys(STARTED.findall(log)))}: {'succeeded' if succeeded else 'failed'}")
    mark = demo.check(right, f"the new collections were not deleted once and alone: {deleted}")
    row("after", f"{plural(after, 'collection')} on the server, {len(deleted)} new ones deleted once each {mark}")
    row(
        "results",
        f"{plural(len(stored), 'file')}, the first of {plural(stored[0].stat().st_size if stored else 0, 'byte')}",
    )


def nightly_purge(demo: Demo) -> None:
    """Show a purge: what was listed, why each was kept, what was deleted, and the ledger."""
    heading("2. A nightly purge deletes what is processed and older than 90 days")
    workflow_id = demo.sandbox.add_workflow()
    for n, days, status in ((6, 120, "processed"), (4, 10, "processed"), (1, 120, "error"), (1, 120, "in_progress")):
        demo.fill(workflow_id, n, days, status)
    before = demo.count(workflow_id)
    succeeded, _ = demo.run_dag("example_anyformat_nightly_purge", workflow_id=workflow_id)
    after = demo.count(workflow_id)
    files = {path.name: path for path in sorted(LEDGER.rglob("*.json*"))}
    summary: dict[str, Any] = json.loads(files["summary.json"].read_text()) if succeeded else {"deleted": 0, "kept": {}}
    kept = ", ".join(f"{reason} {number}" for reason, number in summary["kept"].items())
    right = (after, summary["deleted"], summary["kept"]) == (6, 6, {"status": 2, "too_young": 4})
    row("before", f"{plural(before, 'collection')}: 6 are due, 4 are 10 days old, 1 has failed, 1 is in progress")
    row("the DAG", f"deleted {summary['deleted']}, kept {sum(summary['kept'].values())} ({kept})")
    row("after", f"{plural(after, 'collection')} {demo.check(right, f'the purge: {after} left, {summary}')}")
    lines = [f"{name} {plural(len(path.read_text().splitlines()), 'line')}" for name, path in files.items()]
    row("ledger", ", ".join(lines))
    if "outcomes-00001.jsonl" in files:
        outcome = json.loads(files["outcomes-00001.jsonl"].read_text().splitlines()[0])
        row(
            "",
            "first: "
            + ", ".join(str(outcome[name]) for name in ("collection_id", "outcome", "http_status", "deleted_at")),
        )


def malformed_id(demo: Demo, run: Future[tuple[int, str]]) -> None:
    """Show a refusal: one request, one readable line for each item, no retry."""
    heading("3. A delete with an id that the server refuses")
    print("  expected: the task fails at its first try, and nothing is deleted")
    with working("airflow dags test example_anyformat_malformed_id"):
        code, log = run.result()
    said = ERROR.search(log)
    words = said["text"] if said else "nothing"
    asked = demo.sandbox.requests_to("DELETE", "not-a-uuid")
    right = code != 0 and "HTTP 422" in words and "uuid_parsing" in words and len(asked) == 1
    row("the task", words.replace("\n", "\n" + " " * 12))
    mark = demo.check(right, f"the refusal: {words!r}, {len(asked)} requests")
    row("after", f"{plural(len(asked), 'request')} was sent, and refused {mark}")


def show(demo: Demo) -> None:
    """Play every scene. The last one runs from the beginning, beside the others, with a database of its own."""
    with working("starting Airflow"):
        code, output = demo.airflow("db", "migrate", log="migrate.log")
    if code != 0:
        raise DemoFailedError(f"airflow db migrate failed:\n{output}")
    shutil.copy(HOME / "airflow.db", HOME / "refusal.db")
    dag_id = "example_anyformat_malformed_id"
    with ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(demo.airflow, "dags", "test", dag_id, log=f"{dag_id}.log", database="refusal.db")
        documents(demo)
        nightly_purge(demo)
        malformed_id(demo, refusal)


def main() -> int:
    """Play the demo; the exit code is 0 only if all of it came true."""
    # Make's or a user's SIGTERM unwinds as Ctrl-C does, so that no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    (HOME / "dags").mkdir(parents=True)
    for file in DAG_FILES:
        shutil.copy(file, HOME / "dags")
    try:
        with Sandbox() as sandbox:
            demo = Demo(sandbox, _environment(sandbox))
            show(demo)
            failures = demo.failures
    except (DemoFailedError, OSError, subprocess.TimeoutExpired) as error:
        failures = [str(error)]
    logs = HOME.relative_to(ROOT)
    for failure in failures:
        print(f"{styled('FAILED', 'red')}: {failure}", file=sys.stderr)
    if failures:
        print(f"the full logs are in {logs}/*.log", file=sys.stderr)
        return 1
    print(f"\n{styled('✓', 'green')} All of it came true, in {time.monotonic() - begun:.0f} s. Full logs: {logs}/*.log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
