"""
What parsing a file of 200 rules costs, beside 200 plain DAGs with one purge each.

Each parse is a fresh interpreter that has Airflow's base classes already, in turns, so that both see the same machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RULES, RUNS, GOAL = 200, 5, 2.5
PARSE = """
import importlib.util, os, sys, time
from airflow_provider_anyformat._airflow import DAG, BaseOperator
before = set(sys.modules)
start = time.process_time()
spec = importlib.util.spec_from_file_location("parsed", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
took = time.process_time() - start
added = set(sys.modules) - before
print(took, *sorted({"requests", "airflow_provider_anyformat.api.client"} & added))
"""
RULE_FILE = """
from pathlib import Path
from airflow_provider_anyformat.rules import retention_dags
made = retention_dags(Path(__file__).with_name("retention.yaml"))
assert len(made) == {rules}
"""
HEAD = """
from datetime import UTC, datetime
from airflow_provider_anyformat._airflow import DAG
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
"""
PLAIN = """
with DAG(
    "plain_{number}",
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={{"owner": "privacy@example.org", "retries": 2}},
    tags=["anyformat", "retention"],
):
    PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id="{workflow}",
        older_than="P90D",
        max_deletions=5000,
        basis="contract {number}",
        ledger_path="s3://audit/anyformat",
    )
"""
RULE = """
  - name: rule_{number}
    workflow_id: {workflow}
    older_than: P90D
    max_deletions: 5000
    owner: privacy@example.org
    basis: contract {number}
"""
DEFAULTS = """
version: 1
defaults: {schedule: "17 2 * * *", ledger_path: s3://audit/anyformat, retries: 2}
rules:
"""


def write(folder: Path) -> tuple[Path, Path]:
    """Write both DAG files, which say the same."""
    workflows = [f"11111111-2222-4333-8444-{number:012d}" for number in range(RULES)]
    plain, ruled = folder / "plain.py", folder / "ruled.py"
    plain.write_text(HEAD + "".join(PLAIN.format(number=n, workflow=each) for n, each in enumerate(workflows)))
    ruled.write_text(RULE_FILE.format(rules=RULES))
    rules = [RULE.format(number=n, workflow=each) for n, each in enumerate(workflows)]
    (folder / "retention.yaml").write_text(DEFAULTS + "".join(rules))
    return plain, ruled


def parse(file: Path) -> tuple[float, list[str]]:
    """Parse a DAG file in a fresh interpreter; return its seconds of processor time, and what it need not import."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, str(file)], check=True, capture_output=True, text=True
    )
    seconds, *added = done.stdout.splitlines()[-1].split()
    return float(seconds), added


def main() -> int:
    """Print both, and the ratio; the exit code is 1 if it is missed."""
    with tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as folder:
        plain, ruled = write(Path(folder))
        pairs = [(parse(plain), parse(ruled)) for _ in range(RUNS)]
    theirs, ours = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
    added = sorted({name for pair in pairs for name in pair[1][1]})
    print(f"{RULES} plain DAGs {theirs * 1e3:.0f} ms; a file of {RULES} rules {ours * 1e3:.0f} ms")
    print(f"  ratio {ours / theirs:.2f} (goal: at most {GOAL}); added of requests and the client: {added or 'none'}")
    return int(ours > GOAL * theirs or bool(added))


if __name__ == "__main__":
    sys.exit(main())
