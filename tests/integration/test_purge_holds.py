"""Holds in a file: what they hold stays and is on record, and a file that cannot be used stops the task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_of, ledger_rows, plan_json
from tests.support.plans import Planned
from tests.support.sandboxes import ago, left, old, on_both_versions
from tests.support.tasks import rendered, run

TODAY = datetime.now(UTC).date()
BASIS = "GDPR Art. 5(1)(e); contract 4711 § 9"

purge = rendered(PurgeFileCollectionsOperator, task_id="purge", older_than="P90D")


def holds(folder: Path, *lines: str) -> str:
    path = folder / "holds.yaml"
    path.write_text("\n  - ".join(["holds:", *lines]) + "\n")
    return str(path)


@on_both_versions
def test_what_is_held_stays_and_its_case_is_on_record(sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
    due, (by_id, by_file) = old(sandbox, workflow, 3), old(sandbox, workflow, 2)
    by_name = sandbox.add_collection(workflow, name="Contract-7.pdf", created_at=ago(100))
    nameless = sandbox.add_collection(workflow, name=None, created_at=ago(100))
    file_id = next(row["file_id"] for row in sandbox.collections(workflow) if row["id"] == by_file)
    other = sandbox.add_workflow()
    (elsewhere,) = old(sandbox, other, 1)
    path = holds(
        tmp_path,
        f"{{case: over, until: {TODAY}, workflow_ids: [{workflow}, {other}]}}",
        f"{{case: to come, from: {TODAY + timedelta(days=2)}, names: ['*']}}",
        f"{{case: A-1, owner: legal, reason: why, from: {TODAY}, collection_ids: [{by_id.upper()}, {file_id}]}}",
        f"{{case: A-2, names: ['contract-*'], workflow_ids: [{other.replace('-', '')}]}}",
    )
    task = purge(
        workflow_id=[workflow, other], holds=path, basis=BASIS, owner="privacy", ledger_path=str(tmp_path / "ledger")
    )
    ran = run(task)

    assert ran.is_green, ran.words
    assert sandbox.deleted == dict.fromkeys(due, 1)
    assert ran.summary["kept"] == {"held": 5}
    content = plan_json(ran.summary["ledger"])
    assert (content["owner"], content["basis"]) == ("privacy", BASIS)
    assert [(each["case"], each["held"]) for each in content["holds"]] == [("A-1", 2), ("A-2", 3)]
    assert content["holds"][0] == {
        "case": "A-1",
        "owner": "legal",
        "reason": "why",
        "from": str(TODAY),
        "until": None,
        "workflow_ids": [],
        "collection_ids": [by_id.upper(), file_id],
        "names": 0,
        "held": 2,
    }
    rows = ledger_rows(ran.summary["ledger"], "held.jsonl")
    assert {(row["case"], row["collection_id"], row["workflow_id"]) for row in rows} == {
        *(("A-1", each, workflow) for each in (by_id, by_file)),
        *(("A-2", each, workflow) for each in (by_name, nameless)),
        ("A-2", elsewhere, other),
    }
    (own,) = ledger_of(tmp_path / "ledger")
    own.check_digests()


def test_without_a_file_nothing_of_it_is_in_the_plan(sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
    old(sandbox, workflow, 1)
    ran = run(purge(workflow_id=workflow, ledger_path=str(tmp_path)))
    assert not {"owner", "basis", "holds"} & plan_json(ran.summary["ledger"]).keys()
    assert not list(Path(ran.summary["ledger"]).glob("held*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("", "the file is empty"),
        ("holds: [{case: A, name: ['x']}]", "name: it is not a key that is known here; did you mean names?"),
        ("holds: [{case: A}]", "line 1: hold A: it has no selector"),
        ("holds: [{case: A, names: [x], until: 2026-13-01}]", "until: '2026-13-01' cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_task_for_good(
    sandbox: Sandbox, workflow: str, tmp_path: Path, text: str | None, says: str
) -> None:
    planned = Planned(sandbox, tmp_path, workflow_id=workflow)
    path = tmp_path / "holds.yaml"
    if text is not None:
        path.write_text(text)
    for ran in (run(purge(workflow_id=workflow, holds=str(path))), planned.apply(holds=str(path))):
        assert ran.is_final
        assert ran.words.startswith("holds: holds.yaml")
        assert says in ran.words
    assert sandbox.requests == []


def test_a_relative_path_is_refused(sandbox: Sandbox, workflow: str) -> None:
    ran = run(purge(workflow_id=workflow, holds="holds.yaml"))
    assert ran.is_final
    assert ran.words.startswith("holds: 'holds.yaml' cannot be used")


def test_a_hold_that_came_after_the_plan_holds(sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
    old(sandbox, workflow, 3)
    nothing_yet = holds(tmp_path)
    Path(nothing_yet).write_text("holds: []\n")
    planned = Planned(sandbox, tmp_path, workflow_id=workflow, holds=nothing_yet, basis=BASIS, owner="privacy")
    young = sandbox.add_collection(workflow, name="young.pdf")
    path = holds(tmp_path, f"{{case: B-1, collection_ids: [{planned.ids[1]}, {young}]}}")
    summary = planned.applied(holds=path, ledger_path=str(tmp_path / "applied"))

    assert left(sandbox, workflow) == {planned.ids[1], young}
    assert summary["kept"] == {"held": 1}
    content = plan_json(summary["ledger"])
    # What the plan was made for stays on record; of holds, only what the plan had is counted.
    assert (content["owner"], content["basis"]) == ("privacy", BASIS)
    assert [(each["case"], each["held"]) for each in content["holds"]] == [("B-1", 1)]
    (row,) = ledger_rows(summary["ledger"], "held.jsonl")
    assert row == {"case": "B-1", "collection_id": planned.ids[1], "workflow_id": workflow}
