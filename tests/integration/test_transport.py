"""Connections, TLS, proxies, and answers without measure."""

from __future__ import annotations

import functools
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatServerError,
    AnyformatValidationError,
)
from tests.support.scripted import (
    KEY,
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    Conversation,
    ScriptedServer,
    Step,
    drip,
    page,
    reply,
    row,
)

Maker = Callable[..., AnyformatClient]
MB = 1024 * 1024


# TLS


def test_an_unknown_certificate_is_refused(tls_server: ScriptedServer, make_client: Maker) -> None:
    tls_server.script(OK)

    with pytest.raises(AnyformatConnectionError, match=r"no answer \(.*certificate verify failed") as caught:
        make_client(tls_server.url, max_attempts=2).delete_file_collection("a")

    assert tls_server.requests == []
    assert (caught.value.fate_unknown, caught.value.attempts) == (False, 2)


def test_a_certificate_for_another_name_is_refused(
    tls_server: ScriptedServer, make_client: Maker, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script(OK)

    with pytest.raises(AnyformatConnectionError, match=r"(certificate verify failed: .*|hostname ')127\.0\.0\.1"):
        make_client(f"https://127.0.0.1:{tls_server.port}", max_attempts=1).delete_file_collection("a")

    assert tls_server.requests == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_bundle_is_honoured(
    tls_server: ScriptedServer,
    make_client: Maker,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    tls_server.script(OK)
    client = make_client(tls_server.url)

    assert [client.delete_file_collection(name) for name in "abc"] == ["deleted"] * 3

    assert [request.connection for request in tls_server.requests] == [1, 1, 1]


def test_a_bundle_that_is_not_there(
    tls_server: ScriptedServer, make_client: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/does/not/exist.pem")

    with pytest.raises(AnyformatConnectionError, match=r"exist\.pem") as caught:
        make_client(tls_server.url, max_attempts=1).delete_file_collection("a")

    assert (caught.value.fate_unknown, tls_server.connections) == (False, 0)


def test_a_broken_handshake_leaves_no_doubt(
    tls_server: ScriptedServer, make_client: Maker, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script(NOT_FOUND)
    tls_server.broken_handshakes = 1

    with pytest.raises(AnyformatNotFoundError) as caught:
        make_client(tls_server.url).delete_file_collection("a")

    assert (caught.value.attempts, caught.value.fate_unknown, len(tls_server.requests)) == (2, False, 1)


def test_https_to_a_server_without_tls(server: ScriptedServer, make_client: Maker) -> None:
    def step(conversation: Conversation) -> bool:
        return False

    server.script(step)

    with pytest.raises(AnyformatConnectionError) as caught:
        make_client(f"https://127.0.0.1:{server.port}", max_attempts=1, timeout=1.0).delete_file_collection("a")

    assert caught.value.fate_unknown is False
    assert not any(KEY.encode() in request.raw for request in server.requests)


def test_a_slow_answer_over_tls(
    tls_server: ScriptedServer, make_client: Maker, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the slices into which a wait is cut.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script(late(0.7, OK))

    outcome = make_client(tls_server.url).delete_file_collection("a")

    assert (outcome, outcome.attempts) == ("deleted", 1)


def late(seconds: float, answer: bytes) -> Step:
    def step(conversation: Conversation) -> bool:
        conversation.pause(seconds)
        conversation.send(answer)
        return True

    return step


# Proxies


class Proxy:
    """Knows CONNECT alone; answers the first ones with a refusal, and notes what it was asked."""

    def __init__(self, target: int, refusals: list[bytes], delay: float = 0.0) -> None:
        self.asked: list[bytes] = []
        self._target, self._refusals, self._delay = target, refusals, delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(4096)
                if not piece:
                    return
                head += piece
            self.asked.append(head)
            if self._refusals:
                sock.sendall(self._refusals.pop(0))
                return
            with socket.create_connection(("127.0.0.1", self._target)) as onward:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                time.sleep(self._delay)
                back = threading.Thread(target=_pump, args=(onward, sock), daemon=True)
                back.start()
                _pump(sock, onward)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


REFUSED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
MakeProxy = Callable[..., Proxy]


@pytest.fixture
def make_proxy(tls_server: ScriptedServer) -> Iterator[MakeProxy]:
    proxies: list[Proxy] = []

    def make(*refusals: bytes, delay: float = 0.0) -> Proxy:
        proxies.append(Proxy(tls_server.port, list(refusals), delay))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_honoured(
    tls_server: ScriptedServer,
    make_client: Maker,
    make_proxy: MakeProxy,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    proxy = make_proxy()
    monkeypatch.setenv(variable, f"http://user:proxy-password@127.0.0.1:{proxy.port}")
    tls_server.script(OK)
    client = make_client(tls_server.url)

    assert [client.delete_file_collection(name) for name in "ab"] == ["deleted"] * 2

    (asked,) = proxy.asked
    assert asked.startswith(f"CONNECT localhost:{tls_server.port} ".encode())
    assert KEY.encode() not in asked
    assert "proxy-authorization" not in tls_server.requests[0].headers


@pytest.mark.parametrize("proxy", ["http://u:secret@", "socks5://u:secret@", "http://u:secret@:3128"])
def test_a_proxy_without_a_host_is_named(
    tls_server: ScriptedServer, make_client: Maker, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(AnyformatConnectionError, match=r"(?i)prox.* host") as caught:
        make_client(tls_server.url).delete_file_collection("a")

    assert "secret" not in str(caught.value)
    assert tls_server.requests == []


@pytest.mark.usefixtures("trusted")
def test_no_proxy_is_honoured(
    tls_server: ScriptedServer, make_client: Maker, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = make_proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "localhost")
    tls_server.script(OK)

    make_client(tls_server.url).delete_file_collection("a")

    assert proxy.asked == []


@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_is_slow_after_connect(
    tls_server: ScriptedServer, make_client: Maker, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = make_proxy(delay=0.7)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    tls_server.script(OK)

    assert make_client(tls_server.url).delete_file_collection("a").attempts == 1


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "refusal",
    [REFUSED, b"HTTP/1.1 407 Who are you\r\n\r\n", b"junk\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["502", "407", "junk", "closed", "closed after 200"],
)
def test_a_proxy_that_refuses_leaves_no_doubt(
    tls_server: ScriptedServer,
    make_client: Maker,
    make_proxy: MakeProxy,
    monkeypatch: pytest.MonkeyPatch,
    refusal: bytes,
) -> None:
    proxy = make_proxy(refusal)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@127.0.0.1:{proxy.port}")
    tls_server.script(NOT_FOUND)

    with pytest.raises(AnyformatNotFoundError) as caught:
        make_client(tls_server.url).delete_file_collection("a")

    assert (caught.value.attempts, caught.value.fate_unknown) == (2, False)
    assert len(tls_server.requests) == 1


@pytest.mark.usefixtures("trusted")
def test_a_proxys_refusal_is_told(
    tls_server: ScriptedServer, make_client: Maker, make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = make_proxy(b"HTTP/1.1 407 Say\x1bwho\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@127.0.0.1:{proxy.port}")

    with pytest.raises(AnyformatConnectionError, match=r"no answer \(.*407 Say\\x1bwho") as caught:
        make_client(tls_server.url, max_attempts=1).delete_file_collection("a")

    assert "proxy-password" not in str(caught.value)
    assert tls_server.connections == 0


@pytest.mark.parametrize(
    "address",
    ["http://user:proxy-password@[", "ftp://user:proxy-password@127.0.0.1:1", "http://", "socks5://127.0.0.1:1"],
)
def test_a_proxy_that_is_none(make_client: Maker, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(AnyformatConnectionError) as caught:
        make_client("https://anyformat.invalid", max_attempts=1).delete_file_collection("a")

    assert caught.value.fate_unknown is False
    assert "proxy-password" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_http_to_loopback_takes_no_proxy(
    server: ScriptedServer, make_client: Maker, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    elsewhere = ScriptedServer()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, elsewhere.url)
    server.script(OK)

    make_client(f"http://{host}:{server.port}").delete_file_collection("a")

    elsewhere.close()
    assert elsewhere.connections == 0
    assert server.targets == ["/v2/files/a/"]


def test_http_to_loopback_over_ipv6(make_client: Maker) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    seen: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        seen.append(sock.recv(65536))
        sock.sendall(OK)
        sock.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        port = listener.getsockname()[1]
        outcome = make_client(f"http://[::1]:{port}").delete_file_collection("a")
        thread.join(5)

    assert outcome == "deleted"
    assert f"Host: [::1]:{port}\r\n".encode() in seen[0]


# Time


@pytest.mark.parametrize(
    "step",
    [
        drip(OK, 0.05),
        drip(b"HTTP/1.1 204 No Content\r\n" + b"X: y\r\n" * 90, 0.05),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, 0.05),
        drip(reply(200, b"x" * 500), 0.05),
        drip(reply(500, b"x" * 500), 0.05),
        drip(b"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500, 0.05),
    ],
    ids=["204", "headers", "100", "200", "500", "chunks"],
)
def test_a_drip_ends_within_four_times_the_timeout(server: ScriptedServer, make_client: Maker, step: Step) -> None:
    server.script(step)
    begun = time.monotonic()

    with pytest.raises(AnyformatError) as caught:
        make_client(timeout=0.25, max_attempts=1).delete_file_collection("a")

    # Each byte comes well within the time-out; all of them would take many times as long.
    assert 0.9 <= time.monotonic() - begun < 3.0
    assert caught.value.attempts == 1


def test_a_drip_within_the_bound_is_fine(server: ScriptedServer, make_client: Maker) -> None:
    server.script(drip(OK, 0.001))

    assert make_client(timeout=2.0).delete_file_collection("a") == "deleted"


# Size


def endless(head: bytes, piece: bytes, sent: list[int], most: int = 200 * MB) -> Step:
    def step(conversation: Conversation) -> bool:
        conversation.send(head)
        while sum(sent) < most:
            conversation.send(piece)
            sent.append(len(piece))
        return True

    return step


BODY = {"Content-Type": "text/plain", "Content-Length": str(200 * MB)}
CHUNKS = b"X-API-Version: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE: dict[str, tuple[bytes, bytes, type[AnyformatError]]] = {
    "422": (reply(422, headers=BODY), b"x" * MB, AnyformatValidationError),
    "500": (reply(500, headers=BODY), b"x" * MB, AnyformatServerError),
    "200": (reply(200, headers=BODY), b"x" * MB, AnyformatClientError),
    "302": (reply(302, headers={**BODY, "Location": "/v2/"}), b"x" * MB, AnyformatClientError),
    "204": (reply(204, headers=BODY), b"x" * MB, AnyformatServerError),
    "chunks": (b"HTTP/1.1 422 No\r\n" + CHUNKS, b"100000\r\n" + b"x" * MB + b"\r\n", AnyformatValidationError),
    "a chunk of -1": (b"HTTP/1.1 422 No\r\n" + CHUNKS + b"-1\r\n", b"x" * MB, AnyformatValidationError),
    "a chunk of -5": (b"HTTP/1.1 422 No\r\n" + CHUNKS + b"-5\r\n", b"x" * MB, AnyformatValidationError),
    "a huge chunk": (b"HTTP/1.1 422 No\r\n" + CHUNKS + b"f" * 60 + b"\r\n", b"x" * MB, AnyformatValidationError),
    "no length": (b"HTTP/1.1 422 No\r\nX-API-Version: 2\r\n\r\n", b"x" * MB, AnyformatValidationError),
    "a negative length": (reply(422, headers={"Content-Length": "-1"}), b"x" * MB, AnyformatValidationError),
    "one header line": (b"HTTP/1.1 422 No\r\nX: ", b"x" * MB, AnyformatConnectionError),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, AnyformatConnectionError),
    "status line": (b"HTTP/1.1 422 ", b"x" * MB, AnyformatConnectionError),
}


@pytest.mark.parametrize(("head", "piece", "kind"), LARGE.values(), ids=LARGE.keys())
@pytest.mark.untraced
def test_200_mb_are_not_read(
    server: ScriptedServer, make_client: Maker, head: bytes, piece: bytes, kind: type[AnyformatError]
) -> None:
    sent: list[int] = []
    server.script(endless(head, piece, sent), OK)
    client = make_client(max_attempts=1)
    begun = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            client.delete_file_collection("a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert time.monotonic() - begun < 10
    assert peak < 6 * MB
    assert len(str(caught.value)) < 2000
    assert client.delete_file_collection("b") == "deleted"
    assert [request.connection for request in server.requests] == [1, 2]
    # What was not read fits into the sockets' buffers.
    assert sum(sent) < 40 * MB


@functools.cache
def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join([packer.compress(b" " * MB) for _ in range(60)]) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "gzip, gzip, gzip", "deflate", "br", "zstd", "what"])
@pytest.mark.parametrize("status", [422, 500, 302])
@pytest.mark.untraced
def test_a_bomb_does_not_go_off(server: ScriptedServer, make_client: Maker, encoding: str, status: int) -> None:
    server.script(reply(status, bomb(), {"Content-Encoding": encoding, "Content-Type": "application/json"}))
    client = make_client(max_attempts=1)
    tracemalloc.start()
    try:
        with pytest.raises(AnyformatError, match=f"HTTP {status}"):
            client.delete_file_collection("a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 6 * MB


def test_gzip_is_read(server: ScriptedServer, client: AnyformatClient) -> None:
    def packed(answer: bytes) -> bytes:
        body = gzip.compress(answer.partition(b"\r\n\r\n")[2])
        return reply(int(answer.split(b" ")[1]), body, {"Content-Encoding": "gzip"})

    server.script(packed(page([row("c1")], 1)), packed(reply(200, {"a": 1})), packed(reply(409, {"detail": "Words."})))

    assert [collection.id for collection in client.iter_file_collections("w1")] == ["c1"]
    assert client.get_results("w1", "c1") == b'{"a": 1}'
    with pytest.raises(AnyformatClientError, match=r"HTTP 409: .*Words\."):
        client.delete_file_collection("a")
    assert {request.headers["accept-encoding"] for request in server.requests} == {"gzip"}
    assert [request.connection for request in server.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b'{"a": 1}')[:-3], "gzip"),
        (b"no gzip at all", "gzip"),
        (b'{"a": 1}', "br"),
        (gzip.compress(b'{"a": 1}'), "gzip, gzip"),
    ],
    ids=["cut", "none", "unknown", "twice"],
)
def test_what_cannot_be_unpacked_is_tried_again(
    server: ScriptedServer, client: AnyformatClient, body: bytes, encoding: str
) -> None:
    server.script(reply(200, body, {"Content-Encoding": encoding}), reply(200, b'{"a": 2}'))

    assert client.get_results("w1", "c1") == b'{"a": 2}'


def test_identity_is_no_encoding(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(200, b'{"a": 1}', {"Content-Encoding": "identity"}))

    assert client.get_results("w1", "c1") == b'{"a": 1}'


# Threads


def test_threads_share_no_connection(server: ScriptedServer, client: AnyformatClient) -> None:
    together = threading.Barrier(4)
    server.script(late(0.05, OK))

    def work(number: int) -> list[str]:
        together.wait(10)
        return [client.delete_file_collection(f"t{number}-{n}") for n in range(5)]

    with ThreadPoolExecutor(4) as pool:
        outcomes = [outcome for done in pool.map(work, range(4)) for outcome in done]

    assert outcomes == ["deleted"] * 20
    of_thread: dict[str, set[int]] = {}
    for request in server.requests:
        of_thread.setdefault(request.target.split("/")[3].partition("-")[0], set()).add(request.connection)
    assert sorted(of_thread) == ["t0", "t1", "t2", "t3"]
    assert sorted(number for numbers in of_thread.values() for number in numbers) == [1, 2, 3, 4]


def test_a_threads_answers_are_its_own(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(409, {"detail": "x"}))
    failures: list[Any] = []

    def work(number: int) -> None:
        for n in range(20):
            try:
                client.delete_file_collection(f"t{number}-{n}")
            except AnyformatClientError as error:
                if f"DELETE of collection t{number}-{n}: HTTP 409" not in str(error):
                    failures.append(str(error))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))

    assert failures == []
    assert len(server.requests) == 60


def test_close_closes_and_the_client_can_go_on(server: ScriptedServer, make_client: Maker) -> None:
    server.script(OK)
    with make_client() as client:
        client.delete_file_collection("a")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(client.delete_file_collection, "b").result()
    assert client._sessions == []
    assert client.delete_file_collection("c") == "deleted"
    assert len(client._sessions) == 1
    client.close()
    assert client._sessions == []
    assert [request.connection for request in server.requests] == [1, 2, 3]


def test_close_during_a_call(server: ScriptedServer, client: AnyformatClient) -> None:
    def step(conversation: Conversation) -> bool:
        client.close()
        conversation.reset()
        return False

    server.script(step, OK)

    assert client.delete_file_collection("a") == "deleted"
    assert len(client._sessions) == 1


def test_a_dropped_connection_is_not_kept(server: ScriptedServer, make_client: Maker) -> None:
    server.script(UNAVAILABLE, UNAVAILABLE, OK)
    client = make_client()

    client.delete_file_collection("a")

    assert len(client._sessions) == 1
