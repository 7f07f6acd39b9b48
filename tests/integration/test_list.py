"""ListFileCollectionsOperator, and listings that break off or that no clock agrees with."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from airflow_provider_anyformat.bulk import scan
from airflow_provider_anyformat.operators import files
from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from tests.support.logs import Lines
from tests.support.sandboxes import FOREVER, ago, connect, is_first_page, left, old, on_both_versions, passes
from tests.support.tasks import list_task, listed, purge_task, run

Payload = dict[str, Any]

unlimited_purge = partial(purge_task, max_deletions="unlimited")


class TestList:
    @on_both_versions
    def test_oldest_first_and_only_what_is_due(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 130)
        for status in ("error", "cancelled", "pending", "queued", "in_progress", "completed"):
            sandbox.add_collection(workflow, status=status, created_at=ago(200))
        sandbox.fill(workflow, 20)
        assert listed(workflow_id=workflow, older_than="P90D") == ids
        assert sandbox.requests_to("DELETE") == []

    @pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
    def test_whatever_the_server_s_order(self, sandbox: Sandbox, order: Any) -> None:
        sandbox.order = order
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 250)
        assert listed(workflow_id=workflow, older_than="P90D") == ids[:250]

    def test_equal_ages_go_by_id(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = sandbox.fill(workflow, 30, created_at=ago(100))
        assert listed(workflow_id=workflow, older_than="P90D") == sorted(ids)

    def test_without_an_age_it_is_a_mere_list(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = sandbox.fill(workflow, 1001, created_at=ago(1), step=timedelta(seconds=1))
        assert listed(workflow_id=workflow) == ids

    def test_an_empty_workflow(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        assert listed(workflow_id=workflow, older_than="P90D") == []
        assert listed(workflow_id=workflow, older_than="P90D", batch_size=5) == []

    def test_several_workflows_oldest_first_across(self, sandbox: Sandbox) -> None:
        one, two = sandbox.add_workflow(), sandbox.add_workflow()
        newer, older = old(sandbox, one, 3, days=100), old(sandbox, two, 3, days=200)
        assert listed(workflow_id=[one, two], older_than="P90D") == [*older, *newer]
        assert listed(workflow_id=[one, two], older_than="P90D", limit=4) == [*older, newer[0]]

    @pytest.mark.parametrize("batch_size", [1, 7, 29, 30, 31, "7"])
    def test_batches_in_order(self, sandbox: Sandbox, batch_size: Any) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 30)
        batches = listed(workflow_id=workflow, older_than="P90D", batch_size=batch_size)
        assert [each for batch in batches for each in batch] == ids
        assert all(len(batch) == int(batch_size) for batch in batches[:-1])
        assert 1 <= len(batches[-1]) <= int(batch_size)

    def test_batches_are_for_deletion_and_need_an_age(self, sandbox: Sandbox) -> None:
        ran = run(list_task(workflow_id=sandbox.add_workflow(), batch_size=5))
        assert ran.is_final
        assert "older_than" in ran.words
        assert sandbox.requests == []

    def test_too_many_batches(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 30)
        monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "10")
        assert len(listed(workflow_id=workflow, older_than="P90D", batch_size=3)) == 10
        ran = run(list_task(workflow_id=workflow, older_than="P90D", batch_size=2))
        assert ran.is_final
        assert all(word in ran.words for word in ("batch_size", "limit", "30", "15", "10"))

    @pytest.mark.parametrize("batching", [{}, {"batch_size": 10}], ids=["flat", "batches"])
    def test_too_many_ids(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, batching: dict[str, int]) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 30)
        given: dict[str, Any] = {"workflow_id": workflow, "older_than": "P90D", **batching}
        assert files.LARGEST_LIST == 100_000
        monkeypatch.setattr(files, "LARGEST_LIST", 30)
        listed(**given)
        monkeypatch.setattr(files, "LARGEST_LIST", 29)
        ran = run(list_task(**given))
        assert ran.is_final
        assert all(word in ran.words for word in ("limit", "batch_size", "30", "29"))
        assert sum(len(each) if batching else 1 for each in listed(limit=29, **given)) == 29

    @pytest.mark.parametrize(
        ("guard", "numbers"),
        [({"max_deletions": 9}, {"9", "10"}), ({"max_deletions_percent": 49}, {"49", "10", "20"})],
        ids=["max_deletions", "max_deletions_percent"],
    )
    def test_guards_are_for_deletion(self, sandbox: Sandbox, guard: dict[str, Any], numbers: set[str]) -> None:
        workflow = sandbox.add_workflow()
        ids = [*old(sandbox, workflow, 10), *sandbox.fill(workflow, 10, created_at=ago(1))]
        ran = run(list_task(workflow_id=workflow, older_than="P90D", **guard))
        assert ran.is_final
        assert next(iter(guard)) in ran.words
        assert all(number in ran.words for number in numbers)
        assert set(listed(workflow_id=workflow, **guard)) == set(ids)

    def test_the_connection_s_min_retention(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        connect(monkeypatch, sandbox, min_retention=30)
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 3)
        ran = run(list_task(workflow_id=workflow, older_than="P29D"))
        assert ran.is_final
        assert "min_retention" in ran.words
        assert sandbox.requests == []
        assert len(listed(workflow_id=workflow, older_than="P30D")) == 3
        assert len(listed(workflow_id=workflow)) == 3

    def test_one_line_says_it_and_an_anomaly_makes_it_a_warning(self, sandbox: Sandbox, lines: Lines) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 3)
        sandbox.fill(workflow, 4)
        listed(workflow_id=workflow, older_than="P90D")
        assert lines.last.levelname == "INFO"
        assert all(word in lines.last.getMessage() for word in ("listed 7", "due 3", "too_young 4"))
        sandbox.add_collection(workflow, created_at=None)
        listed(workflow_id=workflow, older_than="P90D")
        assert lines.last.levelname == "WARNING"
        assert "timestamp_missing 1" in lines.last.getMessage()

    def test_progress_of_a_long_listing(self, sandbox: Sandbox, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scan, "PROGRESS_INTERVAL", 0.1)
        sandbox.latency = 0.05
        workflow = sandbox.add_workflow()
        sandbox.fill(workflow, 1000)
        listed(workflow_id=workflow)
        shown = [int(found[1]) for found in lines.matching(r"(\d+) of 1000 ")]
        assert len(shown) >= 2
        assert shown == sorted(set(shown))


class TestListingThatBreaksOff:
    @staticmethod
    def _on_page(sandbox: Sandbox, number: int, act: Callable[[], object]) -> None:
        at = 0

        def look(record: RequestRecord) -> None:
            nonlocal at
            if record.method == "GET":
                at = 1 if is_first_page(record) else at + 1
                if at >= number:
                    act()

        sandbox.on_request.append(look)

    def test_a_stop_on_the_last_page_ends_it(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 3)
        task = list_task(workflow_id=workflow)
        self._on_page(sandbox, 1, task.on_kill)
        ran = run(task)
        assert ran.is_retryable
        assert f"listing of workflow {workflow}" in ran.words

    @pytest.mark.parametrize("kind", [500, "reset_before", "truncated", "garbage", "html", 503])
    @on_both_versions
    def test_for_good_on_the_third_page(self, sandbox: Sandbox, kind: int | str) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 450)
        self._on_page(sandbox, 3, lambda: sandbox.fail_next(1, kind))
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_retryable
        assert sandbox.requests_to("DELETE") == []
        assert left(sandbox, workflow) == set(ids)

    def test_rows_that_went_away_make_the_last_page_a_404(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 250)
        self._on_page(sandbox, 3, lambda: sandbox.fail_next(1, 404))
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_retryable
        assert passes(sandbox) == 3
        assert sandbox.requests_to("DELETE") == []

    @pytest.mark.parametrize(
        ("spoil", "status"),
        [(lambda s: s.revoke_key(), 401), (lambda s: s.deny_scope("files:read", "GET"), 403)],
        ids=["401", "403"],
    )
    def test_a_refusal_is_final(self, sandbox: Sandbox, spoil: Callable[[Sandbox], None], status: int) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 250)
        self._on_page(sandbox, 2, lambda: spoil(sandbox))
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_final
        assert f"HTTP {status}" in ran.words
        assert ("connection 'anyformat_default'" in ran.words) is (status == 401)
        assert len(sandbox.requests) == 2

    @on_both_versions
    def test_a_workflow_that_is_not_there_is_final(self, sandbox: Sandbox) -> None:
        workflow, wrong = sandbox.add_workflow(), str(uuid.uuid4())
        old(sandbox, workflow, 10)
        for task in (unlimited_purge, list_task):
            sandbox.clear_requests()
            ran = run(task(workflow_id=[workflow, wrong], older_than="P90D"))
            assert ran.is_final
            assert wrong in ran.words
            assert "HTTP 404" in ran.words
            assert "no workflow of this id" in ran.words
            assert "file_id" not in ran.words
            assert len(sandbox.requests) == 2

    def test_a_gateway_s_404_is_not_the_workflow_s(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 10)
        sandbox.fail_next(2, "gateway_404", method="GET")
        assert run(unlimited_purge(workflow_id=workflow)).is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @on_both_versions
    def test_every_fault_on_listing_pages(
        self, sandbox: Sandbox, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(monkeypatch, sandbox, max_attempts=10, api_version=version)
        sandbox.page_size_cap = 10
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 300)
        sandbox.fail_rate(0.4, method="GET", seed=5, delay=0.0001, size=5_000_000)
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green, ran.words
        assert ran.counts("listed", "deleted") == (300, 300)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert len({record.fault for record in sandbox.requests_to("GET")}) > 8

    def test_a_rate_limit_of_a_day(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 250)
        self._on_page(sandbox, 2, lambda: sandbox.fail_next(1, 429, headers={"Retry-After": "86400"}))
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_retryable
        assert len(sandbox.requests) == 2


class TestClocks:
    @pytest.mark.parametrize("days", [-90, -2, 2, 90])
    def test_clocks_more_than_a_day_apart(self, sandbox: Sandbox, days: int) -> None:
        sandbox.clock_offset = timedelta(days=days)
        workflow = sandbox.add_workflow()
        # Ninety days old by the worker's clock, and brand-new by the server's.
        ids = sandbox.fill(workflow, 10, created_at=min(datetime.now(UTC), ago(-days)))
        for task in (unlimited_purge, partial(unlimited_purge, plan_only=True), list_task):
            ran = run(task(workflow_id=workflow, older_than="P30D"))
            assert ran.is_final
        assert sandbox.requests_to("DELETE") == []
        assert left(sandbox, workflow) == set(ids)

    @pytest.mark.parametrize(("hours", "stays"), [(-1, 24.5), (1, 23.5), (-23, 46), (23, 23.5)])
    def test_the_earlier_clock_decides(self, sandbox: Sandbox, hours: int, stays: float) -> None:
        """A server an hour behind, or ahead: what is old enough by one clock alone stays."""
        sandbox.clock_offset = timedelta(hours=hours)
        workflow = sandbox.add_workflow()
        young = sandbox.add_collection(workflow, created_at=ago(hours=stays))
        sandbox.add_collection(workflow, created_at=ago(hours=stays + 1.1))
        ran = run(unlimited_purge(workflow_id=workflow, older_than="P1D"))
        assert ran.is_green
        assert left(sandbox, workflow) == {young}

    @pytest.mark.parametrize("date", ["", "yesterday", "2026-11-24T10:00:00Z"], ids=["empty", "word", "iso"])
    def test_a_date_that_cannot_be_read(self, sandbox: Sandbox, date: str) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 10)
        sandbox.fail_next(FOREVER, "slow", delay=0.0, method="GET", headers={"Date": date})
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_final
        assert "Date" in ran.words
        assert sandbox.requests_to("DELETE") == []

    def test_no_date_at_all(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 1)
        page = {"count": 1, "page": 1, "page_size": 100, "results": sandbox.collections(workflow)}
        body = json.dumps(page).encode()
        head = f"HTTP/1.1 200 OK\r\nX-API-Version: 2\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        sandbox.fail_next(FOREVER, "garbage", method="GET", body=head.encode() + body)
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_final
        assert "Date" in ran.words
        assert sandbox.requests_to("DELETE") == []
