"""Every fault of the sandbox, as it comes out of a real socket."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat.sandbox import Sandbox


class Target:
    """A collection to delete, and the bytes that come back."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.workflow_id = sandbox.add_workflow()
        self.id = sandbox.add_collection(self.workflow_id)
        self.path = f"/v2/files/{self.id}/"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.sandbox.port), timeout=20)

    def request(self, method: str = "DELETE", path: str | None = None, *, close: bool = True) -> bytes:
        lines = [f"{method} {path or self.path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.sandbox.key}"]
        return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode()

    def exchange(self, method: str = "DELETE", path: str | None = None) -> bytes:
        """Send one request; return all that comes until the server closes."""
        with self.connect() as connection:
            connection.sendall(self.request(method, path))
            return read_all(connection)

    def ask(self, method: str = "DELETE", path: str | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.port, timeout=20)
        try:
            connection.request(method, path or self.path, headers={"Authorization": f"Bearer {self.sandbox.key}"})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    @property
    def gone(self) -> bool:
        assert self.sandbox.deleted == ({} if self.id in self.sandbox else {self.id: 1})
        return self.id not in self.sandbox


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def serving(sandbox: Sandbox) -> int:
    """How many requests are being served."""
    assert sandbox._runner is not None
    tasks = asyncio.all_tasks(sandbox._runner._loop)
    return sum("run_asgi" in repr(task.get_coro()) for task in tasks)


@pytest.fixture
def target(anyformat_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> Iterator[Target]:
    yield Target(anyformat_sandbox)
    # A fault is played on purpose; the server underneath must not take it for one of its own.
    anyformat_sandbox.stop()
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelname == "ERROR"]


@pytest.mark.parametrize("status", [200, 202, 400, 402, 409, 408, 425, 429, 500, 503, 504, 511])
def test_a_status_instead_of_the_delete(target: Target, status: int) -> None:
    target.sandbox.fail_next(1, status)
    got, headers, body = target.ask()
    assert (got, target.gone) == (status, False)
    assert headers["X-API-Version"]
    assert headers["Date"]
    assert body
    record = target.sandbox.requests[-1]
    assert (record.fault, record.status) == ("status", status)
    assert target.ask()[0] == 204


@pytest.mark.parametrize("status", [102, 103, 599])
def test_a_status_that_the_server_underneath_would_not_send(target: Target, status: int) -> None:
    target.sandbox.fail_next(1, status)
    assert target.exchange().startswith(f"HTTP/1.1 {status} ".encode())
    assert not target.gone


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_a_lie_like_any_other(target: Target, status: int) -> None:
    target.sandbox.fail_next(status=status)
    assert target.exchange().startswith(f"HTTP/1.1 {status} ".encode())
    assert not target.gone


def test_a_status_after_the_delete_took_effect(target: Target) -> None:
    target.sandbox.fail_next(1, 503, applied=True)
    assert (target.ask()[0], target.gone) == (503, True)


@pytest.mark.parametrize(
    ("options", "retry_after"),
    [
        pytest.param({}, "1", id="default"),
        pytest.param(
            {"headers": {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}}, "Wed, 21 Oct 2026 07:28:00 GMT", id="date"
        ),
        pytest.param({"headers": {"retry-after": "soon"}}, "soon", id="junk"),
        pytest.param({"headers": {"Retry-After": None}}, None, id="none"),
    ],
)
def test_a_429_says_what_it_is_told_to(target: Target, options: dict[str, Any], retry_after: str | None) -> None:
    target.sandbox.fail_next(status=429, **options)
    status, headers, _ = target.ask()
    assert (status, headers.get_all("Retry-After")) == (429, retry_after and [retry_after])


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        pytest.param({"detail": None}, b'{"detail": null}', id="object"),
        pytest.param(["a"], b'["a"]', id="list"),
        pytest.param("\x1b[31mred", b"\x1b[31mred", id="text"),
        pytest.param(b"\xff\xfe", b"\xff\xfe", id="bytes"),
    ],
)
def test_a_body_is_sent_as_given(target: Target, body: Any, sent: bytes) -> None:
    target.sandbox.fail_next(status=422, body=body)
    status, headers, got = target.ask()
    assert (status, got, headers["Content-Type"]) == (422, sent, "application/json")


def test_an_error_code_goes_into_the_envelope(target: Target) -> None:
    target.sandbox.fail_next(status=403, error_code="terms_acceptance_required")
    assert b'"error_code":"terms_acceptance_required"' in target.ask()[2]


