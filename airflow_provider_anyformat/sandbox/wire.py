"""
How a faulty answer goes over the wire.

An ASGI application cannot reset a connection or send what is not HTTP. The transport of the connection that a request
came on can; the server's protocol class notes it, and a fault writes to it past the server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_anyformat.sandbox.answers import Answer, envelope
from airflow_provider_anyformat.sandbox.faults import Fault, as_bytes

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from airflow_provider_anyformat.sandbox.settings import RequestRecord

_CHUNK = 1 << 20
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
_GARBAGE = b"\x16\x03\x01\x02\x00 this is not HTTP \xff\xfe\r\n\r\n"
_STRAY_BODY = b'{"message":"deleted"}'
_DRIPPING = ("drip_head", "drip_body")
# A 204 has no body to spoil, and becomes a 500.
_NEED_A_BODY = ("drip_body", "truncated")
_WITHOUT_STATUS = ("reset", "close", "garbage")
# Linger for no time at all: closing then sends RST and not FIN.
_RESET = struct.pack("ii", 1, 0)

# The client's address and port; None for one that had gone before it could be asked.
Peer = tuple[str, int] | None


class Connections:
    """The open connections of a sandbox, by the client's address and port. Used by the server's thread alone."""

    def __init__(self) -> None:
        self._transports: dict[Peer, asyncio.Transport] = {}
        self._alarms: set[asyncio.Future[None]] = set()
        self._closed = False

    def protocol(self) -> type[asyncio.Protocol]:
        """Return a protocol class for uvicorn that notes its transports here."""
        transports = self._transports

        class NotedProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                # The setting of this name is undone by whoever configures logging after it, as Airflow does.
                self.access_log = False
                transports[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                transports.pop(self.client, None)

        return NotedProtocol

    def of(self, scope: Scope) -> asyncio.Transport | None:
        """Return the transport a request came on; ``None`` where the client has gone."""
        return self._transports.get(scope["client"])

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the server's end."""
        if seconds <= 0 or self._closed:
            return
        loop = asyncio.get_running_loop()
        alarm = loop.create_future()
        self._alarms.add(alarm)
        timer = loop.call_later(seconds, _ring, alarm)
        try:
            await alarm
        finally:
            timer.cancel()
            self._alarms.discard(alarm)

    def close(self) -> None:
        """End all pauses and drop all connections."""
        self._closed = True
        for alarm in self._alarms:
            _ring(alarm)
        for transport in list(self._transports.values()):
            transport.abort()


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)


class Exchange:
    """
    One request whose answer goes wrong.

    :param scope: of ASGI, as are ``receive`` and ``send``.
    :param connections: where the transport is found.
    :param record: told the status before it goes out: a client may look as soon as it has it.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, connections: Connections, record: RequestRecord
    ) -> None:
        self._record = record
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connections = connections

    async def play(self, fault: Fault, answer: Answer) -> None:
        """
        Send ``answer`` in the manner of ``fault``.

        :param fault: tells the manner.
        :param answer: the answer that a server without faults would send.
        """
        self._record.status = None
        if fault.manner in _NEED_A_BODY and not answer.body:
            failure = envelope(500)
            answer = Answer(500, [*answer.headers, *failure.headers], failure.body)
        if fault.manner not in _DRIPPING:
            await self._connections.pause(fault.delay)
        if fault.manner not in _WITHOUT_STATUS:
            self._record.status = answer.status
        await _MANNERS[fault.manner](self, fault, answer)

    async def plain(self, _: Fault, answer: Answer) -> None:
        """Send it as it is, past the server where the server knows no such status."""
        if answer.status < 200:
            answer.merge([("Connection", "close")])
            await self._raw(answer.head(), answer.body)
        else:
            await answer.send(self._send)

    async def reset(self, _: Fault, __: Answer) -> None:
        """Reset the connection."""
        transport = self._connections.of(self._scope)
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await self._hang_up()

    async def close(self, _: Fault, __: Answer) -> None:
        """Close the connection without a word."""
        await self._hang_up()

    async def drip_head(self, fault: Fault, answer: Answer) -> None:
        """Send the status line and the headers byte by byte."""
        answer.merge([("Connection", "close")])
        await self._drip(answer.head(), fault.delay)
        await self._raw(answer.body)

    async def drip_body(self, fault: Fault, answer: Answer) -> None:
        """Send status and headers at once and the body byte by byte."""
        answer.merge([("Connection", "close"), ("Content-Length", str(len(answer.body)))])
        self._write(answer.head())
        await self._drip(answer.body, fault.delay)
        await self._raw()

    async def truncated(self, _: Fault, answer: Answer) -> None:
        """Promise the whole body and send half of it."""
        answer.merge([("Connection", "close"), ("Content-Length", str(len(answer.body)))])
        await self._raw(answer.head(), answer.body[: len(answer.body) // 2])

    async def huge(self, fault: Fault, answer: Answer) -> None:
        """Stream a body of ``size`` bytes, as long as the client reads it."""
        answer.merge([("Content-Length", str(fault.size))])
        await self._send(answer.start())
        left = fault.size
        while left > 0 and self._connections.of(self._scope) is not None:
            part = min(left, _CHUNK)
            left -= part
            await self._send({"type": "http.response.body", "body": b"x" * part, "more_body": left > 0})

    async def early_hints(self, _: Fault, answer: Answer) -> None:
        """Send 103 Early Hints, and then the answer on the same connection."""
        self._write(_HINTS)
        await answer.send(self._send)

    async def stray_body(self, fault: Fault, answer: Answer) -> None:
        """Send the answer and bytes behind it that do not belong to it, as where a 204 has a body."""
        await self._send(answer.start())
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": True})
        # Before the server knows that the answer is complete: it may then close the connection.
        self._write(_STRAY_BODY if fault.body is None else as_bytes(fault.body))
        await self._send({"type": "http.response.body"})

    async def garbage(self, fault: Fault, _: Answer) -> None:
        """Send what is not HTTP, or the bytes of ``body`` as they are, and close."""
        await self._raw(_GARBAGE if fault.body is None else as_bytes(fault.body))

    def _write(self, data: bytes) -> None:
        transport = self._connections.of(self._scope)
        if transport is not None:
            transport.write(data)

    async def _raw(self, *parts: bytes) -> None:
        for part in parts:
            self._write(part)
        transport = self._connections.of(self._scope)
        if transport is not None:
            transport.close()
        await self._gone()

    async def _drip(self, data: bytes, delay: float) -> None:
        for at in range(len(data)):
            if self._connections.of(self._scope) is None:
                return
            self._write(data[at : at + 1])
            await self._connections.pause(delay)

    async def _hang_up(self) -> None:
        transport = self._connections.of(self._scope)
        if transport is not None:
            transport.abort()
        await self._gone()

    async def _gone(self) -> None:
        # uvicorn treats a request without an answer as an error of its own unless it knows that the client has gone.
        while (await self._receive())["type"] != "http.disconnect":
            pass


_Manner = Callable[[Exchange, Fault, Answer], Awaitable[None]]
_MANNERS: dict[str, _Manner] = {
    "plain": Exchange.plain,
    "reset": Exchange.reset,
    "close": Exchange.close,
    "drip_head": Exchange.drip_head,
    "drip_body": Exchange.drip_body,
    "truncated": Exchange.truncated,
    "huge": Exchange.huge,
    "early_hints": Exchange.early_hints,
    "stray_body": Exchange.stray_body,
    "garbage": Exchange.garbage,
}
