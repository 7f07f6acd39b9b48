"""The outermost ASGI middleware: it logs a request, adds the latency and plays the faults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_anyformat.sandbox.access import stamp
from airflow_provider_anyformat.sandbox.answers import Answer
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from airflow_provider_anyformat.sandbox.wire import Connections, Exchange

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_anyformat.sandbox.faults import Fault
    from airflow_provider_anyformat.sandbox.state import State

CONTROL = "/_sandbox/"
_NOTED = frozenset(
    {b"authorization", b"user-agent", b"cookie", b"content-type", b"accept", b"host", b"idempotency-key"}
)


class Gate:
    """
    The ASGI application around all others.

    :param app: serves a request that does not go wrong.
    :param state: for the log, the settings and the faults.
    :param connections: for faults that no ASGI application can send.
    """

    def __init__(self, app: ASGIApp, state: State, connections: Connections) -> None:
        self._app = app
        self._state = state
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        record = _record(scope)
        settings = self._state.settings
        self._state.log.append(record)
        for look in settings.on_request:
            look(record)
        await self._connections.pause(settings.latency)
        fault = self._state.faults.pick(record.method, record.path)
        noting = _noting(receive, record)
        if fault is None:
            await self._app(scope, noting, _telling(send, record))
        else:
            await self._spoil(fault, scope, noting, send, record)

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        record.fault = fault.kind
        answer = Answer(204)
        if fault.applied:
            kept = _Keeper()
            await self._app(scope, receive, kept)
            answer = kept.answer
        if fault.status is not None:
            answer = fault.written(fault.status)
            answer.merge(stamp(self._state, scope["path"], ours=not fault.html))
        answer.merge(fault.shown_headers)
        await Exchange(scope, receive, send, self._connections, record).play(fault, answer)


class _Keeper:
    """Takes the place of ``send`` and keeps the answer."""

    def __init__(self) -> None:
        self.answer = Answer(500)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            self.answer = Answer(message["status"], headers)
        else:
            self.answer.body += message.get("body", b"")


def _record(scope: Scope) -> RequestRecord:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _NOTED}
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return RequestRecord(
        scope["method"],
        scope["raw_path"].decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        headers,
        int(length) if length.isdigit() else 0,
        time.time(),
        scope["client"][1] if scope["client"] else 0,
    )


def _telling(send: Send, record: RequestRecord) -> Send:
    async def telling(message: Message) -> None:
        # Before the status goes out: a client may look as soon as it has it.
        if message["type"] == "http.response.start":
            record.status = message["status"]
        await send(message)

    return telling


def _noting(receive: Receive, record: RequestRecord) -> Receive:
    read = 0

    async def noting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        record.body_length = max(record.body_length, read)
        return message

    return noting
