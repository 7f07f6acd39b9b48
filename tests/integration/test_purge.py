"""PurgeFileCollectionsOperator: what it selects, its guards, and the plan alone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.ledgers import ledger_rows
from tests.support.logs import Lines
from tests.support.sandboxes import ago, connect, left, old, on_both_versions
from tests.support.tasks import COUNTS, purge_task, purged, run

PERCENT = "max_deletions_percent"


class TestSelection:
    @on_both_versions
    def test_the_summary(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 10)
        sandbox.fill(workflow, 5)
        sandbox.add_collection(workflow, status="in_progress", created_at=ago(200))
        reference = ago(1).replace(microsecond=0)
        summary = purged(workflow_id=workflow, reference_time=reference)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert {name: summary[name] for name in COUNTS} == {
            "listed": 16,
            "due": 10,
            "requested": 10,
            "deleted": 10,
            "already_gone": 0,
            "failed": 0,
            "not_attempted": 0,
        }
        assert summary["workflow_ids"] == [workflow]
        assert summary["kept"] == {"status": 1, "too_young": 5}
        assert summary["cutoff"] == (reference - timedelta(days=90)).isoformat().replace("+00:00", "Z")
        assert (summary["plan_path"], summary["ledger"]) == (None, None)
        assert len(summary["plan_digest"]) == 64

    @pytest.mark.parametrize("older_than", ["P90D", timedelta(days=90), "PT2160H", " P90D "], ids=repr)
    def test_age_is_strict(self, sandbox: Sandbox, workflow: str, older_than: Any) -> None:
        reference = ago(1).replace(microsecond=0)
        cutoff = reference - timedelta(days=90)
        at = sandbox.add_collection(workflow, created_at=cutoff)
        before = sandbox.add_collection(workflow, created_at=cutoff - timedelta(microseconds=1))
        purged(workflow_id=workflow, older_than=older_than, reference_time=reference)
        assert left(sandbox, workflow) == {at}
        assert sandbox.deleted == {before: 1}

    @pytest.mark.parametrize("by", ["created_at", "updated_at"])
    def test_age_by(self, sandbox: Sandbox, workflow: str, by: str) -> None:
        rows = {
            "created_at": sandbox.add_collection(workflow, created_at=ago(100), updated_at=ago(1)),
            "updated_at": sandbox.add_collection(workflow, created_at=ago(1), updated_at=ago(100)),
        }
        purged(workflow_id=workflow, age_by=by)
        assert sandbox.deleted == {rows[by]: 1}

    def test_the_end_of_the_data_interval_is_the_default(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 3, days=100)
        ran = run(purge_task(workflow_id=workflow), data_interval_end=ago(20))
        assert ran.counts("due") == (0,)
        ran = run(purge_task(workflow_id=workflow), data_interval_end=ago(5))
        assert ran.is_green
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @pytest.mark.parametrize("context", [{}, {"data_interval_end": None}], ids=["absent", "none"])
    def test_a_run_without_an_interval_counts_from_now(
        self, sandbox: Sandbox, workflow: str, context: dict[str, Any]
    ) -> None:
        ids = old(sandbox, workflow, 3, days=91)
        run(purge_task(workflow_id=workflow), **context)
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_an_interval_that_ends_in_the_future_counts_as_now(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 3, days=89)
        ran = run(purge_task(workflow_id=workflow), data_interval_end=ago(-10))
        assert ran.counts("due") == (0,)

    def test_reference_time_wins_over_the_interval(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 3, days=100)
        given = ago(20).astimezone(timezone(timedelta(hours=5))).isoformat()
        ran = run(purge_task(workflow_id=workflow, reference_time=given), data_interval_end=ago(0))
        assert ran.counts("due") == (0,)

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(datetime(2026, 1, 1), id="naive"),  # noqa: DTZ001 - that is the mistake
            pytest.param("2026-01-01T00:00:00", id="naive-text"),
            pytest.param("2026-01-01", id="bare-date"),
            pytest.param("2999-01-01T00:00:00Z", id="future"),
            pytest.param(None, id="none"),
            pytest.param("", id="empty"),
            pytest.param("None", id="null-word"),
            pytest.param(1_700_000_000, id="number"),
        ],
    )
    def test_a_reference_time_that_is_none(self, sandbox: Sandbox, workflow: str, value: Any) -> None:
        old(sandbox, workflow, 3)
        ran = run(purge_task(workflow_id=workflow, reference_time=value))
        assert ran.is_final
        assert "reference_time" in ran.words
        assert sandbox.requests == []

    def test_four_minutes_ahead_are_now(self, sandbox: Sandbox, workflow: str) -> None:
        kept = sandbox.add_collection(workflow, created_at=ago(hours=24 * 90 - 0.05))
        purged(workflow_id=workflow, reference_time=ago(minutes=-4))
        assert kept in sandbox

    @pytest.mark.parametrize("value", [[], None, "", "None", ["a", None], [""], 5, "a/b"], ids=repr)
    def test_there_is_no_all_workflows(self, sandbox: Sandbox, value: Any) -> None:
        ran = run(purge_task(workflow_id=value))
        assert ran.is_final
        assert "workflow_id" in ran.words
        assert sandbox.requests == []

    @pytest.mark.parametrize("value", [None, "", "null", "P1M", "P1Y", "PT5M", "90", 90, "P0D", timedelta(0)], ids=repr)
    def test_an_age_that_is_none(self, sandbox: Sandbox, workflow: str, value: Any) -> None:
        old(sandbox, workflow, 3)
        ran = run(purge_task(workflow_id=workflow, older_than=value))
        assert ran.is_final
        assert "older_than" in ran.words
        assert sandbox.requests == []

    def test_statuses(self, sandbox: Sandbox, workflow: str) -> None:
        known = ("processed", "error", "cancelled", "pending", "queued", "in_progress")
        ids = {status: sandbox.add_collection(workflow, status=status, created_at=ago(100)) for status in known}
        unknown = [
            sandbox.add_collection(workflow, status=status, created_at=ago(100))
            for status in ("completed", "Processed", "processed ", "")
        ]
        summary = purged(workflow_id=workflow, statuses=["error", "cancelled"])
        assert sandbox.deleted == {ids["error"]: 1, ids["cancelled"]: 1}
        assert summary["kept"] == {"status": 4, "status_unknown": 4}
        purged(workflow_id=workflow)
        assert set(sandbox.deleted) == {ids["processed"], ids["error"], ids["cancelled"]}
        assert all(each in sandbox for each in unknown)
        assert sandbox.cancelled == set()

    @pytest.mark.parametrize(
        "value", [[], ["pending"], ["processed", "completed"], [None], "processed", None], ids=repr
    )
    def test_statuses_that_are_refused(self, sandbox: Sandbox, workflow: str, value: Any) -> None:
        ran = run(purge_task(workflow_id=workflow, statuses=value))
        assert ran.is_final
        assert "statuses" in ran.words
        assert sandbox.requests == []

    @on_both_versions
    def test_names(self, sandbox: Sandbox, workflow: str) -> None:
        names = ["invoice-1.pdf", "INVOICE-2.pdf", "Invoice-KEEP.pdf", "invoice-keep.pdf", "letter.pdf", None]
        ids = {name: sandbox.add_collection(workflow, name=name, created_at=ago(100)) for name in names}
        summary = purged(workflow_id=workflow, include_names=["invoice-*"], exclude_names=["*-Keep.pdf"])
        assert sandbox.deleted == {ids["invoice-1.pdf"]: 1}
        assert summary["kept"] == {"name": 5}
        purged(workflow_id=workflow, exclude_names=["*KEEP*"])
        assert left(sandbox, workflow) == {ids["Invoice-KEEP.pdf"], ids["invoice-keep.pdf"], ids[None]}

    @on_both_versions
    def test_holds_by_id_and_by_file_id_in_any_case(self, sandbox: Sandbox, workflow: str, lines: Lines) -> None:
        ids = old(sandbox, workflow, 10)
        file_ids = {row["id"]: row["file_id"] for row in sandbox.collections(workflow)}
        nobody = "f" * 36
        holds = [ids[0].upper(), file_ids[ids[1]].upper(), ids[2], nobody]
        summary = purged(workflow_id=workflow, exclude_collection_ids=holds)
        assert left(sandbox, workflow) == set(ids[:3])
        assert summary["kept"] == {"held": 3}
        warned = [record.getMessage() for record in lines.records if record.levelname == "WARNING"]
        assert sum(nobody in text for text in warned) == 1

    @pytest.mark.parametrize("bad", [["a", None], ["a/b"], [7], "a,b", None, ["none"]], ids=repr)
    def test_a_hold_that_is_no_id(self, sandbox: Sandbox, workflow: str, bad: Any) -> None:
        old(sandbox, workflow, 3)
        ran = run(purge_task(workflow_id=workflow, exclude_collection_ids=bad))
        assert ran.is_final
        assert "exclude_collection_ids" in ran.words
        assert sandbox.requests == []

    def test_keep_last_is_for_each_workflow(self, sandbox: Sandbox, workflow: str) -> None:
        other = sandbox.add_workflow()
        ids, others = old(sandbox, workflow, 6), old(sandbox, other, 3)
        sandbox.add_collection(other, status="error")
        newest = sandbox.add_collection(other)
        summary = purged(workflow_id=[workflow, other], keep_last=2)
        assert left(sandbox, workflow) == set(ids[-2:])
        assert left(sandbox, other) >= {newest, others[-1]}
        assert sandbox.deleted == dict.fromkeys([*ids[:4], *others[:2]], 1)
        assert summary["kept"]["keep_last"] == 3

    def test_limit_takes_the_oldest_and_counts_the_rest(self, sandbox: Sandbox, workflow: str) -> None:
        ids = old(sandbox, workflow, 10)
        for round_ in range(3):
            summary = purged(workflow_id=workflow, limit=4)
            assert set(sandbox.deleted) == set(ids[: 4 * round_ + 4])
            assert summary["due"] == 10 - 4 * round_
            assert summary["kept"] == ({"limit": 6 - 4 * round_} if round_ < 2 else {})

    @pytest.mark.parametrize(
        "odd", [None, "yesterday", "", "2020-01-01", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]
    )
    @on_both_versions
    def test_an_age_that_nobody_can_tell(self, sandbox: Sandbox, workflow: str, lines: Lines, odd: str | None) -> None:
        ids = old(sandbox, workflow, 3)
        kept = sandbox.add_collection(workflow, created_at=odd)
        summary = purged(workflow_id=workflow)
        assert left(sandbox, workflow) == {kept}
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        reason = "timestamp_missing" if odd is None else "timestamp_unreadable"
        assert summary["kept"] == {reason: 1}
        assert lines.last.levelname == "WARNING"
        assert f"{reason} 1" in lines.last.getMessage()

    def test_a_future_age(self, sandbox: Sandbox, workflow: str, lines: Lines) -> None:
        sandbox.add_collection(workflow, created_at=ago(-1))
        assert purged(workflow_id=workflow)["kept"] == {"timestamp_future": 1}
        assert lines.last.levelname == "WARNING"

    def test_min_retention_of_the_connection(
        self, sandbox: Sandbox, workflow: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old(sandbox, workflow, 3)
        assert run(purge_task(workflow_id=workflow, older_than="PT23H")).is_final
        connect(monkeypatch, sandbox, min_retention="90")
        ran = run(purge_task(workflow_id=workflow, older_than="P89DT23H"))
        assert ran.is_final
        assert "min_retention" in ran.words
        assert "older_than" in ran.words
        assert sandbox.requests == []
        assert purged(workflow_id=workflow)["deleted"] == 3


class TestGuards:
    @pytest.mark.parametrize(
        ("guards", "tripped"),
        [
            pytest.param({"max_deletions": 10}, None, id="count-at"),
            pytest.param({"max_deletions": 9}, ("max_deletions", "10", "9"), id="count-over"),
            pytest.param({"max_deletions": 9, "limit": 9}, None, id="count-is-of-this-run"),
            pytest.param({"max_deletions": "unlimited"}, None, id="count-unlimited"),
            pytest.param({"max_deletions_percent": 50}, None, id="percent-at"),
            pytest.param({"max_deletions_percent": 49.9}, (PERCENT, "10", "20", "49.9"), id="percent-over"),
            pytest.param(
                {"max_deletions_percent": "49", "limit": 1},
                (PERCENT, "10", "20", "49"),
                id="percent-of-due",
            ),
            pytest.param({"max_deletions_percent": 0}, (PERCENT, "10", "20", "0"), id="percent-0"),
        ],
    )
    @pytest.mark.parametrize("plan_only", [False, True], ids=["purge", "plan_only"])
    def test_at_their_boundaries(
        self,
        sandbox: Sandbox,
        workflow: str,
        tmp_path: Path,
        lines: Lines,
        guards: dict[str, Any],
        tripped: tuple[str, ...] | None,
        plan_only: bool,
    ) -> None:
        old(sandbox, workflow, 10)
        sandbox.fill(workflow, 10)
        ran = run(purge_task(workflow_id=workflow, ledger_path=str(tmp_path), plan_only=plan_only, **guards))
        plan = ledger_rows(ran.summary["plan_path"], "plan.json")[0]
        assert plan["guards"]["tripped"] == ([tripped[0]] if tripped else [])
        assert plan["digest"] == ran.summary["plan_digest"]
        if plan_only or tripped:
            assert sandbox.requests_to("DELETE") == []
            assert ran.counts() == (0, 0, 0, 0, 0)
        else:
            assert len(sandbox.deleted) == guards.get("limit", 10)
        assert ran.is_green is (plan_only or not tripped)
        if tripped:
            words = lines.text if plan_only else ran.words
            assert all(word in words for word in tripped)
            assert plan_only or ran.is_final

    def test_both_are_named(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 10)
        ran = run(purge_task(workflow_id=workflow, max_deletions=3, max_deletions_percent=50))
        assert "max_deletions:" in ran.words
        assert "max_deletions_percent:" in ran.words

    def test_they_are_of_all_workflows_together(self, sandbox: Sandbox, workflow: str) -> None:
        other = sandbox.add_workflow()
        old(sandbox, workflow, 6)
        old(sandbox, other, 6)
        assert run(purge_task(workflow_id=[workflow, other], max_deletions=11)).is_final
        assert sandbox.deleted == {}
        assert purged(workflow_id=[workflow, other], max_deletions=12)["deleted"] == 12

    def test_a_thousand_is_the_default(self, sandbox: Sandbox, workflow: str) -> None:
        old(sandbox, workflow, 1001)
        ran = run(purge_task(workflow_id=workflow))
        assert ran.is_final
        assert "1001" in ran.words
        assert sandbox.deleted == {}

    def test_nothing_is_due(self, sandbox: Sandbox, workflow: str) -> None:
        summary = purged(workflow_id=workflow, max_deletions_percent=0)
        assert [summary[name] for name in COUNTS] == [0] * 7
        assert summary["kept"] == {}
        assert sandbox.requests_to("DELETE") == []


class TestPlanOnly:
    @pytest.mark.parametrize("plan_only", [True, "True", "true"], ids=repr)
    def test_it_deletes_nothing_and_tells(
        self, sandbox: Sandbox, workflow: str, lines: Lines, tmp_path: Path, plan_only: Any
    ) -> None:
        ids = old(sandbox, workflow, 12)
        sandbox.fill(workflow, 5)
        summary = purged(workflow_id=workflow, plan_only=plan_only, ledger_path=str(tmp_path))
        assert sandbox.requests_to("DELETE") == []
        assert left(sandbox, workflow) >= set(ids)
        assert (summary["listed"], summary["due"], summary["requested"]) == (17, 12, 0)
        assert [row["collection_id"] for row in ledger_rows(summary["plan_path"], "plan.jsonl")] == ids
        table = lines.matching(r"(?s)^.*\n.*\bdue\b.*|(?s:.*too_young +5.*)")
        assert table
        assert ids[0] in lines.text
        assert summary["plan_digest"] in lines.text
        assert lines.last.getMessage() == "plan only, nothing was deleted: would delete 12, keep 5 of 17"

    @pytest.mark.parametrize("plan_only", ["maybe", None, "", 1], ids=repr)
    def test_nonsense_is_no_false(self, sandbox: Sandbox, workflow: str, plan_only: Any) -> None:
        old(sandbox, workflow, 3)
        ran = run(purge_task(workflow_id=workflow, plan_only=plan_only))
        assert ran.is_final
        assert "plan_only" in ran.words
        assert sandbox.requests == []

    def test_an_anomaly_makes_the_last_line_a_warning(self, sandbox: Sandbox, workflow: str, lines: Lines) -> None:
        old(sandbox, workflow, 3)
        purged(workflow_id=workflow, plan_only=True)
        assert lines.last.levelname == "INFO"
        sandbox.add_collection(workflow, status="unheard-of", created_at=ago(100))
        purged(workflow_id=workflow, plan_only=True)
        assert lines.last.levelname == "WARNING"
        assert "status_unknown 1" in lines.last.getMessage()
