"""
Run real DAGs against a local sandbox, and show what became of the collections there.

Everything is in ``.airflow/demo``, which git ignores: Airflow's home, its database, the full logs. The sandbox is a
child process on a free port. Nothing else is asked or touched, whatever the environment says.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts.processes import bare_environment

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".airflow" / "demo"
LEDGER = HOME / "ledger"
DAG_FILES = (
    ROOT / "example_dags" / "example_anyformat_delete.py",
    ROOT / "scripts" / "demo_dags" / "malformed_id.py",
    ROOT / "example_dags" / "example_anyformat_nightly_purge.py",
)
KEY = "af_demo_key_of_the_sandbox"
KEPT = 3
STEP_SECONDS = 120
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\S+ \[\w+ *\] (?P<text>.*)")
OUR_LINE = re.compile(r"(?P<text>.*?) +\[(?:airflow\.task\.operators\.)?airflow_provider_anyformat\.")
ERROR_LINE = re.compile(r"^\S*(?:Exception|Error): (?P<text>.*)")


class DemoFailedError(Exception):
    """What did not come true."""


@dataclass
class Demo:
    """The sandbox that the DAGs speak with, the environment they run in, and what is to be checked at the end."""

    url: str
    workflow_id: str
    environment: dict[str, str]
    failures: list[str] = field(default_factory=list)

    def ask(self, path: str) -> Any:
        """Read from the sandbox's own control address."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/{path}", timeout=10) as reply:  # noqa: S310 - loopback
            return json.load(reply)

    def count(self, workflow_id: str = "") -> int:
        """Count the collections of a workflow; default: the first."""
        wanted = workflow_id or self.workflow_id
        return sum(flow["count"] for flow in self.ask("state")["workflows"] if flow["id"] == wanted)

    def fill(self, n: int, days: int, status: str = "processed", workflow_id: str | None = None) -> str:
        """Put collections of that age into a workflow, by default into a new one; return the workflow's id."""
        created_at = datetime.now(UTC) - timedelta(days=days)
        wish = {"workflow_id": workflow_id, "n": n, "status": status, "created_at": created_at.isoformat()}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/_sandbox/fill", json.dumps(wish).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - loopback
            filled: str = json.load(reply)["workflow_id"]
        return filled

    def airflow(self, *arguments: str, log: str) -> tuple[int, str]:
        """Run an ``airflow`` command; its whole output goes into a file of the demo's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        (HOME / log).write_text(done.stdout)
        return done.returncode, done.stdout

    def run_dag(self, dag_id: str, **conf: str) -> tuple[bool, dict[str, list[str]]]:
        """Run a DAG, and give whether it succeeded and what each task said."""
        print(f"\nairflow dags test {dag_id}", flush=True)
        code, output = self.airflow("dags", "test", dag_id, "--conf", json.dumps(conf), log=f"{dag_id}.log")
        said = {task: list(_said(lines)) for task, lines in _by_task(output).items()}
        for task, sentences in said.items():
            print("\n".join(f"  {name:<22}{text}" for name, text in zip([task, *[""] * 20], sentences, strict=False)))
        print(f"  {'the run':<22}{'succeeded' if code == 0 else 'failed'}", flush=True)
        return code == 0, said

    def check(self, came_true: bool, what: str) -> None:
        """Note what did not come true."""
        if not came_true:
            self.failures.append(what)


def _by_task(output: str) -> dict[str, list[str]]:
    tasks: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in output.splitlines():
        if started := re.search(r"\[DAG TEST\] starting task_id=(\S+)", line):
            current = tasks.setdefault(started[1], [])
        elif "[DAG TEST] end task" in line:
            current = None
        elif current is not None:
            current.append(line)
    return tasks


def _said(lines: list[str]) -> Iterator[str]:
    """Pick what a task itself printed, logged or raised from what Airflow says around it."""
    trace, error = False, False
    for line in lines:
        logged = LOG_LINE.match(line)
        if logged:
            trace = error = False
            if ours := OUR_LINE.match(logged["text"]):
                yield ours["text"]
        elif raised := ERROR_LINE.match(line):
            trace, error = False, True
            yield raised["text"]
        elif line.startswith("Traceback "):
            trace = True
        elif error or (line.strip() and not trace and not line.startswith(" ")):
            yield line


def _environment(url: str) -> dict[str, str]:
    return bare_environment(
        AIRFLOW_HOME=str(HOME),
        AIRFLOW__CORE__DAGS_FOLDER=str(HOME / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME / 'airflow.db'}",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        AIRFLOW_VAR_ANYFORMAT_LEDGER_PATH=str(LEDGER),
        AIRFLOW_CONN_ANYFORMAT_DEFAULT=json.dumps({"conn_type": "anyformat", "host": url, "password": KEY}),
    )


@contextmanager
def sandbox() -> Iterator[Demo]:
    """Start the sandbox with a few collections, and end it whatever happens."""
    command = [sys.executable, "-m", "airflow_provider_anyformat.sandbox"]
    options = ["--port", "0", "--key", KEY, "--collections", str(KEPT), "--days", "30"]
    process = subprocess.Popen(
        [*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        greeting = ""
        while process.stdout is not None and not greeting.count("\nworkflow: "):
            line = process.stdout.readline()
            if not line:
                raise DemoFailedError(f"the sandbox did not start: {greeting}")
            greeting += line
        url, workflow = re.search(r"http://\S+", greeting), re.search(r"^workflow: (\S+)", greeting, re.MULTILINE)
        if url is None or workflow is None:
            raise DemoFailedError(f"the sandbox said something else than expected: {greeting}")
        yield Demo(url[0], workflow[1], _environment(url[0]))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def delete_after_load(demo: Demo) -> None:
    """Show a document that is run, awaited, loaded and deleted by its id in XCom."""
    succeeded, said = demo.run_dag("anyformat_delete_after_load", workflow_id=demo.workflow_id)
    deleted = demo.ask("state")["deleted"]
    made = re.search(r"[0-9a-f-]{36}", " ".join(said.get("run_document", [])))
    demo.check(succeeded, "the run that deletes a collection did not succeed")
    demo.check(made is not None, "run_document named no new collection")
    demo.check(made is not None and deleted == {made[0]: 1}, f"deleted was {deleted}, not the new collection once")


def malformed_id(demo: Demo) -> None:
    """Show a refusal: one request, one readable line for each item, no retry."""
    before = demo.ask("state")["deleted"]
    succeeded, said = demo.run_dag("anyformat_malformed_id")
    print("  (as it must: no retry makes an id of that, so none was made)")
    words = " ".join(said.get("delete", []))
    asked = [request for request in demo.ask("requests?method=DELETE") if "not-a-uuid" in request["path"]]
    demo.check(not succeeded, "the run with the malformed id succeeded")
    demo.check("HTTP 422" in words and "uuid_parsing" in words, f"the task's log does not show the 422: {words!r}")
    demo.check(len(asked) == 1, f"the malformed id was sent {len(asked)} times, not once")
    demo.check(demo.ask("state")["deleted"] == before, "the malformed id deleted something")


def nightly_purge(demo: Demo) -> None:
    """Show a purge: what was listed, why each was kept, what was deleted, and the ledger."""
    workflow_id = demo.fill(6, days=120)
    for n, days, status in ((4, 10, "processed"), (1, 120, "error"), (1, 120, "in_progress")):
        demo.fill(n, days, status, workflow_id)
    print(f"\nanother workflow has {demo.count(workflow_id)} collections: 6 processed and 120 days old, 4 of 10 days,")
    print("one that failed, one that is still in progress; the purge takes what is processed and older than 90 days")
    succeeded, _ = demo.run_dag("example_anyformat_nightly_purge", workflow_id=workflow_id)
    demo.check(succeeded, "the purge did not succeed")
    demo.check(demo.count(workflow_id) == 6, f"{demo.count(workflow_id)} collections are left, not 6")
    show_ledger(demo)


def show_ledger(demo: Demo) -> None:
    """Show the files of the purge's ledger, and what it says of the first collection."""
    files = {path.name: path for path in sorted(LEDGER.rglob("*.json*"))}
    print(f"  the ledger, {LEDGER.relative_to(ROOT)}/…:")
    for name, path in files.items():
        print(f"    {name:<22}{len(path.read_text().splitlines()):>3} lines")
    summary = json.loads(files["summary.json"].read_text())
    print(f"    summary: listed {summary['listed']}, deleted {summary['deleted']}, kept {json.dumps(summary['kept'])}")
    outcome = json.loads(files["outcomes-00001.jsonl"].read_text().splitlines()[0])
    told = ("collection_id", "outcome", "http_status", "deleted_at")
    print("    first outcome: " + ", ".join(f"{name} {outcome[name]}" for name in told))
    kept = {"status": 2, "too_young": 4}
    demo.check(summary["deleted"] == 6, f"the ledger says that {summary['deleted']} were deleted, not 6")
    demo.check(summary["kept"] == kept, f"the ledger says that {summary['kept']} were kept, not {kept}")


SCENES = (delete_after_load, malformed_id, nightly_purge)


def show(demo: Demo) -> None:
    """Play every scene, between what is on the server before and what is there after."""
    code, output = demo.airflow("db", "migrate", log="migrate.log")
    if code != 0:
        raise DemoFailedError(f"airflow db migrate failed:\n{output}")
    print(f"sandbox at {demo.url}; before: {demo.count()} collections in the workflow")
    for scene in SCENES:
        scene(demo)
    state = demo.ask("state")
    print(f"\nafter: {demo.count()} collections in the first workflow; deleted in all: {len(state['deleted'])}")
    demo.check(demo.count() == KEPT, f"{demo.count()} collections are left, not the {KEPT} that nobody asked to delete")


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
        with sandbox() as demo:
            show(demo)
            failures = demo.failures
    except (DemoFailedError, OSError, subprocess.TimeoutExpired) as error:
        failures = [str(error)]
    logs = HOME.relative_to(ROOT)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if failures:
        print(f"the full logs are in {logs}/*.log", file=sys.stderr)
        return 1
    print(f"all of it came true, in {time.monotonic() - begun:.0f} s; the full logs are in {logs}/*.log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