@pytest.mark.parametrize(
    ("kind", "options", "status"),
    [
        pytest.param("html", {}, 502, id="html"),
        pytest.param("gateway_404", {}, 404, id="gateway_404"),
        pytest.param("status", {"status": 503, "html": True}, 503, id="any status"),
        pytest.param("status", {"status": 599, "html": True}, 599, id="a status without a name"),
        pytest.param("html", {"body": "<b>down</b>"}, 502, id="own page"),
    ],
)
def test_a_gateways_page_has_nothing_of_anyformat(
    target: Target, kind: str, options: dict[str, Any], status: int
) -> None:
    target.sandbox.fail_next(1, kind, **options)
    got, headers, body = target.ask()
    assert (got, headers["Content-Type"], target.gone) == (status, "text/html", False)
    assert "X-API-Version" not in headers
    assert body.startswith(b"<")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_leads_where_a_follower_sees_success(target: Target, status: int) -> None:
    target.sandbox.fail_next(1, "redirect", status=status)
    got, headers, _ = target.ask()
    assert (got, headers["Location"], target.gone) == (status, "/v2/workflows/", False)
    target.sandbox.fail_next(1, status, headers={"Location": "http://127.0.0.1:9/"})
    assert target.ask()[1].get_all("Location") == ["http://127.0.0.1:9/"]


@pytest.mark.parametrize(("kind", "gone"), [("reset_before", False), ("reset_after", True)])
def test_the_connection_is_reset(target: Target, kind: str, gone: bool) -> None:
    target.sandbox.fail_next(1, kind)
    with target.connect() as connection:
        connection.sendall(target.request())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert target.gone is gone
    assert target.sandbox.requests[-1].status is None


@pytest.mark.parametrize(("kind", "gone"), [("close_before", False), ("close_after", True)])
def test_the_connection_is_closed_without_a_word(target: Target, kind: str, gone: bool) -> None:
    target.sandbox.fail_next(1, kind)
    assert target.exchange() == b""
    assert target.gone is gone


def test_a_slow_answer_comes_after_the_delete(target: Target) -> None:
    target.sandbox.fail_next(1, "slow", delay=1.5)
    with target.connect() as connection:
        connection.settimeout(0.5)
        connection.sendall(target.request())
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert target.gone
        connection.settimeout(20)
        assert read_all(connection).startswith(b"HTTP/1.1 204 ")


def test_a_slow_refusal_does_nothing(target: Target) -> None:
    target.sandbox.fail_next(status=503, delay=0.3)
    started = time.monotonic()
    assert target.ask()[0] == 503
    assert time.monotonic() - started >= 0.3
    assert not target.gone


def arrivals(connection: socket.socket, marker: bytes) -> tuple[float, float, bytes]:
    """Return when the first byte, and when the marker, had come, and all that came."""
    data, first, seen = b"", 0.0, 0.0
    while part := connection.recv(65536):
        first = first or time.monotonic()
        data += part
        if not seen and marker in data:
            seen = time.monotonic()
    return first, seen, data


def test_the_head_drips(target: Target) -> None:
    target.sandbox.fail_next(1, "drip_head", delay=0.005)
    with target.connect() as connection:
        connection.sendall(target.request())
        first, head, data = arrivals(connection, b"\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 204 ")
    assert head - first > 0.2
    assert target.gone


def test_the_body_drips_behind_its_head(target: Target) -> None:
    target.sandbox.fail_next(1, "drip_body", delay=0.005)
    with target.connect() as connection:
        connection.sendall(target.request("GET", f"/v2/workflows/{target.workflow_id}/files/"))
        first, head, data = arrivals(connection, b"\r\n\r\n")
        end = time.monotonic()
    assert data.startswith(b"HTTP/1.1 200 ")
    assert target.id.encode() in data
    assert end - head > 0.2
    assert head - first < end - head


def test_a_drip_ends_when_nobody_listens(target: Target) -> None:
    # Byte by byte it would take a quarter of an hour.
    target.sandbox.fail_next(1, "drip_body", delay=1)
    path = f"/v2/workflows/{target.workflow_id}/files/"
    target.sandbox.fill(target.workflow_id, 20)
    with target.connect() as connection:
        connection.sendall(target.request("GET", path))
        connection.recv(1)
    until(lambda: not serving(target.sandbox))
    assert target.ask("GET", path)[0] == 200


