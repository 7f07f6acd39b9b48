"""What whoever runs Airflow asks of every task: the section ``[anyformat]`` of its configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.operators.files import (
    DeleteFileCollectionsOperator,
    ListFileCollectionsOperator,
    PurgeFileCollectionsOperator,
)
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_rows
from tests.support.plans import Planned, apply_task
from tests.support.sandboxes import connect, old
from tests.support.tasks import Ran, run

purge = partial(PurgeFileCollectionsOperator, task_id="purge", older_than="P90D")
list_due = partial(ListFileCollectionsOperator, task_id="list", older_than="P90D")
delete = partial(DeleteFileCollectionsOperator, task_id="delete")
Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    def set_options(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__ANYFORMAT__{name.upper()}", value)

    return set_options


@pytest.fixture
def refused(sandbox: Sandbox) -> Callable[[Any], str]:
    def words(task: Any) -> str:
        sandbox.clear_requests()
        ran: Ran = run(task)
        assert ran.is_final, ran.words
        assert sandbox.requests == []
        return ran.words

    return words


def test_no_dag_and_no_connection_undercuts_the_organisation_s_minimum(
    sandbox: Sandbox, workflow: str, tmp_path: Path, configure: Configure, refused: Callable[[Any], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    old(sandbox, workflow, 2, days=200)
    planned = Planned(sandbox, tmp_path, workflow_id=workflow)
    tasks = (
        purge(workflow_id=workflow),
        purge(workflow_id=workflow, plan_only=True),
        list_due(workflow_id=workflow),
        apply_task(plan_path=str(planned.path), plan_digest=planned.digest),
    )
    configure(min_retention_days="90.5")
    for task in tasks:
        assert "is shorter than [anyformat] min_retention_days, 90 days, 12:00:00;" in refused(task)
    connect(monkeypatch, sandbox, min_retention=120)
    assert "is shorter than the connection's min_retention, 120 days" in refused(tasks[0])
    connect(monkeypatch, sandbox)
    configure(min_retention_days="90")
    assert run(purge(workflow_id=workflow)).counts("deleted") == (2,)


@pytest.mark.parametrize("value", ["", "a year", "0", "-1", "nan", "inf", "36501", "P90D"])
def test_a_minimum_that_cannot_be_read_stops_the_task(
    value: str, workflow: str, configure: Configure, refused: Callable[[Any], str]
) -> None:
    configure(min_retention_days=value)
    words = refused(purge(workflow_id=workflow))
    assert f"[anyformat] min_retention_days: {value!r} is not a number of days above 0" in words


def test_a_task_without_ledger_has_the_organisation_s(
    sandbox: Sandbox, workflow: str, tmp_path: Path, configure: Configure
) -> None:
    first, second, third = old(sandbox, workflow, 3)
    everybody_s = tmp_path / "all"
    configure(ledger_path=str(everybody_s))
    planned = Planned(sandbox, tmp_path, workflow_id=workflow, limit=1)
    assert planned.path.is_relative_to(tmp_path / "plans")
    for ran, deleted in (
        (planned.apply(), first),
        (run(delete(collection_ids=[second])), second),
        (run(purge(workflow_id=workflow)), third),
    ):
        assert Path(ran.summary["ledger"]).is_relative_to(everybody_s)
        assert [row["collection_id"] for row in ledger_rows(ran.summary["ledger"])] == [deleted]


def test_an_organisation_s_ledger_that_cannot_be_used_stops_before_the_first_delete(
    sandbox: Sandbox, workflow: str, tmp_path: Path, configure: Configure, refused: Callable[[Any], str]
) -> None:
    (first,) = old(sandbox, workflow, 1)
    (tmp_path / "file").write_text("no folder")
    for path in ("", "relative/folder", "nothing://bucket"):
        configure(ledger_path=path)
        assert "[anyformat] ledger_path: " in refused(purge(workflow_id=workflow))
    configure(ledger_path=str(tmp_path / "file"))
    for task in (purge(workflow_id=workflow), delete(collection_ids=[first])):
        assert not run(task).is_green
    assert sandbox.requests_to("DELETE") == []
