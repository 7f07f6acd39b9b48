"""One wait by itself: when it looks again, and what ends it; and what of it a resumed task is told."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_provider_anyformat.api.runs import RunState
from airflow_provider_anyformat.api.waits import Wait, as_event, from_event
from airflow_provider_anyformat.exceptions import (
    AnyformatAuthenticationError,
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatTimeoutError,
)


def wait(seconds: float = 60.0) -> Wait:
    return Wait("w1", "c1", 5.0, time.time() + seconds)


def after(seen: RunState | AnyformatError, seconds: float = 60.0) -> Any:
    """Return the pause that follows on the first look, or how the wait ended."""
    steps = wait(seconds).steps()
    assert next(steps) == 0.0
    try:
        return steps.send(seen)
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("word", ["processed", "error", "cancelled"])
def test_it_ends_with_the_run(word: str) -> None:
    assert after(RunState(word, "why")) == RunState(word, "why")


GOES_ON: list[tuple[RunState | AnyformatError, float]] = [
    (RunState("queued"), 5.0),
    (RunState("reticulating"), 5.0),
    (AnyformatConnectionError("no answer"), 5.0),
    (AnyformatServerError("down", status_code=503, retry_after=30.0), 30.0),
    (AnyformatServerError("a gateway's", status_code=404), 5.0),
    (AnyformatRateLimitError("slow down", status_code=429, retry_after=1.0), 5.0),
    (AnyformatRateLimitError("slow down", status_code=429, retry_after=1e8), 60.0),
    (AnyformatClientError("a redirect", status_code=302), 5.0),
]


@pytest.mark.parametrize(("seen", "pause"), GOES_ON, ids=str)
def test_it_goes_on(seen: RunState | AnyformatError, pause: float) -> None:
    assert after(seen) == pytest.approx(pause, abs=0.5)


@pytest.mark.parametrize(
    "error",
    [
        AnyformatAuthenticationError("no", status_code=401),
        AnyformatNotFoundError("gone", status_code=404),
        AnyformatClientError("no", status_code=422),
        AnyformatStoppedError("told to stop"),
    ],
    ids=str,
)
def test_a_final_word_ends_it(error: AnyformatError) -> None:
    with pytest.raises(type(error)) as caught:
        after(error)
    assert caught.value is error


def test_it_never_waits_beyond_its_deadline() -> None:
    assert after(RunState("queued"), 2.0) == pytest.approx(2.0, abs=0.1)
    with pytest.raises(AnyformatTimeoutError, match=r"collection c1 .*'reticulating'") as caught:
        after(RunState("reticulating"), -1.0)
    assert caught.value.retryable
    with pytest.raises(AnyformatTimeoutError, match="no answer"):
        after(AnyformatConnectionError("no answer"), -1.0)


@pytest.mark.parametrize(
    "seen",
    [
        RunState("processed"),
        RunState("error", "too blurred"),
        AnyformatTimeoutError("too late"),
        AnyformatAuthenticationError("no", status_code=401),
        AnyformatServerError("down", retry_after=7.0),
    ],
    ids=str,
)
def test_an_event_tells_all(seen: RunState | AnyformatError) -> None:
    event = json.loads(json.dumps(as_event(wait(), seen)))
    assert (event["workflow_id"], event["collection_id"]) == ("w1", "c1")
    if isinstance(seen, RunState):
        assert from_event(event) == seen
        return
    with pytest.raises(AnyformatError) as caught:
        from_event(event)
    assert str(caught.value) == str(seen)
    assert isinstance(caught.value, AnyformatTimeoutError) == isinstance(seen, AnyformatTimeoutError)
    assert (caught.value.retryable, caught.value.retry_after) == (seen.retryable, seen.retry_after)


@pytest.mark.parametrize("event", [{}, {"status": None}, {"status": "verified"}, {"status": "success"}])
def test_an_event_of_which_nothing_is_known_is_an_error(event: dict[str, Any]) -> None:
    with pytest.raises(AnyformatError, match="not known"):
        from_event(event)
