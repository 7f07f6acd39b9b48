"""How long the client waits, how often it tries, and that it ends when told to."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import FrameType
from typing import Any

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatConnectionError,
    AnyformatError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatValueError,
)
from tests.support.scripted import (
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    Conversation,
    ScriptedServer,
    reply,
    reset,
    silence,
)

pytestmark = pytest.mark.untraced

Maker = Callable[..., AnyformatClient]
NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


def http_date(seconds_from_date: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds_from_date), usegmt=True)


@pytest.fixture
def waits(client: AnyformatClient, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list into which the client's waits go instead of being slept."""
    slept: list[float] = []
    monkeypatch.setattr(client, "sleep", lambda seconds, *_: slept.append(seconds))
    return slept


# What the header says; the seconds that must pass at least, None where it says nothing that makes sense.
RETRY_AFTER: list[tuple[str | None, float | None]] = [
    ("1", 1.0),
    ("1.25", 1.25),
    ("0", 0.0),
    (http_date(2), 2.0),
    (http_date(-3600), 0.0),
    ("1, 2", 2.0),
    (None, None),
    ("soon", None),
]


@pytest.mark.parametrize(("header", "told"), RETRY_AFTER, ids=repr)
@pytest.mark.parametrize("status", [429, 503, 408, 404])
def test_retry_after_is_waited_for(
    server: ScriptedServer,
    client: AnyformatClient,
    waits: list[float],
    header: str | None,
    told: float | None,
    status: int,
) -> None:
    fields = {} if header is None else {"Retry-After": header}
    server.script(reply(status, b"", fields, own=status != 404), OK)

    assert client.delete_file_collection("a") == "deleted"

    (wait,) = waits
    if told:
        # Never sooner than told, and later only by a little jitter.
        assert told <= wait <= told * 1.1
    else:
        assert 0 <= wait <= client.backoff


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2.001", "2"),
        ("1, 3600", "3600"),
        ("9" * 5000, "100000000"),
        (http_date(3), "3"),
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.parametrize(("status", "kind"), [(429, AnyformatRateLimitError), (503, AnyformatServerError)])
@pytest.mark.parametrize("paced", [False, True], ids=["alone", "paced"])
def test_a_wait_beyond_max_backoff_ends_the_call(
    server: ScriptedServer,
    client: AnyformatClient,
    waits: list[float],
    header: str,
    seconds: str,
    status: int,
    kind: type[AnyformatError],
    paced: bool,
) -> None:
    if paced:
        client.paced()
    server.script(reply(status, b"", {"Retry-After": header}))

    with pytest.raises(kind) as caught:
        client.delete_file_collection("a")

    error = caught.value
    assert waits == []
    assert len(server.requests) == error.attempts == 1
    assert error.retryable
    assert error.retry_after is not None
    assert error.retry_after > client.max_backoff
    assert f"HTTP {status}: " in str(error)
    assert f"a wait of {seconds} s, longer than max_backoff (2 s)" in str(error)


@pytest.mark.parametrize("header", ["0.3", "date"])
def test_never_sooner_than_told_by_the_clock(server: ScriptedServer, client: AnyformatClient, header: str) -> None:
    def step(conversation: Conversation) -> bool:
        now = datetime.now(UTC)
        fields = {"Date": format_datetime(now, usegmt=True), "Retry-After": header}
        if header == "date":
            fields["Retry-After"] = format_datetime(now + timedelta(seconds=1), usegmt=True)
        conversation.send(reply(429, b"", fields))
        return True

    server.script(step, OK)

    assert client.delete_file_collection("a") == "deleted"

    first, second = server.requests
    assert second.at - first.at >= (1.0 if header == "date" else 0.3)


def test_a_date_is_held_against_the_servers_own_clock(
    server: ScriptedServer, client: AnyformatClient, waits: list[float]
) -> None:
    # By the worker's clock this moment may be long past or far away.
    server.script(reply(429, b"", {"Date": http_date(0), "Retry-After": http_date(1)}), OK)
    client.delete_file_collection("a")
    assert 1.0 <= waits[0] <= 1.1


