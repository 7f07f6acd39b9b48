"""A whole purge, threads, plan and ledger included, in a process in which Airflow cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from airflow_provider_anyformat.sandbox import Sandbox

PURGE = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())

from datetime import UTC, datetime, timedelta
from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.bulk import RunOptions, apply_plan, delete_ids, list_due, purge
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import Guards, Origin
from airflow_provider_anyformat.retention.policy import RetentionPolicy

url, key, workflow_id, folder = sys.argv[1:]
client = AnyformatClient(key, url)
policy = RetentionPolicy(older_than=timedelta(days=90), reference_time=datetime.now(UTC))
options = RunOptions(origin=Origin(url), max_workers=4, quota_reserve=0.1, ledger=LocalFolder(folder))
assert len(list_due(client, [workflow_id], policy, Guards(limit=7), options.origin)) == 7
planned = purge(client, [workflow_id], policy, Guards(limit=5), options, plan_only=True)
path, ttl = planned["plan_path"], timedelta(hours=1)
assert apply_plan(client, LocalFolder(path), planned["plan_digest"], options, ttl=ttl, plan_path=path)["deleted"] == 5
assert delete_ids(client, ["first"], Guards(), options)["deleted"] == 1
assert purge(client, [workflow_id], policy, Guards(), options)["deleted"] == 30
assert not any(name.partition(".")[0] == "airflow" for name in sys.modules)
"""


def test_every_job_runs_without_airflow(tmp_path: Path, repository: Path) -> None:
    with Sandbox(rate_limit=None) as sandbox:
        workflow = sandbox.add_workflow()
        sandbox.fill(workflow, 35, created_at=datetime(2020, 1, 1, tzinfo=UTC))
        sandbox.add_collection(workflow, id="first")
        arguments = [sandbox.url, sandbox.key, workflow, str(tmp_path)]
        done = subprocess.run(
            [sys.executable, "-c", PURGE, *arguments],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert sum(sandbox.deleted.values()) == 36
    assert len(list(tmp_path.rglob("summary.json"))) == 4
