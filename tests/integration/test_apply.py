"""ApplyPurgePlanOperator: it deletes the plan and nothing else, and of the plan only what is still due."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.bulk import run as bulk_run
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.verification import verify
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_of, ledger_outcomes, plan_json
from tests.support.logs import Lines
from tests.support.plans import Planned
from tests.support.sandboxes import ago, any_of, asked, at_request, left, old, on_both_versions, passes
from tests.support.tasks import COUNTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def planned(sandbox: Sandbox, workflow: str, tmp_path: Path) -> Planned:
    """Return a plan of ten collections of one workflow, which has five more that are too young."""
    old(sandbox, workflow, 10)
    sandbox.fill(workflow, 5)
    return Planned(sandbox, tmp_path, workflow_id=workflow)


class TestExactlyThatPlan:
    def test_what_became_due_since_stays(
        self, sandbox: Sandbox, workflow: str, planned: Planned, tmp_path: Path
    ) -> None:
        young = next(each for each in left(sandbox, workflow) if each not in planned.ids)
        sandbox.update_collection(young, created_at=ago(200), updated_at=ago(200))
        since = [*old(sandbox, workflow, 4, days=300), young]
        summary = planned.applied(ledger_path=str(tmp_path / "applied"))

        assert sandbox.deleted == dict.fromkeys(planned.ids, 1)
        assert left(sandbox, workflow) >= set(since)
        assert len(left(sandbox, workflow)) == 9
        assert [summary[name] for name in COUNTS] == [19, 10, 10, 10, 0, 0, 0]
        assert summary["kept"] == {}
        assert summary["workflow_ids"] == [workflow]
        for name in ("plan_path", "plan_digest"):
            assert summary[name] == planned.summary[name]

    def test_what_the_listing_skipped_is_neither_gone_nor_deleted(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path
    ) -> None:
        """Rows shift while pages are read: what is deleted from page 1 hides as many from page 2."""
        old(sandbox, workflow, 30)
        sandbox.page_size_cap = 10
        planned = Planned(sandbox, tmp_path, workflow_id=workflow)
        removed: list[str] = []

        def mangle(number: int, page: dict[str, Any]) -> dict[str, Any]:
            if number == 1 and not removed:
                removed.extend(row["id"] for row in page["results"])
                for each in removed:
                    sandbox.remove_collection(each)
            return page

        sandbox.mangle_page = mangle
        summary = planned.applied(ledger_path=str(tmp_path / "applied"))
        there = left(sandbox, workflow)
        assert len(removed) == len(there) == 10
        assert (summary["already_gone"], summary["deleted"], summary["kept"]) == (10, 10, {"not_listed": 10})
        assert verify(LocalFolder(tmp_path / "applied")).problems == []

    def test_the_ledger_is_its_own(self, planned: Planned, workflow: str, tmp_path: Path) -> None:
        before = {path: path.read_bytes() for path in planned.path.iterdir()}
        summary = planned.applied(ledger_path=str(tmp_path / "applied"), approved_by="jane")
        assert {path: path.read_bytes() for path in planned.path.iterdir()} == before
        (own,) = ledger_of(tmp_path / "applied")
        assert summary["ledger"] == str(tmp_path / "applied" / own.name)
        assert own.name.startswith("nightly/apply/-1/")
        own.check_digests()
        assert own.planned == planned.ids
        assert own.outcomes == dict.fromkeys(planned.ids, "deleted")
        made, applied = plan_json(str(planned.path)), plan_json(summary["ledger"])
        assert applied["applied_plan"] == {"plan_path": str(planned.path), "plan_digest": planned.digest}
        assert applied["approved_by"] == "jane"
        for name in ("service", "workflows", "policy", "count"):
            assert applied[name] == made[name]
        assert applied["digest"] != made["digest"]

    def test_the_plan_is_shown_to_whoever_approves_it(self, planned: Planned) -> None:
        assert planned.markdown is not None
        assert len(planned.markdown.encode()) <= 4096
        assert planned.digest in planned.markdown
        assert all(each in planned.markdown for each in planned.ids)

    def test_without_a_ledger_the_ids_are_logged(self, planned: Planned, lines: Lines) -> None:
        summary = planned.applied()
        assert summary["ledger"] is None
        assert summary["plan_path"] == str(planned.path)
        assert all(each in lines.text for each in planned.ids)

    def test_several_workflows(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        other, third = sandbox.add_workflow(), sandbox.add_workflow()
        ids = {*old(sandbox, workflow, 6), *old(sandbox, other, 5)}
        planned = Planned(sandbox, tmp_path, workflow_id=[workflow, other, third])
        old(sandbox, third, 3)
        summary = planned.applied()
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert summary["workflow_ids"] == [workflow, other, third]
        assert [summary[name] for name in COUNTS[:4]] == [14, 11, 11, 11]

    def test_a_limited_plan(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 10)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, limit=4)
        summary = planned.applied()
        assert sandbox.deleted == dict.fromkeys(ids[:4], 1)
        assert (summary["due"], summary["kept"]) == (4, {})

    def test_an_empty_plan(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        sandbox.fill(workflow, 3)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow)
        old(sandbox, workflow, 3)
        summary = planned.applied(ledger_path=str(tmp_path))
        assert [summary[name] for name in COUNTS] == [6, 0, 0, 0, 0, 0, 0]
        assert asked(sandbox) == []

    def test_name_globs(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        invoice = sandbox.add_collection(workflow, name="invoice.pdf", created_at=ago(100))
        sandbox.add_collection(workflow, name="contract.pdf", created_at=ago(100))
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, include_names=["invoice*"])
        assert planned.applied()["deleted"] == 1
        assert asked(sandbox) == [invoice]

    def test_an_id_in_another_spelling_is_the_same(
        self, sandbox: Sandbox, planned: Planned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also for the second look, which comes while it deletes."""

        def respell(_: int, page: dict[str, Any]) -> dict[str, Any]:
            rows = [{**row, "id": row["id"].replace("-", "").upper()} for row in page["results"]]
            return {**page, "results": rows}

        monkeypatch.setattr(bulk_run, "RECHECK_INTERVAL", 0.05)
        sandbox.mangle_page, sandbox.latency = respell, 0.03
        summary = planned.applied(max_workers=1)
        assert sandbox.deleted == dict.fromkeys(planned.ids, 1)
        assert summary["kept"] == {}
        assert passes(sandbox) > 2

    def test_the_same_plan_twice(self, sandbox: Sandbox, planned: Planned) -> None:
        planned.applied()
        summary = planned.applied()
        assert sandbox.deleted == dict.fromkeys(planned.ids, 1)
        assert len(asked(sandbox)) == 10
        assert [summary[name] for name in COUNTS] == [5, 10, 10, 0, 10, 0, 0]

    def test_archive(self, sandbox: Sandbox, workflow: str, planned: Planned, tmp_path: Path) -> None:
        kept, gone = planned.ids[:2]
        sandbox.update_collection(kept, status="error")
        sandbox.remove_collection(gone)
        archive = tmp_path / "archive"
        planned.applied(archive_path=str(archive))
        saved = {path.stem for path in (archive / workflow).iterdir()}
        assert saved == set(planned.ids[2:]) == set(asked(sandbox))