def test_a_date_without_the_servers_clock_is_held_against_ours(
    server: ScriptedServer, client: AnyformatClient, waits: list[float]
) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.script(reply(503, b"", {"Date": "junk", "Retry-After": moment}), OK)
    client.delete_file_collection("a")
    assert 0 < waits[0] <= 2.2


def test_an_old_retry_after_is_forgotten(server: ScriptedServer, make_client: Maker) -> None:
    client = make_client(max_attempts=3, backoff=0.001)
    slept: list[float] = []
    client.sleep = lambda seconds, *_: slept.append(seconds)  # type: ignore[method-assign]
    server.script(reply(429, b"", {"Retry-After": "1"}), reset())

    with pytest.raises(AnyformatConnectionError) as caught:
        client.delete_file_collection("a")

    assert caught.value.retry_after is None
    assert slept[0] >= 1.0
    assert slept[1] <= 0.01


def test_backoff_doubles_up_to_max_backoff_with_full_jitter(
    server: ScriptedServer, make_client: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    client = make_client(max_attempts=8, backoff=1.0, max_backoff=20.0)
    monkeypatch.setattr(random, "uniform", lowest)
    server.script(UNAVAILABLE)

    with pytest.raises(AnyformatServerError):
        client.delete_file_collection("a")

    # The last try is followed by no wait, whatever is drawn for it.
    assert bounds[:7] == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.0, 16.0), (0.0, 20.0), (0.0, 20.0)]
    assert len(server.requests) == 8


def test_jitter_is_spread(server: ScriptedServer, client: AnyformatClient, waits: list[float]) -> None:
    server.script(UNAVAILABLE)
    client.backoff, client.max_attempts = 2.0, 200

    with pytest.raises(AnyformatServerError):
        client.delete_file_collection("a")

    assert len(waits) == 199
    assert all(0 <= wait <= 2.0 for wait in waits)
    # Of 199 draws none in the lowest or none in the highest quarter: odds of one in 10^24.
    assert min(waits) < 0.5
    assert max(waits) > 1.5


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_tries_are_counted(server: ScriptedServer, make_client: Maker, tries: int) -> None:
    server.script(reset())

    with pytest.raises(AnyformatConnectionError) as caught:
        make_client(max_attempts=tries).delete_file_collection("a")

    assert len(server.requests) == caught.value.attempts == tries


def test_paced_a_429_costs_no_try(server: ScriptedServer, client: AnyformatClient, waits: list[float]) -> None:
    client.paced(0.0).max_attempts = 2
    server.script(*[reply(429, b"", {"Retry-After": "0"})] * 3, UNAVAILABLE, reply(429, b"", {"Retry-After": "0"}), OK)

    outcome = client.delete_file_collection("a")

    assert (outcome, outcome.attempts) == ("deleted", 6)


def test_paced_patience_ends(
    server: ScriptedServer, client: AnyformatClient, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnyformatClient, "PATIENCE", 0.1)
    client.paced(0.0).max_attempts = 1
    server.script(reply(429, b"", {"Retry-After": "0"}))
    begun = time.monotonic()

    with pytest.raises(AnyformatRateLimitError, match="HTTP 429"):
        client.delete_file_collection("a")

    assert time.monotonic() - begun >= 0.1
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("timeout", "backoff", "max_backoff", "max_attempts")
        for value in (0, -1, float("nan"), float("inf"), "30", None, True, 1e300)
    ]
    + [("max_attempts", 2.0), ("max_attempts", 0.5)],
)
def test_settings_that_are_none(name: str, value: Any) -> None:
    with pytest.raises(AnyformatValueError, match=rf"^{name}: "):
        AnyformatClient("af_12345678", **{name: value})


# Being told to stop


def stop_after(client: AnyformatClient, seconds: float, grace: float) -> threading.Timer:
    timer = threading.Timer(seconds, client.stop, kwargs={"grace": grace})
    timer.start()
    return timer


