"""
A server that answers exactly what a test tells it to, byte by byte, and notes what arrived.

It shares no code with the client or the sandbox, and no HTTP library stands between the test and the socket.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEY = "af_test-key-0123456789"
DATE = "Tue, 24 Nov 2026 10:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire; ``connection`` counts the connections from 1."""

    connection: int
    raw: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def line(self) -> str:
        return self.raw.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        pairs = [line.partition(":") for line in lines]
        names = [name.lower() for name, _, _ in pairs]
        assert len(names) == len(set(names)), f"a header came twice: {names}"
        return {name.lower(): value.strip() for name, _, value in pairs}


class Conversation:
    """One connection, for a step that does more than send bytes."""

    def __init__(self, sock: socket.socket, server: ScriptedServer) -> None:
        self.sock = sock
        self.server = server

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        self.server.closing.wait(seconds)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        plain = self.sock.detach() if isinstance(self.sock, ssl.SSLSocket) else None
        sock = self.sock if plain is None else socket.socket(fileno=plain)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


# Bytes are sent and the connection stays open; a function may do anything, and returns False to close it.
Step = bytes | Callable[[Conversation], bool]


class ScriptedServer:
    """
    Answers each request with the next step; the last one is repeated.

    :param tls: speak TLS by this context; default plain.
    :param listening: whether connections are accepted from the start; until :meth:`listen` they are refused.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", *, listening: bool = True) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.closing = threading.Event()
        self._steps: list[Step] = []
        self._lock = threading.Lock()
        self._tls = tls
        self._open: set[socket.socket] = set()
        # Seconds before the next TLS handshake is answered, and how many are broken off first.
        self.handshake_delay = 0.0
        self.broken_handshakes = 0
        self._listener = socket.socket()
        self._listener.bind((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.host = host
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else host}:{self.port}"
        self._threads: list[threading.Thread] = []
        if listening:
            self.listen()

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener.listen(128)
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def script(self, *steps: Step) -> None:
        """Set the answers from now on."""
        self._steps = list(steps)

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    def close(self) -> None:
        self.closing.set()
        # A close alone does not wake up accept() in the other thread.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, number: int) -> None:
        self._open.add(sock)
        try:
            if self._tls:
                self.closing.wait(self.handshake_delay)
                if self.broken_handshakes:
                    self.broken_handshakes -= 1
                    return
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            conversation = Conversation(sock, self)
            while (raw := _read_request(sock)) is not None:
                with self._lock:
                    self.requests.append(Request(number, raw))
                    step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
                if isinstance(step, bytes):
                    sock.sendall(step)
                elif not step(conversation):
                    return
        except OSError:
            pass
        finally:
            self._open.discard(sock)
            sock.close()


def _read_request(sock: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    while len(body) < (int(length[1]) if length else 0):
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def reply(
    status: int, body: Any = b"", headers: dict[str, str] | None = None, *, own: bool = True, reason: str = "Words"
) -> bytes:
    """Build a whole answer; ``own`` adds what anyformat's own answers carry, a body that is no bytes becomes JSON."""
    fields: dict[str, str] = {"Date": DATE}
    if own:
        fields["X-API-Version"] = "2.0.0"
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        fields["Content-Type"] = "application/json"
    if status != 204:
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head: bytes = f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")
    return head + bytes(body)


def envelope(
    error_code: str, error: str = "Sentence.", detail: Any = None, request_id: str = "req_1"
) -> dict[str, Any]:
    """Build anyformat's error envelope."""
    return {
        "error": error,
        "detail": detail,
        "error_code": error_code,
        "retryable": False,
        "request_id": request_id,
    }


def hang_up(data: bytes = b"") -> Step:
    """Send ``data`` and close the connection."""

    def step(conversation: Conversation) -> bool:
        conversation.send(data)
        return False

    return step


def reset(data: bytes = b"") -> Step:
    """Send ``data`` and reset the connection."""

    def step(conversation: Conversation) -> bool:
        conversation.send(data)
        conversation.reset()
        return False

    return step


def silence(seconds: float, then: bytes = b"") -> Step:
    """Say nothing for a while."""

    def step(conversation: Conversation) -> bool:
        conversation.pause(seconds)
        conversation.send(then)
        return bool(then)

    return step


def drip(data: bytes, every: float) -> Step:
    """Send one byte at a time."""

    def step(conversation: Conversation) -> bool:
        for i in range(len(data)):
            if conversation.server.closing.is_set():
                return False
            conversation.send(data[i : i + 1])
            conversation.pause(every)
        return True

    return step


OK = reply(204)
NOT_FOUND = reply(404, envelope("NOT_FOUND", "Not found."))
GATEWAY_404 = reply(404, b"<html><body>404 page not found</body></html>", {"Content-Type": "text/html"}, own=False)
UNAVAILABLE = reply(503, envelope("INTERNAL_ERROR", "Down."))


def page(rows: list[Any], count: int, number: int = 1, page_size: int = 100) -> bytes:
    """Build one page of a listing."""
    return reply(200, {"count": count, "page": number, "page_size": page_size, "results": rows})


def row(collection_id: str, **fields: Any) -> dict[str, Any]:
    """Build one row of a listing."""
    return {
        "id": collection_id,
        "name": "a.pdf",
        "status": "processed",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:06Z",
        **fields,
    }
