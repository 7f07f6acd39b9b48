"""DeleteFileCollectionsOperator against faults: what the server saw and kept, and how the task ended."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_anyformat.exceptions import AnyformatBulkError
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_outcomes, ledger_rows
from tests.support.sandboxes import FOREVER, any_of, at_request, connect, on_both_versions, statuses
from tests.support.tasks import run

pytestmark = pytest.mark.untraced

delete = partial(DeleteFileCollectionsOperator, task_id="delete")


def fill(sandbox: Sandbox, n: int) -> list[str]:
    return sandbox.fill(sandbox.add_workflow(), n)


def missing(n: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(n)]


class TestFaults:
    @pytest.mark.parametrize(("workers", "seed"), [(8, 1), (16, 2)])
    @pytest.mark.untraced
    def test_every_fault_in_one_of_five_deletes(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int, seed: int
    ) -> None:
        # One in five for ten tries: one call in ten million would fail.
        connect(monkeypatch, sandbox, max_attempts=10)
        ids = fill(sandbox, 300)
        sandbox.fail_rate(0.2, method="DELETE", seed=seed, size=5_000_000)
        ran = run(delete(collection_ids=ids, max_workers=workers, ledger_path=str(tmp_path)))
        assert ran.is_green, ran.words
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert ran.counts("requested", "failed", "not_attempted") == (300, 0, 0)
        # So many kinds came up that the dice cannot have spared the delete.
        played = Counter(record.fault for record in sandbox.requests_to("DELETE") if record.fault)
        assert {"reset_before", "reset_after", "garbage", "early_hints", "stray_body", "gateway_404"} <= set(played)
        outcomes = ledger_outcomes(ran.summary["ledger"])
        assert outcomes.keys() == set(ids)
        assert Counter(outcomes.values()) == Counter(
            {k: n for k in ("deleted", "already_gone") if (n := ran.summary[k])}
        )

    @on_both_versions
    def test_a_delete_that_went_through_unseen_is_already_gone(self, sandbox: Sandbox, tmp_path: Path) -> None:
        ids = fill(sandbox, 12)
        for each in ids[3:6]:
            sandbox.fail_next(1, "reset_after", method="DELETE", path=each)
        ran = run(delete(collection_ids=ids, ledger_path=str(tmp_path)))
        assert ran.is_green
        assert ran.counts() == (12, 9, 3, 0, 0)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        gone = [row for row in ledger_rows(ran.summary["ledger"]) if row["outcome"] == "already_gone"]
        assert [(row["http_status"], row["attempts"]) for row in gone] == [(404, 2)] * 3


class TestPartialFailure:
    @pytest.mark.parametrize(
        ("kind", "retryable", "outcome"),
        [
            pytest.param(422, False, "failed", id="422"),
            pytest.param(400, False, "failed", id="400"),
            pytest.param(409, False, "failed", id="409"),
            pytest.param(503, True, "unknown", id="503"),
            pytest.param(429, True, "failed", id="429"),
            pytest.param("reset_before", True, "unknown", id="reset"),
            pytest.param("gateway_404", True, "unknown", id="gateway-404"),
            pytest.param("redirect", False, "unknown", id="302"),
            pytest.param(200, False, "unknown", id="200"),
            pytest.param(202, False, "unknown", id="202"),
        ],
    )
    @on_both_versions
    def test_the_others_go_and_the_task_names_the_rest(
        self,
        sandbox: Sandbox,
        version: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: int | str,
        retryable: bool,
        outcome: str,
    ) -> None:
        monkeypatch.setattr("airflow_provider_anyformat.api.client.AnyformatClient.PATIENCE", 0.0)
        ids = fill(sandbox, 60)
        bad = ids[10:40:10]
        connect(monkeypatch, sandbox, max_attempts=1 if kind == 429 else 3, api_version=version)
        headers = {"Retry-After": "0"} if kind == 429 else {}
        sandbox.fail_next(FOREVER, kind, method="DELETE", path=any_of(bad), headers=headers)
        ran = run(delete(collection_ids=ids, ledger_path=str(tmp_path)))
        assert sandbox.deleted == dict.fromkeys([each for each in ids if each not in bad], 1)
        assert ran.counts() == (60, 57, 0, 3, 0)
        assert (ran.is_retryable, ran.is_final) == (retryable, not retryable)
        assert all(each in ran.words for each in bad)
        assert not any(each in ran.words for each in ids if each not in bad)
        outcomes = ledger_outcomes(ran.summary["ledger"])
        assert {each: outcomes[each] for each in bad} == dict.fromkeys(bad, outcome)
        assert Counter(outcomes.values()) == {"deleted": 57, outcome: 3}

    def test_one_failure_that_may_pass_makes_it_retryable(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 10)
        sandbox.fail_next(FOREVER, 422, method="DELETE", path=any_of(ids[:2]))
        sandbox.fail_next(FOREVER, 503, method="DELETE", path=ids[2])
        ran = run(delete(collection_ids=ids))
        assert ran.is_retryable
        assert ran.counts() == (10, 7, 0, 3, 0)

    def test_the_server_s_own_validation(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 10)
        ran = run(delete(collection_ids=[*ids[:5], "no-uuid", *ids[5:]]))
        assert ran.is_final
        assert "no-uuid" in ran.words
        assert "HTTP 422" in ran.words
        assert ran.counts() == (11, 10, 0, 1, 0)

    @pytest.mark.parametrize(("failures", "more"), [(20, []), (30, ["  and 10 more"])])
    def test_the_first_twenty_are_named(self, sandbox: Sandbox, failures: int, more: list[str]) -> None:
        ids = fill(sandbox, 60)
        bad = ids[::2][:failures]
        sandbox.fail_next(FOREVER, 422, method="DELETE", path=any_of(bad))
        ran = run(delete(collection_ids=ids, max_workers=1))
        assert ran.counts() == (60, 60 - failures, 0, failures, 0)
        first, *said = ran.words.splitlines()
        assert first == f"{failures} of 60 file collections may not have been deleted. The first says"
        assert said[0].startswith(f"  DELETE of collection {bad[0]}: HTTP 422")
        assert said[-20 - len(more) :] == [*(f"  {each}" for each in bad[:20]), *more]

    def test_a_retry_does_the_rest_and_no_more(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 40)
        sandbox.fail_next(FOREVER, 503, method="DELETE", path=any_of(ids[:5]))
        task = delete(collection_ids=ids, retries=2)
        assert run(task).is_retryable
        sandbox.clear_faults()
        ran = run(task, try_number=2)
        assert ran.is_green
        assert ran.counts() == (40, 5, 35, 0, 0)
        assert sandbox.deleted == dict.fromkeys(ids, 1)


class TestStopping:
    """Where all others would fail alike, the rest is left alone."""

    @pytest.mark.parametrize("workers", [1, 8, 16])
    def test_twenty_failures_in_a_row(self, sandbox: Sandbox, tmp_path: Path, workers: int) -> None:
        ids = fill(sandbox, 100)
        sandbox.fail_rate(1, [503], method="DELETE")
        ran = run(delete(collection_ids=ids, max_workers=workers, ledger_path=str(tmp_path)))
        asked = {record.path for record in sandbox.requests_to("DELETE")}
        assert 20 <= len(asked) <= 20 + workers
        assert ran.is_retryable
        assert ran.counts() == (len(asked), 0, 0, len(asked), 100 - len(asked))
        outcomes = ledger_outcomes(ran.summary["ledger"])
        assert Counter(outcomes.values()) == {"unknown": len(asked), "not_attempted": 100 - len(asked)}
        assert sandbox.deleted == {}

    @pytest.mark.parametrize("status", [400, 404, 409, 412, 422])
    def test_what_is_a_collection_s_own_stops_no_other(self, sandbox: Sandbox, status: int) -> None:
        ids = fill(sandbox, 50)
        # Each worker's first delete succeeds, so that not all are missing at any time.
        sandbox.fail_next(FOREVER, status, method="DELETE", path=any_of(ids[4:44]))
        ran = run(delete(collection_ids=ids, max_workers=4))
        assert ran.is_final
        assert ran.counts() == (50, 10, 0, 40, 0)

    def test_a_success_between_starts_the_count_anew(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 60)
        good = ids[19::20]
        sandbox.fail_next(FOREVER, 503, method="DELETE", path=any_of([each for each in ids if each not in good]))
        ran = run(delete(collection_ids=ids, max_workers=1))
        assert ran.counts() == (60, 3, 0, 57, 0)
        assert sandbox.deleted == dict.fromkeys(good, 1)

    def test_the_twentieth_stops_what_comes_after(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 22)
        sandbox.fail_next(FOREVER, 503, method="DELETE", path=any_of(ids[:20]))
        ran = run(delete(collection_ids=ids, max_workers=1))
        assert ran.counts() == (20, 0, 0, 20, 2)
        assert sandbox.deleted == {}

    def test_missing_ones_that_may_be_missing_are_successes(self, sandbox: Sandbox) -> None:
        ids, gone = fill(sandbox, 40), missing(4)
        order = [ids[0], *ids[1:16], gone[0], *ids[16:31], gone[1]]
        sandbox.fail_next(FOREVER, 503, method="DELETE", path=any_of(ids[1:]))
        ran = run(delete(collection_ids=order, max_workers=1, ignore_if_missing=True))
        assert ran.counts() == (33, 1, 2, 30, 0)

    @pytest.mark.parametrize(
        ("spoil", "status"),
        [
            pytest.param(lambda s: s.revoke_key(), 401, id="401-revoked"),
            pytest.param(lambda s: s.fail_rate(1, [402], method="DELETE"), 402, id="402"),
            pytest.param(lambda s: s.deny_scope("files:delete"), 403, id="403-scope"),
        ],
    )
    @pytest.mark.parametrize("workers", [1, 16])
    def test_an_answer_that_all_would_get(
        self, sandbox: Sandbox, tmp_path: Path, spoil: Callable[[Sandbox], None], status: int, workers: int
    ) -> None:
        ids = fill(sandbox, 200)
        at_request(sandbox, 100, lambda: spoil(sandbox))
        ran = run(delete(collection_ids=ids, max_workers=workers, ledger_path=str(tmp_path)))
        answered = statuses(sandbox)
        assert ran.is_final
        assert f"HTTP {status}" in ran.words
        assert answered.keys() == {204, status}
        assert 1 <= answered[status] <= workers
        asked = answered.total()
        assert ran.counts() == (asked, answered[204], 0, answered[status], 200 - asked)
        assert len(sandbox.deleted) == answered[204]
        assert Counter(ledger_outcomes(ran.summary["ledger"]).values()) == {
            "deleted": answered[204],
            "failed": answered[status],
            "not_attempted": 200 - asked,
        }

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("workers", [1, 8])
    def test_a_wait_of_a_day(self, sandbox: Sandbox, status: int, workers: int) -> None:
        ids = fill(sandbox, 100)
        long = {"Retry-After": "86400"}
        at_request(sandbox, 40, lambda: sandbox.fail_next(FOREVER, status, method="DELETE", headers=long))
        started = time.monotonic()
        ran = run(delete(collection_ids=ids, max_workers=workers))
        assert time.monotonic() - started < 30
        answered = statuses(sandbox)
        assert ran.is_retryable
        assert isinstance(ran.error, AnyformatBulkError)
        assert (ran.error.status_code, ran.error.retry_after) == (status, 86400)
        assert 1 <= answered[status] <= workers
        asked = answered.total()
        # Whoever was held back at the gate sent nothing, and so is not attempted.
        assert ran.counts() == (asked, answered[204], 0, answered[status], 100 - asked)

    def test_who_waits_at_the_gate_then_is_not_attempted(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 30)
        used_up = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}
        sandbox.fail_next(1, "slow", delay=0.0, headers=used_up)
        sandbox.fail_next(FOREVER, 429, headers={"Retry-After": "86400"})
        ran = run(delete(collection_ids=ids, max_workers=8))
        assert statuses(sandbox) == {204: 1, 429: 1}
        assert ran.is_retryable
        assert ran.counts() == (2, 1, 0, 1, 28)

    def test_a_rate_limit_of_a_day(self, sandbox: Sandbox) -> None:
        sandbox.rate_limit, sandbox.window = 30, 86_400
        ids = fill(sandbox, 100)
        ran = run(delete(collection_ids=ids, quota_reserve=0))
        answered = statuses(sandbox)
        assert ran.is_retryable
        assert answered[204] == len(sandbox.deleted) == 30
        assert 1 <= answered[429] <= 8
        assert ran.counts() == (answered.total(), 30, 0, answered[429], 100 - answered.total())

    def test_a_reset_of_a_day_is_no_reason_to_wait(self, sandbox: Sandbox) -> None:
        ids = fill(sandbox, 60)
        headers = {"x-ratelimit-limit": "600", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "86400"}
        sandbox.fail_next(FOREVER, "slow", delay=0.0, headers=headers)
        started = time.monotonic()
        ran = run(delete(collection_ids=ids))
        assert ran.is_green
        assert time.monotonic() - started < 30
        assert statuses(sandbox) == {204: 60}

    def test_a_mistake_of_ours_is_neither_lost_nor_repeated(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("airflow_provider_anyformat.api.client.AnyformatClient.delete_file_collection", broken)
        ran = run(delete(collection_ids=fill(sandbox, 30), max_workers=2))
        assert not ran.is_green
        assert "unexpected ZeroDivisionError" in ran.words
        assert 1 <= ran.summary["failed"] <= 2
        assert ran.summary["not_attempted"] == 30 - ran.summary["failed"]