def test_stop_ends_a_wait_at_once(server: ScriptedServer, make_client: Maker) -> None:
    client = make_client(max_backoff=100.0)
    server.script(reply(503, b"", {"Retry-After": "60"}))
    begun = time.monotonic()
    timer = stop_after(client, 0.2, grace=30.0)

    with pytest.raises(AnyformatStoppedError) as caught:
        client.delete_file_collection("a")

    timer.join()
    assert time.monotonic() - begun < 10
    assert len(server.requests) == 1
    assert (caught.value.fate_unknown, caught.value.attempts, caught.value.retryable) == (True, 1, True)


@pytest.mark.parametrize("said_before", [b"", b"HTTP/1.1 204 No", reply(200, b"x" * 10)[:-5]], ids=["", "line", "body"])
def test_stop_ends_a_slow_answer_after_its_grace(
    server: ScriptedServer, make_client: Maker, said_before: bytes
) -> None:
    def step(conversation: Conversation) -> bool:
        conversation.send(said_before)
        conversation.pause(30)
        return False

    client = make_client(timeout=60.0)
    server.script(step)
    begun = time.monotonic()
    timer = stop_after(client, 0.2, grace=0.5)

    with pytest.raises(AnyformatError) as caught:
        client.delete_file_collection("a")

    timer.join()
    assert 0.7 <= time.monotonic() - begun < 10
    assert (caught.value.fate_unknown, caught.value.attempts) == (True, 1)
    assert len(server.requests) == 1


def test_an_answer_within_the_grace_counts(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(silence(0.6, OK))
    timer = stop_after(client, 0.1, grace=10.0)

    assert client.delete_file_collection("a") == "deleted"
    timer.join()


def test_nothing_is_sent_after_stop(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(OK)
    client.delete_file_collection("a")
    client.stop()
    for call in (
        lambda: client.delete_file_collection("a"),
        lambda: list(client.iter_pages("w")),
        lambda: client.get_results("w", "a"),
        client.check_key,
    ):
        with pytest.raises(AnyformatStoppedError) as caught:
            call()
        assert (caught.value.attempts, caught.value.fate_unknown) == (0, False)
    assert len(server.requests) == 1


def test_a_failure_within_the_grace_is_not_tried_again(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(silence(0.4, UNAVAILABLE))
    timer = stop_after(client, 0.1, grace=10.0)

    with pytest.raises(AnyformatServerError) as caught:
        client.delete_file_collection("a")

    timer.join()
    assert (len(server.requests), caught.value.attempts, caught.value.fate_unknown) == (1, 1, True)


def test_stop_while_the_connection_is_made(
    tls_server: ScriptedServer, make_client: Maker, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script(NOT_FOUND)
    tls_server.handshake_delay = 0.6
    client = make_client(tls_server.url)
    timer = stop_after(client, 0.2, grace=10.0)

    with pytest.raises(AnyformatStoppedError) as caught:
        client.delete_file_collection("a")

    timer.join()
    assert tls_server.requests == []
    assert caught.value.fate_unknown is False


def test_the_first_stop_holds(client: AnyformatClient) -> None:
    assert client.stop_at() is None
    client.stop(grace=0.0)
    moment = client.stop_at()
    client.stop(grace=100.0)
    assert client.stop_at() == moment


@pytest.mark.parametrize("phase", ["wait", "answer"])
def test_stop_from_a_signal_handler(server: ScriptedServer, make_client: Maker, phase: str) -> None:
    client = make_client(timeout=60.0, max_backoff=100.0)
    server.script(silence(30) if phase == "answer" else reply(503, b"", {"Retry-After": "60"}))

    def handler(number: int, frame: FrameType | None) -> None:
        client.stop(grace=0.3)

    begun = time.monotonic()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGUSR1))
        timer.start()
        with pytest.raises(AnyformatStoppedError) as caught:
            client.delete_file_collection("a")
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert time.monotonic() - begun < 10
    assert caught.value.fate_unknown is True
    assert len(server.requests) == 1


def test_sleep_without_stop_sleeps(client: AnyformatClient) -> None:
    begun = time.monotonic()
    client.sleep(0.25)
    assert time.monotonic() - begun >= 0.25
