"""ApplyPurgePlanOperator: which plan it does not touch, and that nothing is sent then; plans in an object store."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatStorageError
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.retention.plan import utc_text
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_outcomes, ledger_rows, plan_json
from tests.support.plans import Planned, apply_task, plan_task
from tests.support.s3_server import S3Server
from tests.support.sandboxes import ago, asked, connect, connected_sandbox, left, old
from tests.support.tasks import Ran, run

_numbers = itertools.count()


@pytest.fixture
def planned(sandbox: Sandbox, workflow: str, tmp_path: Path) -> Planned:
    """Return a plan of ten collections."""
    old(sandbox, workflow, 10)
    return Planned(sandbox, tmp_path, workflow_id=workflow)


@pytest.fixture
def refused(sandbox: Sandbox, workflow: str) -> Callable[[Ran, str], None]:
    """Return the check that a run was refused for good, by the parameter's name, before anything was sent."""

    def check(ran: Ran, named: str) -> None:
        assert ran.is_final, ran.words
        assert ran.words.startswith(f"{named}: ")
        assert ran.pushed is None
        assert sandbox.requests == []
        assert len(left(sandbox, workflow)) == 10

    return check


Refused = Callable[[Ran, str], None]


class TestPlan:
    @pytest.mark.parametrize(
        ("name", "old_text", "new_text"),
        [
            pytest.param("plan.json", b'"limit":"unlimited"', b'"limit":5', id="guard"),
            pytest.param("plan.json", b"P90D", b"P9D", id="age"),
            pytest.param("plan.json", b'"statuses":["processed"]', b'"statuses":["error"]', id="statuses"),
            pytest.param("plan.jsonl", b'"status":"processed"', b'"status":"error"', id="row"),
        ],
    )
    def test_changed(self, planned: Planned, refused: Refused, name: str, old_text: bytes, new_text: bytes) -> None:
        data = (planned.path / name).read_bytes()
        assert old_text in data
        (planned.path / name).write_bytes(data.replace(old_text, new_text, 1))
        refused(planned.apply(), "plan_digest")

    def test_a_row_more(self, sandbox: Sandbox, planned: Planned, refused: Refused) -> None:
        """An id of another workflow, whose collection is there and old enough."""
        other = sandbox.add_workflow()
        (more,) = old(sandbox, other, 1)
        line = (planned.path / "plan.jsonl").read_bytes().splitlines(keepends=True)[0]
        with (planned.path / "plan.jsonl").open("ab") as file:
            file.write(line.replace(planned.ids[0].encode(), more.encode()))
        refused(planned.apply(), "plan_digest")
        # Even with a digest that fits, it is more than the plan counts.
        planned.rewrite(lambda content: content)
        refused(planned.apply(), "plan_path")

    def test_a_row_less(self, planned: Planned, refused: Refused) -> None:
        lines = (planned.path / "plan.jsonl").read_bytes().splitlines(keepends=True)
        (planned.path / "plan.jsonl").write_bytes(b"".join(lines[1:]))
        refused(planned.apply(), "plan_digest")

    @pytest.mark.parametrize("digest", ["0" * 64, None, "", "None", "f" * 63, 5], ids=repr)
    def test_another_digest(self, planned: Planned, refused: Refused, digest: Any) -> None:
        refused(planned.apply(plan_digest=digest), "plan_digest")

    def test_another_plan_s_digest(
        self, sandbox: Sandbox, workflow: str, planned: Planned, refused: Refused, tmp_path: Path
    ) -> None:
        other = Planned(sandbox, tmp_path, workflow_id=workflow, limit=3)
        refused(planned.apply(plan_digest=other.digest), "plan_digest")

    def test_the_digest_is_no_matter_of_case(self, planned: Planned) -> None:
        assert planned.applied(plan_digest=f" {planned.digest.upper()}\n")["plan_digest"] == planned.digest

    @pytest.mark.parametrize(
        "guard", [{"max_deletions": 9}, {"max_deletions_percent": 99}], ids=lambda each: next(iter(each))
    )
    def test_a_guard_tripped(
        self, sandbox: Sandbox, workflow: str, refused: Refused, tmp_path: Path, guard: dict[str, Any]
    ) -> None:
        old(sandbox, workflow, 10)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, **guard)
        assert planned.markdown is not None
        assert "cannot be applied" in planned.markdown
        ran = planned.apply()
        assert next(iter(guard)) in ran.words
        refused(ran, "plan_path")

    def test_keep_last_with_globs(self, sandbox: Sandbox, workflow: str, refused: Refused, tmp_path: Path) -> None:
        old(sandbox, workflow, 10)
        planned = Planned(sandbox, tmp_path, workflow_id=workflow, keep_last=2, exclude_names=["*.docx"])
        assert len(planned.ids) == 8
        refused(planned.apply(), "plan_path")

    def test_another_service(self, planned: Planned, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
        with connected_sandbox(monkeypatch) as other:
            old(other, other.add_workflow(), 3)
            refused(planned.apply(), "plan_path")
            assert other.requests == []

    @pytest.mark.parametrize(
        ("age", "given", "named"),
        [
            pytest.param(timedelta(minutes=-6), {}, "plan_path", id="future"),
            pytest.param(timedelta(days=3, minutes=1), {}, "plan_ttl", id="older-than-three-days"),
            pytest.param(timedelta(hours=2, minutes=1), {"plan_ttl": "PT2H"}, "plan_ttl", id="older-than-told"),
            pytest.param(timedelta(days=1), {"plan_ttl": timedelta(hours=23)}, "plan_ttl", id="as-timedelta"),
        ],
    )
    def test_its_age(
        self, planned: Planned, refused: Refused, age: timedelta, given: dict[str, Any], named: str
    ) -> None:
        made_at = utc_text(ago() - age)
        planned.rewrite(lambda content: content.update(made_at=made_at))
        refused(planned.apply(**given), named)

    @pytest.mark.parametrize(
        ("age", "given"),
        [
            pytest.param(timedelta(minutes=-4), {}, id="clocks-a-little-apart"),
            pytest.param(timedelta(days=2, hours=23), {}, id="almost-three-days"),
            pytest.param(timedelta(days=9), {"plan_ttl": "P10D"}, id="as-told"),
        ],
    )
    def test_an_age_that_will_do(self, planned: Planned, age: timedelta, given: dict[str, Any]) -> None:
        made_at = utc_text(ago() - age)
        planned.rewrite(lambda content: content.update(made_at=made_at))
        assert planned.applied(**given)["deleted"] == 10

    def test_min_retention_of_the_connection(
        self, sandbox: Sandbox, planned: Planned, refused: Refused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(monkeypatch, sandbox, min_retention="90.1")
        ran = planned.apply()
        assert "min_retention" in ran.words
        refused(ran, "plan_path")
        connect(monkeypatch, sandbox, min_retention="90")
        assert planned.applied()["deleted"] == 10


class TestPath:
    @pytest.mark.parametrize("path", [None, "", "None", "null", "plans", "~/plans", 5, "/plans/../plans"], ids=repr)
    def test_it_is_none(self, planned: Planned, refused: Refused, path: Any) -> None:
        refused(planned.apply(plan_path=path), "plan_path")

    def test_a_plan_without_a_ledger_has_none(self, sandbox: Sandbox, workflow: str, refused: Refused) -> None:
        old(sandbox, workflow, 10)
        summary = run(plan_task(workflow_id=workflow)).summary
        sandbox.clear_requests()
        refused(run(apply_task(plan_path=summary["plan_path"], plan_digest=summary["plan_digest"])), "plan_path")

    @pytest.mark.parametrize("missing", ["folder", "plan.json", "plan.jsonl"])
    def test_nothing_is_there(self, planned: Planned, refused: Refused, missing: str) -> None:
        if missing == "folder":
            shutil.rmtree(planned.path)
        else:
            (planned.path / missing).unlink()
        refused(planned.apply(), "plan_path")

    def test_the_ledger_itself_is_no_plan(self, planned: Planned, refused: Refused, tmp_path: Path) -> None:
        refused(planned.apply(plan_path=str(tmp_path / "plans")), "plan_path")

    def test_what_may_be_readable_later_is_tried_again(self, sandbox: Sandbox, planned: Planned) -> None:
        ran = planned.apply(plan_path=str(planned.path / "plan.json"))
        assert isinstance(ran.error, AnyformatStorageError)
        assert ran.is_retryable
        assert sandbox.requests == []

    def test_the_folder_of_an_apply_is_no_plan(
        self, sandbox: Sandbox, workflow: str, planned: Planned, refused: Refused, tmp_path: Path
    ) -> None:
        ledger = planned.applied(ledger_path=str(tmp_path / "applied"))["ledger"]
        old(sandbox, workflow, 10)
        sandbox.clear_requests()
        refused(planned.apply(plan_path=ledger), "plan_digest")
        refused(planned.apply(plan_path=ledger, plan_digest=plan_json(ledger)["digest"]), "plan_path")

    def test_a_list_of_ids_is_no_plan(self, sandbox: Sandbox, workflow: str, refused: Refused, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 11)
        task = DeleteFileCollectionsOperator(task_id="ids", collection_ids=ids[:1], ledger_path=str(tmp_path))
        summary = run(task).summary
        sandbox.clear_requests()
        given = {"plan_path": summary["plan_path"], "plan_digest": summary["plan_digest"]}
        refused(run(apply_task(**given)), "plan_path")

    def test_as_a_file_url(self, planned: Planned) -> None:
        url = planned.path.as_uri()
        assert planned.applied(plan_path=url)["plan_path"] == url


@pytest.mark.parametrize("bad", ["x" * 251, ["jane"], 7, {"id": None}, "{'id': "], ids=repr)
def test_an_approver_that_nobody_can_read(sandbox: Sandbox, planned: Planned, bad: Any) -> None:
    ran = planned.apply(approved_by=bad)
    assert ran.is_final
    assert "approved_by" in ran.words
    assert sandbox.requests == []


@pytest.mark.parametrize("lie", [{"count": 17}, {"results": None}, {"page": 2}], ids=repr)
def test_an_incomplete_listing_deletes_nothing(sandbox: Sandbox, planned: Planned, lie: dict[str, Any]) -> None:
    sandbox.mangle_page = lambda _, page: {**page, **lie}
    ran = planned.apply()
    assert ran.is_retryable
    assert ran.pushed is None
    assert asked(sandbox) == []
    sandbox.mangle_page = None
    assert planned.applied()["deleted"] == 10


def test_a_listing_that_lacks_rows_does_not_make_them_gone(sandbox: Sandbox, planned: Planned) -> None:
    def cut(_: int, page: dict[str, Any]) -> dict[str, Any]:
        return {**page, "results": page["results"][:-1]}

    sandbox.mangle_page = cut
    assert planned.apply().is_retryable
    assert asked(sandbox) == []


@pytest.mark.s3
class TestObjectStore:
    @pytest.fixture
    def s3(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
        with S3Server(f"s3_apply_{next(_numbers)}") as server:
            for name, value in server.connection.items():
                monkeypatch.setenv(name, value)
            yield server

    @pytest.fixture
    def given(self, sandbox: Sandbox, workflow: str, s3: S3Server) -> dict[str, Any]:
        old(sandbox, workflow, 10)
        summary = run(plan_task(workflow_id=workflow, ledger_path=s3.path("plans"))).summary
        assert summary["plan_path"].startswith(s3.path("plans/"))
        sandbox.clear_requests()
        return {"plan_path": summary["plan_path"], "plan_digest": summary["plan_digest"]}

    def test_plan_and_ledger_there(
        self, sandbox: Sandbox, workflow: str, s3: S3Server, given: dict[str, Any], tmp_path: Path
    ) -> None:
        since = old(sandbox, workflow, 2)
        ran = run(apply_task(ledger_path=s3.path("applied"), **given))
        assert ran.is_green, ran.words
        assert left(sandbox, workflow) == set(since)
        assert ran.summary["plan_path"] == given["plan_path"]
        assert ran.summary["ledger"].startswith(s3.path("applied/"))
        assert s3.asked("DELETE") == []
        # The plan there, the ledger here: neither has to be where the other is.
        ran = run(apply_task(ledger_path=str(tmp_path), **given))
        assert ran.counts("deleted", "already_gone") == (0, 10)
        assert len(ledger_rows(ran.summary["ledger"])) == len(ledger_outcomes(ran.summary["ledger"])) == 10

    def test_none_there(self, given: dict[str, Any], s3: S3Server, refused: Refused) -> None:
        refused(run(apply_task(**{**given, "plan_path": s3.path("plans")})), "plan_path")

    def test_it_may_not_be_read(self, sandbox: Sandbox, given: dict[str, Any], s3: S3Server) -> None:
        s3.denies = lambda request: request.method == "GET"
        ran = run(apply_task(**given))
        assert isinstance(ran.error, AnyformatStorageError)
        assert ran.is_retryable
        assert sandbox.requests == []
        s3.denies = lambda _: False
        assert run(apply_task(**given)).summary["deleted"] == len(asked(sandbox)) == 10
