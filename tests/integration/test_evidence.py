"""What real purges write can be proved: chain, signature, killed runs, unusual amounts; and the live listing."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.cli.main import main
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.signing import Signer
from airflow_provider_anyformat.retention.verification import verify
from airflow_provider_anyformat.sandbox import Sandbox
from tests.integration.test_golden import kill
from tests.support.ledgers import age, ledger_of
from tests.support.sandboxes import fill
from tests.support.tasks import TaskInstance, purge

SEED = base64.b64encode(b"k" * 32).decode()
SIGNER = Signer(SEED)


def problems(folder: Path, **options: Any) -> list[str]:
    return [each.problem for each in verify(LocalFolder(folder), **options).problems]


def test_what_purges_write_verifies(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_KEY", json.dumps({"conn_type": "generic", "password": SEED}))
    given = {"ledger_path": str(tmp_path), "signing_conn_id": "ledger_key"}
    heads = []
    for number in (1, 2, 3):
        workflow_id, _ = fill(sandbox, 3)
        summary = purge(workflow_id, TaskInstance(run_id=f"run-{number}", map_index=number), **given)
        heads.append(summary["summary_sha256"])
        assert f"summary_sha256: {heads[-1]}" in caplog.text
    assert problems(tmp_path, heads=heads, public_key=SIGNER.public_key) == []
    assert verify(LocalFolder(tmp_path)).heads == heads[2:]
    runs = ledger_of(tmp_path)
    assert [run.summary and run.summary["previous"] for run in runs] == [[], heads[:1], heads[1:2]]
    assert {run.summary and run.summary["signed_by"] for run in runs} == {SIGNER.public_key.sha256}
    assert not [name for run in runs for name, data in run.files.items() if SEED.encode() in data or b"k" * 32 in data]
    assert SEED not in caplog.text
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_KEY", json.dumps({"conn_type": "generic", "password": "no key"}))
    deleted = dict(sandbox.deleted)
    with pytest.raises(Exception, match="signing_conn_id") as raised:
        purge(workflow_id, TaskInstance(run_id="run-4"), **given)
    assert "no key" not in str(raised.value).replace("is not an", "")
    assert sandbox.deleted == deleted


def test_a_killed_run_is_a_problem_until_it_is_settled(sandbox: Sandbox, tmp_path: Path) -> None:
    workflow_id, _ = fill(sandbox, 4)
    purge(workflow_id, TaskInstance(run_id="run-1"), ledger_path=str(tmp_path))
    kill(tmp_path)
    # It may still be alive.
    purge(workflow_id, TaskInstance(run_id="run-1b"), ledger_path=str(tmp_path))
    assert problems(tmp_path) == ["unclosed"]
    age(tmp_path)
    purge(workflow_id, TaskInstance(run_id="run-2"), ledger_path=str(tmp_path))
    report = verify(LocalFolder(tmp_path))
    assert (report.problems, report.runs, report.collections) == ([], 3, 4)
    # From then on what the killed run had written is guarded, too.
    (outcomes,) = tmp_path.glob("*/*/*/run-1/1/*/outcomes-00001.jsonl")
    whole = outcomes.read_bytes()
    outcomes.write_bytes(whole.replace(b"deleted", b"unknown", 1))
    assert problems(tmp_path) == ["changed"]
    outcomes.unlink()
    assert problems(tmp_path) == ["missing"]
    shutil.rmtree(outcomes.parent)
    assert "missing" in problems(tmp_path)


def test_an_unusual_amount_stops_a_run_before_its_first_delete(sandbox: Sandbox, tmp_path: Path) -> None:
    given = {"ledger_path": str(tmp_path), "max_times_usual": "2"}
    for number in range(5):
        workflow_id, _ = fill(sandbox, 2)
        purge(workflow_id, TaskInstance(run_id=f"run-{number}"), **given)
    workflow_id, due = fill(sandbox, 4)
    ti = TaskInstance(run_id="run-5")
    assert purge(workflow_id, ti, **given)["deleted"] == 4
    workflow_id, due = fill(sandbox, 5)
    ti = TaskInstance(run_id="run-6")
    with pytest.raises(Exception, match="max_times_usual: this run would delete 5"):
        purge(workflow_id, ti, **given)
    assert ti.xcoms["summary"]["deleted"] == 0
    assert not set(due) & set(sandbox.deleted)
    assert purge(workflow_id, TaskInstance(run_id="run-7"), plan_only=True, **given)["due"] == 5
    delete = DeleteFileCollectionsOperator(task_id="purge", collection_ids=due, **given)
    with pytest.raises(Exception, match="max_times_usual"):
        delete.execute({"ti": TaskInstance(run_id="run-8")})
    with pytest.raises(Exception, match="requires ledger_path"):
        purge(workflow_id, TaskInstance(run_id="run-9"), max_times_usual=2)
    assert not set(due) & set(sandbox.deleted)
    assert problems(tmp_path) == []


def test_the_live_listing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    workflow_id, due = fill(sandbox, 3, name="Zoë.pdf")
    monkeypatch.setenv("ANYFORMAT_API_KEY", sandbox.key)
    monkeypatch.setenv("ANYFORMAT_BASE_URL", sandbox.url)
    path = tmp_path / "listing.jsonl"
    assert main(["list", "--workflow", workflow_id, "--output", str(path)]) == 0
    assert main(["list", "--workflow", workflow_id, "--json"]) == 0
    out, err = capfdbinary.readouterr()
    assert (out, err) == (path.read_bytes(), b"")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["id"] for row in rows} > set(due)
    assert {row["workflow_id"] for row in rows} == {workflow_id}
    assert "Zoë.pdf".encode() in out
    # It is what explain and simulate read, and they find what a purge would.
    assert main(["explain", str(path), "--older-than", "P30D", "--json"]) == 0
    explained = json.loads(capfdbinary.readouterr().out)["collections"]
    assert {each["collection_id"] for each in explained if each["delete"]} == set(due)

    monkeypatch.setenv("ANYFORMAT_API_KEY", "af_wrong")
    (tmp_path / "other").mkdir()
    assert main(["list", "--workflow", workflow_id, "--output", str(tmp_path / "other/l")]) == 1
    out, err = capfdbinary.readouterr()
    assert (out, b"401" in err, list((tmp_path / "other").iterdir())) == (b"", True, [])
    assert main(["list", "--workflow", workflow_id, "--conn-id", "anyformat_default", "--output", str(path)]) == 0