@pytest.mark.parametrize("kind", ["drip_body", "truncated"])
def test_a_204_has_no_body_to_spoil_and_becomes_a_500(target: Target, kind: str) -> None:
    target.sandbox.fail_next(1, kind, delay=0.001)
    data = target.exchange()
    assert data.startswith(b"HTTP/1.1 500 ")
    assert b"x-api-version: 2" in data.lower()
    assert target.gone


def test_a_body_is_cut_short(target: Target) -> None:
    target.sandbox.fail_next(1, "truncated", path="/files/$")
    with pytest.raises(http.client.IncompleteRead) as caught:
        target.ask("GET", f"/v2/workflows/{target.workflow_id}/files/")
    assert caught.value.expected
    assert abs(len(caught.value.partial) - caught.value.expected) <= 1


def test_a_giant_body_is_streamed(target: Target) -> None:
    target.sandbox.fail_next(1, "huge", size=3_000_001, status=418)
    status, headers, body = target.ask()
    assert (status, headers["Content-Length"], len(body), target.gone) == (418, "3000001", 3_000_001, False)


def test_a_giant_body_ends_when_nobody_reads_it(target: Target) -> None:
    target.sandbox.fail_next(1, "huge")
    with target.connect() as connection:
        connection.sendall(target.request())
        assert connection.recv(65536).startswith(b"HTTP/1.1 500 ")
    until(lambda: not serving(target.sandbox))
    assert target.ask("GET", "/health/")[0] == 200


def test_early_hints_leave_the_answer_in_the_connection(target: Target) -> None:
    target.sandbox.fail_next(1, "early_hints")
    with target.connect() as connection:
        connection.sendall(target.request(close=False))
        connection.sendall(target.request("GET", "/health/"))
        data = read_all(connection)
    statuses = [line.split()[1] for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses == [b"103", b"204", b"200"]
    assert target.gone


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "21"}], ids=["unannounced", "announced"])
def test_a_204_with_a_body(target: Target, headers: dict[str, str]) -> None:
    target.sandbox.fail_next(1, "stray_body", headers=headers)
    head, _, rest = target.exchange().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204 ")
    assert rest == b'{"message":"deleted"}'
    assert (b"content-length: 21" in head.lower()) == bool(headers)
    assert target.gone


def test_a_stray_body_keeps_the_connection_open(target: Target) -> None:
    target.sandbox.fail_next(1, "stray_body", body="HTTP/1.1 200 OK\r\n\r\n")
    with target.connect() as connection:
        connection.sendall(target.request(close=False))
        time.sleep(0.3)
        connection.sendall(target.request("GET", "/health/"))
        data = read_all(connection)
    assert [line.split()[1] for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")] == [
        b"204",
        b"200",
        b"200",
    ]


@pytest.mark.parametrize(("options", "sent"), [({}, None), ({"body": b"HTTP/9 hm\r\n"}, b"HTTP/9 hm\r\n")])
def test_garbage_is_not_http(target: Target, options: dict[str, Any], sent: bytes | None) -> None:
    target.sandbox.fail_next(1, "garbage", **options)
    data = target.exchange()
    assert not data.startswith(b"HTTP/1.1")
    assert sent in (None, data)
    assert target.gone


@pytest.mark.parametrize("kind", ["reset_after", "drip_head", "garbage", "truncated", "huge", "slow"])
def test_a_client_that_has_gone_does_no_harm(target: Target, kind: str) -> None:
    # The latency leaves the client time to go before the fault is played.
    target.sandbox.latency = 0.2
    target.sandbox.fail_next(1, kind, delay=0.01)
    with target.connect() as connection:
        connection.sendall(target.request())
    time.sleep(0.5)
    target.sandbox.latency = 0
    assert target.ask("GET", "/health/")[0] == 200
    assert target.sandbox.requests[0].fault == kind


def test_an_upload_that_is_reset(target: Target) -> None:
    target.sandbox.fail_next(1, "reset_before", method="post")
    with target.connect() as connection:
        head = target.request("POST", f"/v2/workflows/{target.workflow_id}/run/")
        connection.sendall(head.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000000\r\n\r\n"))
        with pytest.raises(ConnectionResetError):
            read_all(connection)
    assert target.sandbox.requests[-1].body_length == 1_000_000


def test_the_end_waits_for_no_slow_answer(target: Target) -> None:
    target.sandbox.fail_next(1, "slow", delay=60)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            target.ask()
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: target.gone)
    started = time.monotonic()
    target.sandbox.stop()
    thread.join(10)
    assert time.monotonic() - started < 10
    assert len(failures) == 1
