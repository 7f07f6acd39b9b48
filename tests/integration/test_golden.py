"""
Ledger, plan and summary, byte for byte as the first release wrote them; and what it wrote can still be read.

Only what is different from run to run is replaced: times, digests, the server's port and the folder's random digits.
``WRITE_GOLDEN=1`` rewrites the files in ``golden/``; a change there is a change of a public format.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator, PurgeFileCollectionsOperator
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import age, ledger_of
from tests.support.logs import Lines
from tests.support.tasks import TaskInstance

GOLDEN = Path(__file__).with_name("golden")
OLD = GOLDEN / "written_by_701d8ab"
WORKFLOW = "invoices"
IDS = [f"{n:08x}-c011-4ec7-a000-{n:012x}" for n in range(4)]
YOUNG, HELD, FAILED = "young", "held", "failed"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
# One thread, so that the rows of the outcomes have an order.
GIVEN: dict[str, Any] = {"older_than": "P90D", "reference_time": "2026-01-01T00:00:00Z", "max_workers": 1}
VARIABLE = [
    (r"http://127\.0\.0\.1:\d+", "<service>"),
    (r"[0-9a-f]{64}", "<sha256>"),
    (r'"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT"', '"<http date>"'),
    (r'"(deleted_at|made_at)":"[-0-9T:.]+Z"', r'"\1":"<time>"'),
    (r'"provider_version":"[^"]+"', '"provider_version":"<version>"'),
    (r'"request_id":"[^"]+"', '"request_id":"<id>"'),
    (r"/([0-9a-f]{8})(?=[/\"\n])", "/<random>"),
    (r"settled-[0-9a-f]{12}", "settled-<hash>"),
    (r"follows-[0-9a-f]{12}", "follows-<hash>"),
]


def stable(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "<folder>")
    for pattern, replacement in VARIABLE:
        text = re.sub(pattern, replacement, text)
    return text


def everything(folder: Path, *summaries: dict[str, Any]) -> str:
    """Give every file below a folder and every summary as one text."""
    parts = [f"== returned\n{json.dumps(each, sort_keys=True)}\n" for each in summaries]
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    # What the sandbox makes up as results is its own business.
    parts += [f"== {path}\n{'' if 'archive' in path.parts else path.read_text()}" for path in paths]
    return stable("".join(parts), folder)


def compare(name: str, text: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def purge(folder: Path, run_id: str = "run-1", **more: Any) -> dict[str, Any]:
    given = {**GIVEN, "workflow_id": WORKFLOW, "ledger_path": str(folder / "ledger"), **more}
    summary = PurgeFileCollectionsOperator(task_id="purge", **given).execute({"ti": TaskInstance(run_id=run_id)})
    assert isinstance(summary, dict)
    return summary


@pytest.fixture
def filled(sandbox: Sandbox, tmp_path: Path) -> Sandbox:
    sandbox.add_workflow(WORKFLOW)
    for number, each in enumerate(IDS):
        sandbox.add_collection(WORKFLOW, id=each, created_at=LONG_AGO + timedelta(days=number, microseconds=number))
    sandbox.add_collection(WORKFLOW, id=HELD, created_at=LONG_AGO)
    sandbox.add_collection(WORKFLOW, id=YOUNG, created_at=datetime(2025, 12, 31, tzinfo=UTC))
    return sandbox


def test_a_purge(filled: Sandbox, tmp_path: Path) -> None:
    filled.add_collection(WORKFLOW, id=FAILED, created_at=LONG_AGO, status="error")
    filled.fail_next(1, 422, method="DELETE", path=FAILED)
    context = {"ti": TaskInstance()}
    task = PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id=[WORKFLOW, filled.add_workflow("empty")],
        statuses=["processed", "error"],
        exclude_collection_ids=[HELD.upper(), "no-such-id"],
        exclude_names=["*.txt"],
        max_deletions=50,
        max_deletions_percent=99.5,
        limit=3,
        ledger_path=str(tmp_path / "ledger"),
        **GIVEN,
    )
    with pytest.raises(Exception, match=FAILED):
        task.execute(context)
    compare("purge", everything(tmp_path, context["ti"].xcoms["summary"]))


def test_an_archive(filled: Sandbox, tmp_path: Path) -> None:
    filled.add_collection(WORKFLOW, id="empty-error", created_at=LONG_AGO, status="error")
    more: dict[str, Any] = {"statuses": ["processed", "error"], "archive_path": str(tmp_path / "archive")}
    compare("archive", everything(tmp_path, purge(tmp_path, **more)))


def test_a_plan_that_is_applied(filled: Sandbox, tmp_path: Path) -> None:
    planned = purge(tmp_path, plan_only=True)
    filled.remove_collection(IDS[1])
    ti = TaskInstance(task_id="apply")
    applied = ApplyPurgePlanOperator(
        task_id="apply",
        plan_path=planned["plan_path"],
        plan_digest=planned["plan_digest"],
        approved_by="Ada",
        exclude_collection_ids=[IDS[2]],
        ledger_path=str(tmp_path / "ledger"),
        max_workers=1,
    ).execute({"ti": ti})
    compare("apply", everything(tmp_path, planned, applied))


def kill(folder: Path) -> None:
    """Leave of the run's folder what a kill after the first delete leaves."""
    (summary,) = folder.rglob("summary.json")
    summary.unlink()
    (outcomes,) = summary.parent.glob("outcomes-*.jsonl")
    outcomes.write_text("".join(outcomes.read_text().splitlines(keepends=True)[:1]))


