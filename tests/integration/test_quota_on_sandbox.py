"""Client and rate limiter together against the sandbox's rate limit: what counts is what the server saw."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatStoppedError,
)
from airflow_provider_anyformat.sandbox import Sandbox

# Their windows are a second or two long: on a busy machine a request may arrive in the next one.
pytestmark = [pytest.mark.untraced, pytest.mark.timeout(120), pytest.mark.flaky(reruns=3)]


def paced(url: str, key: str, reserve: float = 0.0, **settings: Any) -> AnyformatClient:
    return AnyformatClient(key, url, **{"backoff": 0.01, **settings}).paced(reserve)


def delete_all(client: AnyformatClient, ids: Sequence[str], threads: int = 16) -> list[AnyformatError]:
    """Delete them; return the errors."""
    errors: list[AnyformatError] = []

    def delete(collection_id: str) -> None:
        try:
            client.delete_file_collection(collection_id)
        except AnyformatError as error:
            errors.append(error)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(delete, ids))
    return errors


def work(url: str, key: str, ids: Sequence[str], barrier: Any) -> None:
    """Delete in a process of its own; what is gone already is no error."""
    with paced(url, key, reserve=0.1) as client:
        barrier.wait(30)
        errors = delete_all(client, ids)
    for error in errors:
        if not isinstance(error, AnyformatNotFoundError):
            raise error


def work_in_three(sandbox: Sandbox, ids: Sequence[str]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=work, args=(sandbox.url, sandbox.key, ids[i::3], barrier), daemon=True) for i in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def by_window(sandbox: Sandbox, window: float) -> Counter[float]:
    """Count the requests that were let in, by the windows of the clock; only for ``window_anchor="clock"``."""
    # The log has the time of day, the windows are of the monotonic clock.
    apart = time.time() - time.monotonic()
    return Counter((record.time - apart) // window for record in sandbox.requests if record.status == 204)


def statuses(sandbox: Sandbox) -> Counter[int | None]:
    return Counter(record.status for record in sandbox.requests)


@pytest.mark.parametrize("anchor", ["first", "clock"])
def test_one_task_never_meets_a_429(anchor: Literal["first", "clock"]) -> None:
    with Sandbox(rate_limit=30, window=1, window_anchor=anchor) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 100)
        with paced(sandbox.url, sandbox.key) as client:
            assert delete_all(client, ids) == []
        assert statuses(sandbox) == {204: 100}
        assert sandbox.deleted == dict.fromkeys(ids, 1)


def test_a_window_longer_than_max_backoff_is_paced_too() -> None:
    with Sandbox(rate_limit=30, window=3) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 70)
        with paced(sandbox.url, sandbox.key, max_backoff=1.0) as client:
            assert delete_all(client, ids) == []
        assert statuses(sandbox) == {204: 70}


def test_without_pacing_the_same_meets_many() -> None:
    with Sandbox(rate_limit=30, window=1) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 60)
        with AnyformatClient(sandbox.key, sandbox.url) as client:
            delete_all(client, ids)
        assert statuses(sandbox)[429] > 0


def test_one_task_leaves_the_reserve() -> None:
    with Sandbox(rate_limit=30, window=2, window_anchor="clock") as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 60)
        with paced(sandbox.url, sandbox.key, reserve=0.5) as client:
            assert delete_all(client, ids) == []
        assert statuses(sandbox) == {204: 60}
        # One more where a request came in on the border of two windows: the log is written just before the count.
        assert max(by_window(sandbox, 2).values()) <= 15 + 1


def test_three_processes_share_a_key() -> None:
    with Sandbox(rate_limit=200, window=2, window_anchor="clock") as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 450)
        work_in_three(sandbox, ids)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        # One in two hundred is the most that may be spent.
        assert statuses(sandbox)[429] <= 4
        # The share of all three is 180. Each one's last request may come on top, and what is in flight at a border.
        assert max(by_window(sandbox, 2).values()) < 200


def test_three_processes_share_a_key_where_one_asks_for_what_is_gone() -> None:
    with Sandbox(rate_limit=200, window=2, latency=0.02) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 750)
        for collection_id in ids[::3]:
            sandbox.remove_collection(collection_id)
        work_in_three(sandbox, ids)
        assert statuses(sandbox)[404] == 250
        # Its answers say nothing of the limit, and so it may meet the end of each window, but with one request.
        assert statuses(sandbox)[429] <= 6


def test_a_limit_without_headers_is_learnt_from_429() -> None:
    with Sandbox(rate_limit=20, window=1, omit_rate_headers=True) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 60)
        with paced(sandbox.url, sandbox.key) as client:
            assert delete_all(client, ids, threads=8) == []
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        # Each window ends with what is in flight, at most; none is spent while a window is known to be closed.
        assert statuses(sandbox)[429] <= 4 * 8


@pytest.mark.parametrize("junk", ["-1", "many", "nan", "inf", "86400", "1764000000"])
def test_senseless_headers_hold_up_nothing(junk: str) -> None:
    with Sandbox(rate_limit=None) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 40)
        headers = {"x-ratelimit-limit": "40", "x-ratelimit-remaining": "0", "x-ratelimit-reset": junk}
        sandbox.fail_next(40, 204, applied=True, headers=headers)
        started = time.monotonic()
        with paced(sandbox.url, sandbox.key) as client:
            assert delete_all(client, ids) == []
        assert time.monotonic() - started < 20
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert len(sandbox.requests) == 40


def test_a_wait_of_a_day_ends_every_call_at_once() -> None:
    with Sandbox(rate_limit=30, window=86400) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 200)
        with paced(sandbox.url, sandbox.key) as client:
            errors = delete_all(client, ids, threads=8)
        assert len(sandbox.deleted) == 30
        assert len(errors) == 170
        assert all(isinstance(error, AnyformatRateLimitError) and error.retryable for error in errors)
        # Those that were under way when the first 429 came; the others were not sent.
        assert statuses(sandbox)[429] <= 8
        assert sum(error.attempts == 0 for error in errors) >= 162


def test_faults_cost_no_429() -> None:
    with Sandbox(rate_limit=30, window=1) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 60)
        sandbox.fail_rate(0.2, kinds=[500, 503, "reset_before", "reset_after"], method="DELETE", seed=4)
        with paced(sandbox.url, sandbox.key, max_attempts=20) as client:
            assert delete_all(client, ids) == []
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert statuses(sandbox)[429] == 0


@pytest.mark.parametrize(
    "close",
    [
        pytest.param(lambda sandbox: setattr(sandbox, "rate_limit", 4), id="window-used-up"),
        pytest.param(lambda sandbox: sandbox.fail_next(1000, 429, headers={"Retry-After": "60"}), id="after-429"),
        pytest.param(lambda sandbox: setattr(sandbox, "latency", 30.0), id="behind-a-hanging-first-request"),
    ],
)
def test_a_stop_ends_every_wait(close: Callable[[Sandbox], None]) -> None:
    with Sandbox(rate_limit=1000, window=60) as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), 16)
        close(sandbox)
        client = paced(sandbox.url, sandbox.key)
        errors: list[AnyformatError] = []
        thread = threading.Thread(target=lambda: errors.extend(delete_all(client, ids)))
        thread.start()
        # Shorter than the second after which the limiter no longer waits for its first answer.
        time.sleep(0.5)
        client.stop(grace=0.2)
        at_stop = len(sandbox.requests)
        thread.join(3.0)
        assert not thread.is_alive()
        assert any(isinstance(error, AnyformatStoppedError) and error.attempts == 0 for error in errors)
        assert len(errors) + len(sandbox.deleted) == 16
        assert len(sandbox.requests) == at_stop
        client.close()
