"""The plan: its order, its guards at their bounds, and its digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.bulk.scan import due_both_times
from airflow_provider_anyformat.retention.plan import (
    Guards,
    Origin,
    PurgePlan,
    canonical,
    digest_of,
    duration_text,
    utc_text,
)
from airflow_provider_anyformat.retention.policy import PlannedRow, RetentionPolicy, Selection

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ORIGIN = Origin("https://api.example", "dag", "task", 2, "run", 3, "1.2.3")
POLICY = RetentionPolicy(older_than=30 * DAY, reference_time=NOW)


def row(id_: str, age: float, workflow_id: str = "wf", **changes: Any) -> FileCollection:
    moment = NOW - age * DAY
    return replace(FileCollection(id_, workflow_id, "processed", f"{id_}.pdf", moment, moment), **changes)


def selection(*rows: FileCollection, workflow_id: str = "wf", policy: RetentionPolicy = POLICY) -> Selection:
    chosen = Selection(policy, NOW, workflow_id)
    chosen.add(rows)
    chosen.finish()
    return chosen


def plan(*selections: Selection, now: datetime = NOW, **guards: Any) -> PurgePlan:
    return PurgePlan.of_selections(selections, guards=Guards(**guards), origin=ORIGIN, now=now)


def ids(plan: PurgePlan) -> list[str]:
    return [each.collection_id for each in plan.rows]


def due(number: int, young: int = 0) -> Selection:
    rows = [row(f"due-{n:04}", 40) for n in range(number)]
    return selection(*rows, *(row(f"young-{n:04}", 1) for n in range(young)))


def test_rows_are_oldest_first_then_by_id() -> None:
    assert ids(plan(selection(row("c", 50), row("a", 40), row("b", 50), row("d", 60)))) == ["d", "b", "c", "a"]


def test_rows_are_oldest_first_by_the_timestamp_that_counts() -> None:
    by_update = replace(POLICY, age_by="updated_at")
    rows = row("a", 40, updated_at=NOW - 70 * DAY), row("b", 50)
    assert ids(plan(selection(*rows, policy=by_update))) == ["a", "b"]
    assert ids(plan(selection(*rows))) == ["b", "a"]


def test_the_counts_of_several_workflows() -> None:
    found = plan(
        selection(row("a", 40), row("b", 1)), selection(row("c", 50, "w2"), row("d", 2, "w2"), workflow_id="w2")
    )
    assert ids(found) == ["c", "a"]
    assert [each.workflow_id for each in found.rows] == ["w2", "wf"]
    assert (found.listed, found.due, found.kept) == (4, 2, {"too_young": 2})
    assert found.workflow_ids == ("wf", "w2")
    assert found.cutoff == NOW - 30 * DAY
    assert found.policy is POLICY


@pytest.mark.parametrize(
    ("limit", "expected", "kept"),
    [
        (1, ["a"], {"limit": 2}),
        (2, ["a", "b"], {"limit": 1}),
        (3, ["a", "b", "c"], {}),
        (4, ["a", "b", "c"], {}),
        ("unlimited", ["a", "b", "c"], {}),
    ],
)
def test_limit_takes_the_oldest(limit: Any, expected: list[str], kept: dict[str, int]) -> None:
    found = plan(selection(row("c", 40), row("b", 50), row("a", 60)), limit=limit)
    assert ids(found) == expected
    assert found.due == 3
    assert found.kept == kept
    assert found.tripped == {}


def test_limit_is_for_all_workflows_together() -> None:
    found = plan(
        selection(row("a", 40), row("b", 60)),
        selection(row("c", 50, "w2"), row("d", 70, "w2"), workflow_id="w2"),
        limit=2,
    )
    assert ids(found) == ["d", "b"]
    assert found.kept == {"limit": 2}


@pytest.mark.parametrize(
    ("number", "guards", "trips"),
    [
        (5, {"max_deletions": 5}, False),
        (6, {"max_deletions": 5}, True),
        (6, {"max_deletions": 5, "limit": 5}, False),
        (6, {"max_deletions": "unlimited"}, False),
        (1000, {}, False),
        (1001, {}, True),
        (0, {"max_deletions": 1}, False),
    ],
)
def test_max_deletions_counts_what_this_run_would_delete(number: int, guards: dict[str, Any], trips: bool) -> None:
    found = plan(due(number), **guards)
    assert list(found.tripped) == (["max_deletions"] if trips else [])
    for sentence in found.tripped.values():
        assert sentence.startswith("max_deletions: ")
        assert f"delete {number} " in sentence
        assert f"allows {guards.get('max_deletions', 1000)}." in sentence
        assert "raise max_deletions, or set limit" in sentence


@pytest.mark.parametrize(
    ("number", "young", "guards", "trips"),
    [
        (1, 9, {"max_deletions_percent": 10}, False),
        (2, 8, {"max_deletions_percent": 10}, True),
        (2, 8, {"max_deletions_percent": 10, "limit": 1}, True),
        (1, 7, {"max_deletions_percent": 12.5}, False),
        (1, 7, {"max_deletions_percent": 12.4}, True),
        (1, 99, {"max_deletions_percent": 0}, True),
        (0, 9, {"max_deletions_percent": 0}, False),
        (0, 0, {"max_deletions_percent": 0}, False),
        (5, 0, {"max_deletions_percent": 100}, False),
        (5, 0, {}, False),
        (5, 0, {"max_deletions_percent": 99.9}, True),
    ],
)
def test_max_deletions_percent_counts_the_due_among_the_listed(
    number: int, young: int, guards: dict[str, Any], trips: bool
) -> None:
    found = plan(due(number, young), **guards)
    assert list(found.tripped) == (["max_deletions_percent"] if trips else [])
    for sentence in found.tripped.values():
        assert sentence.startswith(f"max_deletions_percent: {number} of {number + young} listed")
        assert f"allows {guards['max_deletions_percent']:g} %" in sentence
        assert "raise max_deletions_percent." in sentence


def test_the_percentage_is_of_all_workflows_together() -> None:
    other = selection(*(row(f"other-{n}", 1, "w2") for n in range(8)), workflow_id="w2")
    assert plan(due(2), other, max_deletions_percent=20).tripped == {}
    assert list(plan(due(2), max_deletions_percent=20).tripped) == ["max_deletions_percent"]


def test_both_guards_may_trip() -> None:
    assert list(plan(due(3), max_deletions=2, max_deletions_percent=50).tripped) == [
        "max_deletions",
        "max_deletions_percent",
    ]


def test_holds_that_no_workflow_has_are_told() -> None:
    held = replace(POLICY, exclude_collection_ids=("A", "c", "nobody"))
    found = plan(selection(row("a", 40), policy=held), selection(row("c", 40, "w2"), workflow_id="w2", policy=held))
    assert found.unmatched_holds == ("nobody",)
    assert found.kept == {"held": 2}


def test_anomalies_are_the_kept_rows_somebody_should_look_at() -> None:
    found = plan(
        selection(row("a", 1), row("b", 40, status="?"), row("c", 40, created_at=None), row("d", 40, status="pending"))
    )
    assert found.kept == {"too_young": 1, "status_unknown": 1, "timestamp_missing": 1, "status": 1}
    assert found.anomalies == {"status_unknown": 1, "timestamp_missing": 1}


def test_the_files_have_the_fields_of_the_design_and_no_more() -> None:
    policy = replace(
        POLICY,
        exclude_collection_ids=("held-1",),
        include_names=("secret-*.pdf", "b*"),
        exclude_names=("*salary*",),
        statuses=("processed", "error"),
        keep_last=1,
    )
    moment = NOW - 40 * DAY
    found = plan(
        selection(
            row("held-1", 40, name="secret-1.pdf"),
            row("a", 40, name="secret-2.pdf", updated_at=None),
            row("b", 50, name="bill", created_at=(moment - 10 * DAY).astimezone(timezone(timedelta(hours=2)))),
            policy=policy,
        ),
        max_deletions=1,
        max_deletions_percent=50,
    )
    assert json.loads(found.json_bytes()) == {
        "service": "https://api.example",
        "workflows": ["wf"],
        "policy": {
            "older_than": "P30D",
            "reference_time": "2026-06-30T12:00:00Z",
            "age_by": "created_at",
            "statuses": ["processed", "error"],
            "exclude_collection_ids": ["held-1"],
            "include_names": 2,
            "exclude_names": 1,
            "keep_last": 1,
        },
        "guards": {"max_deletions": 1, "max_deletions_percent": 50, "limit": "unlimited", "tripped": []},
        "cutoff": "2026-05-31T12:00:00Z",
        "count": 1,
        "digest": found.digest,
        "made_at": "2026-06-30T12:00:00Z",
        "dag": "dag",
        "run": "run",
        "task": "task",
        "try": 3,
        "provider_version": "1.2.3",
    }
    assert [json.loads(line) for line in found.rows_bytes().splitlines()] == [
        {
            "collection_id": "b",
            "workflow_id": "wf",
            "status": "processed",
            "created_at": "2026-05-11T12:00:00Z",
            "updated_at": "2026-05-11T12:00:00Z",
            "reason": "due",
        }
    ]
    for text in (found.json_bytes(), found.rows_bytes()):
        for word in (b"secret", b"bill", b"salary"):
            assert word not in text


def test_tripped_guards_are_in_the_file() -> None:
    found = plan(due(3), max_deletions=2, max_deletions_percent=50.5)
    assert json.loads(found.json_bytes())["guards"] == {
        "max_deletions": 2,
        "max_deletions_percent": 50.5,
        "limit": "unlimited",
        "tripped": ["max_deletions", "max_deletions_percent"],
    }


def test_the_digest_is_of_these_bytes() -> None:
    """Whoever has the two files can say the digest without this package."""
    found = plan(selection(row("b-1", 40), row("b", 50), row("B", 60)))
    content = json.loads(found.json_bytes())
    digest = content.pop("digest")
    lines = sorted(found.rows_bytes().splitlines())
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(b"\n".join([text, *lines, b""])).hexdigest() == digest == found.digest
    assert digest_of(json.loads(found.json_bytes()), (line + b"\n" for line in lines)) == digest


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_digest_from_a_shell(tmp_path: Path) -> None:
    found = plan(selection(row("b-1", 40), row("b", 50), row("B", 60)), max_deletions_percent=99.5)
    (tmp_path / "plan.json").write_bytes(found.json_bytes())
    (tmp_path / "plan.jsonl").write_bytes(found.rows_bytes())
    command = "(jq -cS 'del(.digest)' plan.json; LC_ALL=C sort plan.jsonl) | sha256sum"
    said = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == found.digest


def test_the_digest_does_not_depend_on_the_order_or_the_zone_of_the_listing() -> None:
    rows = [row("a", 40), row("b", 50), row("c", 60)]
    zone = timezone(timedelta(hours=-3))
    turned = [replace(each, created_at=each.created_at and each.created_at.astimezone(zone)) for each in rows[::-1]]
    assert plan(selection(*rows)).digest == plan(selection(*turned)).digest


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: plan(selection(row("a", 40), row("c", 40))), id="another id"),
        pytest.param(lambda: plan(selection(row("a", 40))), id="one id less"),
        pytest.param(
            lambda: plan(selection(row("a", 40), row("b", 40, status="processed", updated_at=NOW))), id="updated"
        ),
        pytest.param(lambda: plan(selection(row("a", 40), row("b", 40)), now=NOW + DAY), id="another time"),
        pytest.param(lambda: plan(selection(row("a", 40), row("b", 40)), max_deletions=999), id="another guard"),
        pytest.param(
            lambda: replace(plan(selection(row("a", 40), row("b", 40))), origin=replace(ORIGIN, service="https://x")),
            id="another service",
        ),
    ],
)
def test_every_part_of_a_plan_is_in_its_digest(other: Any) -> None:
    assert other().digest != plan(selection(row("a", 40), row("b", 40))).digest


def test_a_plan_of_ids() -> None:
    found = PurgePlan.of_ids(
        ["b", "a", "b", "Held"], held=["hELD", "nobody"], guards=Guards(max_deletions=2), origin=ORIGIN, now=NOW
    )
    assert found.rows == [PlannedRow("b", reason="given"), PlannedRow("a", reason="given")]
    assert (found.listed, found.due, found.kept) == (3, 2, {"held": 1})
    assert found.unmatched_holds == ("nobody",)
    assert found.tripped == {}
    content = json.loads(found.json_bytes())
    assert (content["policy"], content["cutoff"], content["workflows"], content["count"]) == (None, None, [], 2)
    assert json.loads(found.rows_bytes().splitlines()[0])["workflow_id"] is None


def test_a_plan_of_too_many_ids_does_not_speak_of_limit() -> None:
    found = PurgePlan.of_ids(["a", "b", "c"], guards=Guards(max_deletions=2), origin=ORIGIN, now=NOW)
    assert found.kept == {}
    assert "delete 3 " in found.tripped["max_deletions"]
    assert "limit" not in found.tripped["max_deletions"]
    assert found.tripped["max_deletions"].endswith("raise max_deletions.")


def test_what_is_due_both_times_goes_on() -> None:
    first = plan(selection(row("a", 60), row("b", 50), row("c", 40)))
    later = [selection(row("a", 60), row("c", 40, status="pending"), row("d", 70))]
    assert [each.collection_id for each in due_both_times(first.rows, later)] == ["a"]
    assert due_both_times(first.rows[1:], later) == []
    moved = [selection(row("a", 60, "w2"), workflow_id="w2")]
    assert due_both_times(first.rows, moved) == []


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (None, None),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC), "2026-01-02T03:04:05.000600Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05Z"),
    ],
)
def test_utc_text(moment: datetime | None, expected: str | None) -> None:
    assert utc_text(moment) == expected


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (30 * DAY, "P30D"),
        (1.5 * DAY, "P1DT43200S"),
        (DAY / 24, "PT3600S"),
        (400 * DAY, "P400D"),
        (timedelta(days=1, seconds=86399, microseconds=120), "P1DT86399.00012S"),
    ],
)
def test_duration_text(duration: timedelta, expected: str) -> None:
    assert duration_text(duration) == expected


def test_canonical_json() -> None:
    assert canonical({"b": [1, None], "a": "é\n"}) == '{"a":"é\\n","b":[1,null]}\n'.encode()
    # Half a character pair in a run's name must neither stop a purge nor read back as something else.
    assert json.loads(canonical({"run": "\udc80"})) == {"run": "\udc80"}
    with pytest.raises(ValueError, match="Out of range"):
        canonical({"a": float("nan")})
