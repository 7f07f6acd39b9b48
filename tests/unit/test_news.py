"""What became processed since the last look, also by another process."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_anyformat.api.news import News

NOW = datetime.now(UTC)


def row(id_: str, minutes: float | None = 0.0) -> tuple[str, datetime | None]:
    return id_, None if minutes is None else NOW + timedelta(minutes=minutes)


def ids(payloads: list[dict[str, Any]]) -> list[str]:
    return [payload["collection_id"] for payload in payloads]


def restarted(news: News) -> News:
    return News("w1", json.loads(json.dumps(news.cursor)))


def test_the_first_look_is_the_baseline_and_each_later_one_tells_what_is_new() -> None:
    news = News("w1")
    assert news.of([row("a", -60), row("b", None)]) == []
    assert news.of([row("c"), row("a", -60), row("b", None), row("d", -5)]) == [
        {"collection_id": "c", "workflow_id": "w1", "processed_at": NOW.isoformat()},
        {"collection_id": "d", "workflow_id": "w1", "processed_at": (NOW - timedelta(minutes=5)).isoformat()},
    ]
    assert news.of([row("c")]) == []
    assert ids(news.of([row("c"), row("e", None)])) == ["e"]


def test_a_restart_loses_and_repeats_nothing() -> None:
    news = News("w1")
    news.of([row("a", -60), row("b", -1)])
    news = restarted(news)
    # One came while nobody looked, one shows up late with an older time.
    assert ids(news.of([row("a", -60), row("b", -1), row("c", 5), row("d", -2)])) == ["c", "d"]
    assert restarted(news).of([row("a", -60), row("b", -1), row("c", 5), row("d", -2)]) == []


def test_a_restart_after_an_empty_baseline() -> None:
    news = News("w1")
    assert news.of([]) == []
    assert ids(restarted(news).of([row("a", 1)])) == ["a"]


def test_the_cursor_stays_small_and_repeats_nothing() -> None:
    news = News("w1")
    rows = [row(f"c{number}", -number / 1000) for number in range(2000)]
    news.of(rows)
    assert len(json.dumps(news.cursor)) < 50_000
    assert restarted(news).of(rows) == []


def test_a_cursor_that_cannot_be_read_is_the_first_look() -> None:
    for cursor in (None, "x", 5, {}, {"after": "soon"}):
        assert News("w1", cursor).of([row("a")]) == []
