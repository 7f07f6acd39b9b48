"""A purge that looks a second time, and two purges of one workflow at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.bulk import jobs
from airflow_provider_anyformat.bulk import run as bulk_run
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_outcomes
from tests.support.logs import Lines
from tests.support.sandboxes import FOREVER, at_request, connect, left, old, on_both_versions, passes
from tests.support.tasks import COUNTS, Ran, purge_task, purged, run

pytestmark = pytest.mark.untraced


class TestTwoAtOnce:
    @pytest.mark.parametrize("workers", [4, 16])
    @pytest.mark.untraced
    def test_each_id_once_and_both_add_up(
        self, sandbox: Sandbox, workflow: str, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        connect(monkeypatch, sandbox, "second")
        ids = old(sandbox, workflow, 200)
        both_listed = threading.Barrier(2)
        make_plan = jobs.make_plan

        def together(*given: Any) -> Any:
            plan = make_plan(*given)
            both_listed.wait(20)
            return plan

        monkeypatch.setattr(jobs, "make_plan", together)
        ran: dict[str, Ran] = {}

        def one(conn_id: str) -> None:
            ran[conn_id] = run(purge_task(workflow_id=workflow, anyformat_conn_id=conn_id, max_workers=workers))

        threads = [threading.Thread(target=one, args=(each,)) for each in ("anyformat_default", "second")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert all(each.is_green for each in ran.values())
        for each in ran.values():
            assert each.counts("due", "requested", "failed", "not_attempted") == (200, 200, 0, 0)
        assert sum(each.summary["deleted"] for each in ran.values()) == 200
        assert sum(each.summary["already_gone"] for each in ran.values()) == 200


class TestSecondLook:
    """After a while it lists and decides again, and deletes only what is due both times."""

    @pytest.fixture(autouse=True)
    def _soon(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk_run, "RECHECK_INTERVAL", 0.2)
        sandbox.latency = 0.02

    def test_an_hour_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        assert bulk_run.RECHECK_INTERVAL == 3600

    @pytest.mark.parametrize(
        ("given", "change"),
        [
            pytest.param({}, {"status": "in_progress"}, id="running-again"),
            pytest.param({}, {"status": "error"}, id="other-status"),
            pytest.param({}, {"created_at": "2026-11-20T00:00:00Z"}, id="younger"),
            pytest.param({}, {"created_at": None}, id="no-age"),
            pytest.param({"age_by": "updated_at"}, {"updated_at": "2026-11-20T00:00:00Z"}, id="updated"),
            pytest.param({"exclude_names": ["hold*"]}, {"name": "HOLD.pdf"}, id="name-held"),
            pytest.param({"exclude_collection_ids": ["F" * 36]}, {"file_id": "f" * 36}, id="held"),
        ],
    )
    def test_what_is_due_no_more_stays(
        self,
        sandbox: Sandbox,
        workflow: str,
        tmp_path: Path,
        lines: Lines,
        given: dict[str, Any],
        change: dict[str, Any],
    ) -> None:
        ids = old(sandbox, workflow, 60)
        changed = ids[-5:]

        def mangle(_: int, page: dict[str, Any]) -> dict[str, Any]:
            if not sandbox.deleted:
                return page
            rows = [{**row, **change} if row["id"] in changed else row for row in page["results"]]
            return {**page, "results": rows}

        sandbox.mangle_page = mangle
        summary = purged(workflow_id=workflow, max_workers=2, ledger_path=str(tmp_path), **given)
        assert left(sandbox, workflow) == set(changed)
        assert passes(sandbox) >= 3
        assert sandbox.deleted == dict.fromkeys(ids[:-5], 1)
        assert [summary[name] for name in COUNTS] == [60, 60, 55, 55, 0, 0, 0]
        assert summary["kept"] == {"no_longer_due": 5}
        outcomes = ledger_outcomes(summary["ledger"])
        assert {outcomes[each] for each in changed} == {"not_attempted"}
        assert len(lines.matching("stays: it is no longer due$")) == 5
        assert [each[1] for each in lines.matching(r"^(\d+) planned collections")] == ["5"]

    def test_it_looks_again_at_all_from_the_next_row_on(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 60)
        before: list[int] = []

        def mangle(_: int, page: dict[str, Any]) -> dict[str, Any]:
            if not sandbox.deleted:
                return page
            before.append(len(sandbox.deleted))
            return {**page, "results": [{**row, "status": "in_progress"} for row in page["results"]]}

        sandbox.mangle_page = mangle
        summary = purged(workflow_id=workflow, max_workers=1)
        assert (summary["deleted"], summary["kept"]) == (before[0], {"no_longer_due": 60 - before[0]})

    @on_both_versions
    def test_what_is_gone_is_not_asked_for(self, sandbox: Sandbox, workflow: str, tmp_path: Path, lines: Lines) -> None:
        ids = old(sandbox, workflow, 60)
        at_request(sandbox, 2, lambda: [sandbox.remove_collection(each) for each in ids[-5:]])
        summary = purged(workflow_id=workflow, max_workers=2, ledger_path=str(tmp_path))
        assert [summary[name] for name in COUNTS[2:]] == [60, 55, 5, 0, 0]
        assert not [record for record in sandbox.requests_to("DELETE") if record.status != 204]
        outcomes = ledger_outcomes(summary["ledger"])
        assert Counter(outcomes.values()) == {"deleted": 55, "gone_unconfirmed": 5}
        assert [each[1] for each in lines.matching(r"^(\d+) planned collections are not listed")] == ["5"]

    @pytest.mark.parametrize("unclear", [False, True])
    def test_what_it_does_not_show_is_not_gone_for_that(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, lines: Lines, unclear: bool
    ) -> None:
        """One was uploaded for each that the listing skipped: the count is the same."""
        ids = old(sandbox, workflow, 60)
        hidden = ids[-5:]

        def hide(_: int, page: dict[str, Any]) -> dict[str, Any]:
            if not sandbox.deleted:
                return page
            rows = [{**row, "id": f"{row['id'][:-1]}x"} if row["id"] in hidden else row for row in page["results"]]
            return {**page, "results": rows}

        sandbox.mangle_page = hide
        if unclear:
            sandbox.fail_next(FOREVER, 503, path="/results/")
        summary = purged(workflow_id=workflow, max_workers=2, ledger_path=str(tmp_path))
        assert left(sandbox, workflow) == set(hidden)
        assert (summary["deleted"], summary["already_gone"], summary["kept"]) == (55, 0, {"not_listed": 5})
        outcomes = ledger_outcomes(summary["ledger"])
        assert {outcomes[each] for each in hidden} == {"not_attempted"}
        assert len(lines.matching("stays: the server does not say that it is gone")) == 5

    def test_what_became_due_since_is_not_in_the_plan(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 50)
        added: list[str] = []
        at_request(sandbox, 2, lambda: added.extend(old(sandbox, workflow, 3, days=200)))
        summary = purged(workflow_id=workflow, max_workers=2)
        assert left(sandbox, workflow) == set(added)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert summary["listed"] == 50

    def test_nothing_is_deleted_while_it_looks(self, sandbox: Sandbox, workflow: str) -> None:
        sandbox.page_size_cap = 10
        ids = old(sandbox, workflow, 80)
        purged(workflow_id=workflow, max_workers=8)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        methods = "".join("G" if record.method == "GET" else " " for record in sandbox.requests)
        runs = methods.split()
        # Each reading's pages follow each other without a delete in between.
        assert len(runs) == passes(sandbox) >= 2
        assert len(runs[0]) == 8

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda s: setattr(s, "mangle_page", lambda _, page: {**page, "count": 999}), id="lies"),
            pytest.param(lambda s: s.fail_next(FOREVER, 500, method="GET"), id="breaks-off"),
        ],
    )
    def test_a_second_look_that_fails_stops_it(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, spoil: Callable[[Sandbox], None]
    ) -> None:
        old(sandbox, workflow, 60)
        at_request(sandbox, 3, lambda: spoil(sandbox))
        ran = run(purge_task(workflow_id=workflow, max_workers=2, ledger_path=str(tmp_path)))
        assert ran.is_retryable
        gone = len(sandbox.deleted)
        assert 3 <= gone < 60
        assert ran.counts() == (gone, gone, 0, 0, 60 - gone)
        assert sandbox.requests[-1].method == "GET"

    def test_a_bulk_run_of_minutes_has_none(self, sandbox: Sandbox, workflow: str, monkeypatch: Any) -> None:
        monkeypatch.setattr(bulk_run, "RECHECK_INTERVAL", 60)
        old(sandbox, workflow, 60)
        purged(workflow_id=workflow)
        assert passes(sandbox) == 1
