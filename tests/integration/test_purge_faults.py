"""PurgeFileCollectionsOperator against faults: all that is due goes once, and what does not is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_anyformat.bulk import pool, report
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_outcomes, ledger_rows
from tests.support.logs import Lines
from tests.support.sandboxes import (
    FOREVER,
    LOOKS,
    ago,
    any_of,
    at_request,
    connect,
    left,
    old,
    on_both_versions,
    passes,
    statuses,
)
from tests.support.tasks import COUNTS, Ran, purge_task, purged, run
from tests.support.waiting import until

pytestmark = pytest.mark.untraced


class TestFaults:
    @on_both_versions
    @pytest.mark.untraced
    def test_every_fault_in_one_of_five_deletes(
        self, sandbox: Sandbox, version: str, workflow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(monkeypatch, sandbox, max_attempts=10, api_version=version)
        ids = old(sandbox, workflow, 300)
        young = sandbox.fill(workflow, 30)
        sandbox.fail_rate(0.2, method="DELETE", seed=3, size=5_000_000)
        summary = purged(workflow_id=workflow, max_workers=16)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert left(sandbox, workflow) == set(young)
        assert summary["deleted"] + summary["already_gone"] == 300
        assert {record.fault for record in sandbox.requests_to("DELETE")} >= {"reset_after", "garbage", "truncated"}

    @pytest.mark.parametrize(
        ("kind", "retryable", "outcome"),
        [(422, False, "failed"), (503, True, "unknown"), ("redirect", False, "unknown")],
        ids=str,
    )
    def test_partial_failure(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, kind: int | str, retryable: bool, outcome: str
    ) -> None:
        ids = old(sandbox, workflow, 60)
        bad = ids[::20]
        sandbox.fail_next(FOREVER, kind, method="DELETE", path=any_of(bad))
        task = purge_task(workflow_id=workflow, ledger_path=str(tmp_path), retries=1)
        ran = run(task)
        assert left(sandbox, workflow) == set(bad)
        assert (ran.is_retryable, ran.is_final) == (retryable, not retryable)
        assert all(each in ran.words for each in bad)
        assert ran.counts() == (60, 57, 0, 3, 0)
        assert Counter(ledger_outcomes(ran.summary["ledger"]).values()) == {"deleted": 57, outcome: 3}
        sandbox.clear_faults()
        ran = run(task, try_number=2)
        assert ran.is_green
        assert ran.counts("listed", "due", *COUNTS[2:]) == (3, 3, 3, 3, 0, 0, 0)
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_twenty_failures_in_a_row_and_the_next_try(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 100)
        at_request(sandbox, 41, lambda: sandbox.fail_rate(1, [503], method="DELETE"))
        ran = run(purge_task(workflow_id=workflow, max_workers=4))
        assert ran.is_retryable
        assert 38 <= ran.summary["deleted"] <= 40
        assert 20 <= ran.summary["failed"] <= 24
        assert ran.summary["not_attempted"] == 100 - ran.summary["requested"] > 30
        sandbox.clear_faults()
        ran = run(purge_task(workflow_id=workflow, max_workers=4))
        assert ran.is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @pytest.mark.parametrize(
        ("spoil", "status"),
        [
            pytest.param(lambda s: s.revoke_key(), 401, id="401"),
            pytest.param(lambda s: s.fail_rate(1, [402], method="DELETE"), 402, id="402"),
            pytest.param(lambda s: s.deny_scope(), 403, id="403"),
        ],
    )
    @on_both_versions
    def test_the_key_is_refused_half_way(
        self, sandbox: Sandbox, workflow: str, lines: Lines, spoil: Callable[[Sandbox], None], status: int
    ) -> None:
        old(sandbox, workflow, 200)
        at_request(sandbox, 100, lambda: spoil(sandbox))
        ran = run(purge_task(workflow_id=workflow))
        answered = statuses(sandbox)
        assert ran.is_final
        assert f"HTTP {status}" in ran.words
        # What all in flight were told is said once.
        assert sum(f"HTTP {status}" in each.getMessage() for each in lines.records if "Collection " in each.msg) == 1
        assert 1 <= answered[status] <= 8
        assert ran.counts() == (
            answered.total(),
            len(sandbox.deleted),
            0,
            answered[status],
            200 - answered.total(),
        )

    def test_a_new_key_in_the_connection_does_the_rest(
        self, sandbox: Sandbox, workflow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = old(sandbox, workflow, 60)
        at_request(sandbox, 30, sandbox.replace_key)
        assert run(purge_task(workflow_id=workflow)).is_final
        connect(monkeypatch, sandbox)
        assert run(purge_task(workflow_id=workflow)).is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_a_wait_of_a_day(self, sandbox: Sandbox, workflow: str) -> None:
        sandbox.rate_limit, sandbox.window = 40, 86_400
        ids = old(sandbox, workflow, 100)
        ran = run(purge_task(workflow_id=workflow, quota_reserve=0))
        answered = statuses(sandbox)
        assert ran.is_retryable
        # One of the forty was the listing.
        assert len(sandbox.deleted) == 39
        assert ran.counts() == (answered.total(), 39, 0, answered[429], 100 - answered.total())
        sandbox.rate_limit = None
        assert run(purge_task(workflow_id=workflow)).is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @on_both_versions
    def test_the_ledger_says_what_happened(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        ids = old(sandbox, workflow, 30)
        sandbox.fail_next(2, 503, method="DELETE", path=ids[4])
        sandbox.fail_next(1, "reset_after", method="DELETE", path=ids[5])
        sandbox.fail_next(FOREVER, 409, method="DELETE", path=ids[6], error_code="LOCKED")
        ran = run(purge_task(workflow_id=workflow, ledger_path=str(tmp_path)))
        rows = {row["collection_id"]: row for row in ledger_rows(ran.summary["ledger"])}
        seen = {name: [rows[ids[i]][name] for i in (3, 4, 5, 6)] for name in rows[ids[0]]}
        assert seen["outcome"] == ["deleted", "deleted", "already_gone", "failed"]
        assert seen["http_status"] == [204, 204, 404, 409]
        assert seen["attempts"] == [1, 3, 2, 1]
        assert seen["error_code"] == [None, None, "NOT_FOUND", "LOCKED"]
        assert [bool(each) for each in seen["deleted_at"]] == [True, True, False, False]
        assert seen["workflow_id"] == [workflow] * 4
        assert rows.keys() == set(ids)


class TestMissing:
    @on_both_versions
    def test_gone_meanwhile_is_already_gone_because_the_server_says_so(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path
    ) -> None:
        ids = old(sandbox, workflow, 30)
        at_request(sandbox, 1, lambda: [sandbox.remove_collection(each) for each in ids[-3:]])
        summary = purged(workflow_id=workflow, ledger_path=str(tmp_path))
        assert [summary[name] for name in COUNTS[2:]] == [30, 27, 3, 0, 0]
        assert passes(sandbox) == 1
        assert len(sandbox.requests_to("GET", LOOKS)) == 3
        assert {each: ledger_outcomes(summary["ledger"])[each] for each in ids[-3:]} == dict.fromkeys(
            ids[-3:], "already_gone"
        )

    @pytest.mark.parametrize(
        ("look", "outcome", "error_code"),
        [
            pytest.param(None, "failed", "still_exists", id="it is there"),
            pytest.param(500, "unknown", "NOT_FOUND", id="no clear answer"),
            pytest.param("gateway_404", "unknown", "NOT_FOUND", id="a gateway's 404"),
        ],
    )
    @on_both_versions
    def test_a_404_to_a_delete_is_not_enough(
        self, sandbox: Sandbox, workflow: str, tmp_path: Path, look: int | str | None, outcome: str, error_code: str
    ) -> None:
        ids = old(sandbox, workflow, 30)
        bad = ids[3:5]
        sandbox.fail_next(FOREVER, 404, method="DELETE", path=any_of(bad))
        if look is not None:
            sandbox.fail_next(FOREVER, look, method="GET", path=LOOKS)
        ran = run(purge_task(workflow_id=workflow, ledger_path=str(tmp_path)))
        assert ran.is_retryable
        assert all(each in ran.words for each in bad)
        assert ran.counts() == (30, 28, 0, 2, 0)
        rows = {row["collection_id"]: row for row in ledger_rows(ran.summary["ledger"])}
        assert [(rows[each]["outcome"], rows[each]["error_code"]) for each in bad] == [(outcome, error_code)] * 2

    @on_both_versions
    def test_both_at_once(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 30)
        at_request(sandbox, 1, lambda: sandbox.remove_collection(ids[-1]))
        sandbox.fail_next(FOREVER, 404, method="DELETE", path=ids[3])
        ran = run(purge_task(workflow_id=workflow))
        assert ids[3] in ran.words
        assert ids[-1] not in ran.words
        assert ran.counts() == (30, 28, 1, 1, 0)

    def test_none_missing_means_one_listing(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 30)
        purged(workflow_id=workflow)
        assert passes(sandbox) == 1

    def test_all_gone_is_no_alarm(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 60)
        at_request(sandbox, 1, lambda: [sandbox.remove_collection(each) for each in ids])
        summary = purged(workflow_id=workflow)
        assert [summary[name] for name in COUNTS[2:]] == [60, 0, 60, 0, 0]

    def test_twenty_that_cannot_be_deleted_do_not_starve_the_others(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 60)
        sandbox.fail_next(FOREVER, 409, method="DELETE", path=any_of(ids[:25]))
        ran = run(purge_task(workflow_id=workflow, max_workers=1))
        assert ran.counts() == (60, 35, 0, 25, 0)
        assert left(sandbox, workflow) == set(ids[:25])


class TestSeenWhileItRuns:
    def test_one_line_for_what_was_listed_due_and_kept(self, sandbox: Sandbox, workflow: str, lines: Lines) -> None:
        old(sandbox, workflow, 30)
        sandbox.fill(workflow, 12)
        sandbox.add_collection(workflow, status="queued")
        purged(workflow_id=workflow, limit=25)
        told = [text for text in lines.text.splitlines() if "listed" in text]
        assert len(told) == 1
        assert all(word in told[0] for word in ("43", "30", "25", "limit 5", "status 1", "too_young 12"))
        assert lines.last.levelname == "INFO"
        assert "25" in lines.last.getMessage()

    def test_progress(self, sandbox: Sandbox, workflow: str, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        assert pool.PROGRESS_INTERVAL == 15
        monkeypatch.setattr(pool, "PROGRESS_INTERVAL", 0.2)
        sandbox.latency = 0.02
        old(sandbox, workflow, 80)
        purged(workflow_id=workflow, max_workers=2)
        shown = lines.matching(r"^deleted (\d+) of 80 \((\d+) %\), ([\d.]+)/s, (\d+ s) left$")
        assert len(shown) >= 2
        assert all(int(match[2]) == int(match[1]) * 100 // 80 for match in shown)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0 s"), (9, "9 s"), (59.6, "1 min 0 s"), (387, "6 min 27 s"), (3600, "1 h 0 min"), (7500, "2 h 5 min")],
    )
    def test_the_time_that_is_left(self, seconds: float, text: str) -> None:
        assert report.duration(seconds) == text

    def test_no_names_in_the_ledger(self, sandbox: Sandbox, workflow: str, tmp_path: Path) -> None:
        sandbox.add_collection(workflow, name="Erika Mustermann.pdf", created_at=ago(100))
        sandbox.add_collection(workflow, name="Max Mustermann.pdf", created_at=ago(100))
        purged(workflow_id=workflow, exclude_names=["Max M*"], ledger_path=str(tmp_path))
        written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        assert sandbox.deleted
        assert b"Muster" not in written
        assert b"Max" not in written
        assert sandbox.key.encode() not in written


class TestPacing:
    def test_no_429_with_sixteen_workers(self, sandbox: Sandbox, workflow: str) -> None:
        sandbox.rate_limit, sandbox.window, sandbox.window_anchor = 60, 2, "clock"
        ids = old(sandbox, workflow, 120)
        summary = purged(workflow_id=workflow, max_workers=16)
        assert summary["deleted"] == 120
        assert statuses(sandbox) == {204: 120}
        assert statuses(sandbox, "GET") == {200: 2}
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_the_listing_is_paced_too(self, sandbox: Sandbox, workflow: str) -> None:
        sandbox.rate_limit, sandbox.window, sandbox.page_size_cap = 10, 1, 5
        sandbox.fill(workflow, 100)
        purged(workflow_id=workflow)
        assert statuses(sandbox, "GET") == {200: 20}

    def test_a_reset_of_a_day_paces_nothing(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 60)
        headers = {"x-ratelimit-limit": "600", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "86400"}
        sandbox.fail_next(FOREVER, "slow", delay=0.0, headers=headers)
        started = time.monotonic()
        purged(workflow_id=workflow)
        assert time.monotonic() - started < 30
        assert sandbox.deleted == dict.fromkeys(ids, 1)


def test_a_stop_ends_it_and_nothing_is_sent_after(sandbox: Sandbox, workflow: str) -> None:
    old(sandbox, workflow, 200)
    sandbox.latency = 0.05
    task = purge_task(workflow_id=workflow, max_workers=4)
    ran: list[Ran] = []
    thread = threading.Thread(target=lambda: ran.append(run(task)))
    thread.start()
    until(lambda: len(sandbox.deleted) >= 20)
    task.on_kill()
    at_kill = len(sandbox.requests)
    thread.join(10)
    assert not thread.is_alive()
    assert ran[0].is_retryable
    assert len(sandbox.requests) <= at_kill + 4
    assert ran[0].summary["deleted"] + ran[0].summary["not_attempted"] == 200 - ran[0].summary["failed"]
    assert ran[0].summary["deleted"] <= len(sandbox.deleted)