class TestNoLongerDue:
    """Kept, counted by its reason, and never asked for."""

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            pytest.param({"status": "error"}, "status", id="other-status"),
            pytest.param({"status": "in_progress"}, "status", id="running-again"),
            pytest.param({"status": "completed"}, "status_unknown", id="unknown-status"),
            pytest.param({"updated_at": ago(3)}, "changed", id="updated"),
            pytest.param({"updated_at": None}, "changed", id="no-update"),
            pytest.param({"created_at": ago(95)}, "changed", id="created-otherwise"),
            pytest.param({"created_at": ago(80)}, "too_young", id="younger"),
            pytest.param({"created_at": None}, "timestamp_missing", id="no-age"),
            pytest.param({"created_at": "soon"}, "timestamp_unreadable", id="odd-age"),
            pytest.param({"created_at": ago(-1)}, "timestamp_future", id="future"),
        ],
    )
    def test_changed(
        self,
        sandbox: Sandbox,
        workflow: str,
        planned: Planned,
        lines: Lines,
        tmp_path: Path,
        change: dict[str, Any],
        reason: str,
    ) -> None:
        changed = planned.ids[3:6]
        for each in changed:
            sandbox.update_collection(each, **change)
        summary = planned.applied(ledger_path=str(tmp_path / "applied"))
        others = set(planned.ids) - set(changed)
        assert sandbox.deleted == dict.fromkeys(others, 1)
        assert sorted(asked(sandbox)) == sorted(others)
        assert summary["kept"] == {reason: 3}
        assert [summary[name] for name in COUNTS] == [15, 10, 7, 7, 0, 0, 0]
        assert ledger_outcomes(summary["ledger"]) == dict.fromkeys(others, "deleted")
        assert plan_json(summary["ledger"])["count"] == 7
        for each in changed:
            assert lines.matching(f"{each} .*{reason}")

    def test_another_status_that_may_go_was_not_approved(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 4)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, statuses=["processed", "error"])
        sandbox.update_collection(ids[0], status="error")
        assert planned.applied()["kept"] == {"changed": 1}
        assert sorted(asked(sandbox)) == sorted(ids[1:])

    def test_age_by_the_update(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 4)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, age_by="updated_at")
        sandbox.update_collection(ids[0], updated_at=ago(1))
        assert planned.applied()["kept"] == {"too_young": 1}
        assert sorted(asked(sandbox)) == sorted(ids[1:])

    @on_both_versions
    def test_held_since(self, sandbox: Sandbox, workflow: str, tmp_path: Path, lines: Lines) -> None:
        ids = old(sandbox, workflow, 6)
        file_ids = {row["id"]: row["file_id"] for row in sandbox.collections(workflow)}
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, exclude_collection_ids=[ids[0]])
        nobody = "f" * 36
        holds = [ids[1], ids[2].upper(), file_ids[ids[3]].upper(), nobody]
        summary = planned.applied(exclude_collection_ids=json.dumps(holds), ledger_path=str(tmp_path / "applied"))
        assert left(sandbox, workflow) == set(ids[:4])
        assert sorted(asked(sandbox)) == sorted(ids[4:])
        # What the plan held was not in it.
        assert (summary["due"], summary["kept"]) == (5, {"held": 3})
        assert plan_json(summary["ledger"])["policy"]["exclude_collection_ids"] == [ids[0], *holds]
        warned = [record.getMessage() for record in lines.records if record.levelname == "WARNING"]
        assert sum(nobody in text for text in warned) == 1

    def test_moved_to_another_workflow(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        other = sandbox.add_workflow()
        ids = old(sandbox, workflow, 5)
        old(sandbox, other, 1)
        planned = Planned(sandbox, tmp_path, workflow_id=[workflow, other])
        (row,) = [row for row in sandbox.collections(workflow) if row["id"] == ids[2]]
        sandbox.remove_collection(ids[2])
        times = {"created_at": row["created_at"], "updated_at": row["updated_at"]}
        sandbox.add_collection(other, id=ids[2], file_id=row["file_id"], name=row["name"], **times)
        assert planned.applied()["kept"] == {"changed": 1}
        assert sorted(asked(sandbox)) == sorted(set(planned.ids) - {ids[2]})
        assert ids[2] in sandbox

    def test_two_rows_that_disagree(self, sandbox: Sandbox, planned: Planned) -> None:
        (victim, *others) = planned.ids

        def twice(_: int, page: dict[str, Any]) -> dict[str, Any]:
            again = [{**row, "status": "error"} for row in page["results"] if row["id"] == victim]
            return {**page, "results": [*page["results"], *again]}

        sandbox.mangle_page = twice
        assert planned.applied()["kept"] == {"contradictory": 1}
        assert sorted(asked(sandbox)) == sorted(others)

    def test_two_workflows_show_it(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        other = sandbox.add_workflow()
        victim, *others = old(sandbox, workflow, 4)
        planned = Planned(sandbox, tmp_path, workflow_id=[workflow, other])
        (row,) = [row for row in sandbox.collections(workflow) if row["id"] == victim]
        sandbox.mangle_page = lambda _, page: page if row in page["results"] else {**page, "results": [row]}
        assert planned.applied()["kept"] == {"contradictory": 1}
        assert sorted(asked(sandbox)) == sorted(others)

    def test_among_the_newest_now(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 6)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, keep_last=2)
        assert planned.ids == ids[:4]
        sandbox.remove_collection(ids[5])
        assert planned.applied()["kept"] == {"keep_last": 1}
        assert left(sandbox, workflow) == {ids[3], ids[4]}

    def test_no_longer_among_the_newest_is_not_in_the_plan(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path
    ) -> None:
        ids = old(sandbox, workflow, 6)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, keep_last=2)
        sandbox.fill(workflow, 2)
        assert planned.applied()["kept"] == {}
        assert left(sandbox, workflow) >= {ids[4], ids[5]}
        assert sandbox.deleted == dict.fromkeys(ids[:4], 1)

    def test_a_change_while_it_deletes(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second look is at the plan as well."""
        monkeypatch.setattr(bulk_run, "RECHECK_INTERVAL", 0.2)
        ids = old(sandbox, workflow, 60)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow)
        sandbox.latency = 0.02

        def change() -> None:
            sandbox.update_collection(ids[-1], updated_at=ago(1))
            sandbox.remove_collection(ids[-2])
            old(sandbox, workflow, 3, days=300)

        at_request(sandbox, 5, change)
        summary = planned.applied(max_workers=2, ledger_path=str(tmp_path / "applied"))
        assert sandbox.deleted == dict.fromkeys(ids[:-2], 1)
        assert sorted(asked(sandbox)) == sorted(ids[:-2])
        assert summary["kept"] == {"no_longer_due": 1}
        assert [summary[name] for name in COUNTS[1:]] == [60, 59, 58, 1, 0, 0]
        assert ledger_outcomes(summary["ledger"])[ids[-2]] == "gone_unconfirmed"


class TestGone:
    @on_both_versions
    def test_it_is_not_asked_for(self, sandbox: Sandbox, planned: Planned, tmp_path: Path) -> None:
        gone = planned.ids[2:5]
        for each in gone:
            sandbox.remove_collection(each)
        summary = planned.applied(ledger_path=str(tmp_path / "applied"))
        others = set(planned.ids) - set(gone)
        assert sorted(asked(sandbox)) == sorted(others)
        assert [summary[name] for name in COUNTS] == [12, 10, 10, 7, 3, 0, 0]
        assert summary["kept"] == {}
        assert ledger_outcomes(summary["ledger"]) == (
            dict.fromkeys(others, "deleted") | dict.fromkeys(gone, "gone_unconfirmed")
        )

    def test_all_of_them(self, sandbox: Sandbox, planned: Planned) -> None:
        for each in planned.ids:
            sandbox.remove_collection(each)
        assert planned.apply().counts() == (10, 0, 10, 0, 0)
        assert sandbox.requests_to("DELETE") == []

    @on_both_versions
    def test_between_listing_and_delete(self, sandbox: Sandbox, planned: Planned, tmp_path: Path) -> None:
        """It was just listed, so that the 404 is looked into, and is neither a failure nor an alarm."""
        at_request(sandbox, 1, lambda: [sandbox.remove_collection(each) for each in planned.ids])
        summary = planned.applied(ledger_path=str(tmp_path / "applied"))
        assert [summary[name] for name in COUNTS[2:]] == [10, 0, 10, 0, 0]
        assert set(ledger_outcomes(summary["ledger"]).values()) == {"already_gone"}


class TestRetry:
    @on_both_versions
    def test_it_does_the_rest(self, sandbox: Sandbox, workflow: str, planned: Planned, tmp_path: Path) -> None:
        stuck = planned.ids[4:7]
        apply = partial(planned.apply, retries=1, ledger_path=str(tmp_path / "applied"))
        sandbox.fail_next(9, 503, method="DELETE", path=any_of(stuck))
        ran = apply()
        assert ran.is_retryable
        assert ran.counts() == (10, 7, 0, 3, 0)
        old(sandbox, workflow, 2)
        sandbox.clear_requests()
        ran = apply(2)
        assert ran.is_green
        assert sorted(asked(sandbox)) == sorted(stuck)
        assert sandbox.deleted == dict.fromkeys(planned.ids, 1)
        assert ran.counts("due", *COUNTS[2:]) == (10, 10, 3, 7, 0, 0)

    def test_after_a_kill_every_id_is_settled(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old(sandbox, workflow, 40)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow)
        folder = tmp_path / "applied"
        given = {"plan_path": str(planned.path), "plan_digest": planned.digest, "ledger_path": str(folder)}
        given |= {"max_workers": 1, "approved_by": "jane", "task_id": "apply"}
        program = (
            "import json, sys\n"
            "from tests.support.tasks import run\n"
            "from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator\n"
            "run(ApplyPurgePlanOperator(**json.loads(sys.argv[1])))\n"
        )
        killed: list[int] = []

        def kill() -> None:
            killed.append(len(sandbox.deleted))
            os.kill(process.pid, signal.SIGKILL)

        at_request(sandbox, 15, kill)
        process = subprocess.Popen([sys.executable, "-c", program, json.dumps(given)], cwd=ROOT)
        try:
            assert process.wait(60) == -signal.SIGKILL
        finally:
            process.kill()
            process.wait()
        assert killed == [14]
        (run,) = ledger_of(folder)
        assert (run.planned, run.outcomes, run.summary) == (planned.ids, {}, None)

        before = set(sandbox.deleted)
        sandbox.clear_requests()
        task = {name: value for name, value in given.items() if name not in ("plan_path", "plan_digest", "task_id")}
        ran = planned.apply(2, retries=1, **task)
        assert ran.is_green, ran.words
        assert sandbox.deleted == dict.fromkeys(planned.ids, 1)
        assert set(asked(sandbox)) == set(planned.ids) - before
        assert ledger_outcomes(ran.summary["ledger"]) == (
            dict.fromkeys(before, "gone_unconfirmed") | dict.fromkeys(set(planned.ids) - before, "deleted")
        )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, None, id="left-out"),
        pytest.param({"approved_by": None}, None, id="nobody"),
        pytest.param({"approved_by": "None"}, None, id="nobody-as-text"),
        pytest.param({"approved_by": " Jane Doe "}, "Jane Doe", id="text"),
        pytest.param({"approved_by": {"id": "7", "name": "jane"}}, "jane", id="user"),
        pytest.param({"approved_by": "{'id': '7', 'name': 'jane'}"}, "jane", id="user-as-text"),
        pytest.param({"approved_by": '{"id": "7", "name": "jane"}'}, "jane", id="user-as-json"),
    ],
)
def test_who_approved_it(planned: Planned, tmp_path: Path, given: dict[str, Any], expected: str | None) -> None:
    summary = planned.applied(ledger_path=str(tmp_path / "applied"), **given)
    content = plan_json(summary["ledger"])
    assert "approved_by" in content
    assert content["approved_by"] == expected