def test_a_killed_run_that_is_settled(filled: Sandbox, tmp_path: Path) -> None:
    purge(tmp_path)
    kill(tmp_path / "ledger")
    age(tmp_path)
    filled.add_collection(WORKFLOW, id=IDS[1], created_at=LONG_AGO)
    filled.add_collection(WORKFLOW, id=IDS[2], created_at=datetime.now(UTC))
    compare("settled", everything(tmp_path, purge(tmp_path, "run-2")))


@pytest.fixture
def written_before(tmp_path: Path) -> Path:
    """Give the folder of a plan and a killed run's ledger that commit 701d8ab wrote."""
    folder = tmp_path / "ledger"
    if os.environ.get("WRITE_GOLDEN"):
        pytest.skip("the old files are kept")
    shutil.copytree(OLD, folder)
    age(folder)
    return folder


def test_a_killed_run_of_701d8ab_is_settled(
    filled: Sandbox, tmp_path: Path, written_before: Path, lines: Lines
) -> None:
    for each in IDS[1:3]:
        filled.remove_collection(each)
    summary = purge(tmp_path, "run-2", max_workers=1)
    assert (summary["deleted"], summary["already_gone"]) == (3, 0)
    (run,) = [each for each in ledger_of(written_before) if each.name.startswith("nightly/purge/-1/run-2/")]
    gone = [each for each, outcome in run.outcomes.items() if outcome == "gone_unconfirmed"]
    assert gone == IDS[1:3]
    assert len(lines.matching("^2 collections that an earlier run left open")) == 1


def test_a_plan_of_701d8ab_is_read(written_before: Path) -> None:
    from airflow_provider_anyformat.retention.folder import LocalFolder
    from airflow_provider_anyformat.retention.stored_plan import StoredPlan

    (path,) = (written_before / "nightly/plan").rglob("plan.json")
    content = json.loads(path.read_text())
    stored = StoredPlan.load(LocalFolder(path.parent), content["digest"])
    made_at = datetime.fromisoformat(content["made_at"])
    stored.check(service=content["service"], now=made_at, ttl=timedelta(days=3))
    assert stored.workflow_ids == (WORKFLOW,)
    assert [row.collection_id for row in stored.rows] == [*IDS, HELD]
    policy = stored.policy(["more"])
    assert (policy.older_than, policy.reference_time) == (timedelta(days=90), datetime(2026, 1, 1, tzinfo=UTC))
    assert policy.exclude_collection_ids == ("more",)
