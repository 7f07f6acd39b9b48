"""What every request passes on its way to a route: the log, the latency, faults, the key, the slash, the rate limit."""

from __future__ import annotations

import time
from email.utils import format_datetime
from typing import TYPE_CHECKING

from airflow_provider_anyformat.sandbox.answers import Answer, envelope
from airflow_provider_anyformat.sandbox.limits import RateLimit
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from airflow_provider_anyformat.sandbox.wire import Connections, Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_anyformat.sandbox.faults import Fault, FaultBook
    from airflow_provider_anyformat.sandbox.state import State

CONTROL = "/_sandbox/"
_NOTED = frozenset({b"authorization", b"user-agent", b"cookie", b"content-type", b"accept", b"host"})


class Gate:
    """
    The ASGI application around the routes.

    :param app: the routes.
    :param state: for the key, the log and the settings.
    :param faults: asked for each request.
    :param connections: for faults that no ASGI application can send.
    """

    def __init__(self, app: ASGIApp, state: State, faults: FaultBook, connections: Connections) -> None:
        self._app = app
        self._state = state
        self._faults = faults
        self._connections = connections
        self._limit = RateLimit(state.settings)

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
        fault = self._faults.pick(record.method, record.path)
        noting = _noting(receive, record)
        if fault is None:
            await self._serve(scope, noting, send, record)
        else:
            await self._spoil(fault, scope, noting, send, record)

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        record.fault = fault.kind
        answer = Answer(204)
        if fault.applied:
            kept = _Keeper()
            await self._serve(scope, receive, kept, record)
            answer = kept.answer
        if fault.status is not None:
            answer = fault.written(fault.status)
            answer.merge(self._stamp(ours=not fault.html))
        answer.merge(fault.headers)
        await Exchange(scope, receive, send, self._connections, record).play(fault, answer)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        refusal, headers = self._refusal(scope, record)
        if refusal is not None:
            record.status = refusal.status
            refusal.merge(self._stamp(headers))
            await refusal.send(send)
            return

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                extra = self._stamp(headers if message["status"] < 400 else ())
                message["headers"] = [*message["headers"], *((n.lower().encode(), v.encode()) for n, v in extra)]
            await send(message)

        await self._app(scope, receive, stamped)

    def _refusal(self, scope: Scope, record: RequestRecord) -> tuple[Answer | None, Iterable[tuple[str, str]]]:
        """Return the answer that keeps a request from its route, if any, and the headers of the rate limit."""
        path: str = scope["path"]
        if not path.startswith("/v2/"):
            return None, ()
        scheme, _, key = record.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            return envelope(403, "Authentication credentials were not provided."), ()
        if not self._state.key_is_valid(key):
            return envelope(401), ()
        if not path.endswith("/"):
            query = f"?{record.query}" if record.query else ""
            return Answer(301, [("Location", f"{record.path}/{query}"), ("Content-Length", "0")]), ()
        scope_missing = self._state.denied_scopes.get(record.method)
        if scope_missing is not None:
            message = f"The API key lacks the scope {scope_missing}."
            return envelope(403, message, error_code="insufficient_api_key_scope"), ()
        passes, headers = self._limit.take(key, record.method, path)
        return (None if passes else envelope(429)), headers.items()

    def _stamp(self, headers: Iterable[tuple[str, str]] = (), *, ours: bool = True) -> list[tuple[str, str]]:
        date = format_datetime(self._state.now(), usegmt=True)
        return [("Date", date), *([("X-API-Version", "2")] if ours else ()), *headers]


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


def _noting(receive: Receive, record: RequestRecord) -> Receive:
    read = 0

    async def noting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        record.body_length = max(record.body_length, read)
        return message

    return noting
