"""ASGI middleware that checks the key, the trailing slash, the scope and the rate limit, in this order."""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING

from airflow_provider_anyformat.sandbox.answers import Answer, envelope
from airflow_provider_anyformat.sandbox.limits import RateLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_anyformat.sandbox.state import State

_API = ("/v2/", "/v3/")
#: Results that are fetched by their URL come from a storage, which is not anyformat's API.
PRESIGNED = "/presigned/"


class Access:
    """
    The ASGI application around the routes.

    :param app: the routes.
    :param state: for the keys and the settings.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state
        self._limit = RateLimit(state.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["sandbox"] = self._state
        refusal, headers = self._look(scope)

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = headers if refusal is not None or message["status"] < 400 else ()
                extra = [*stamp(self._state, scope["path"]), *told]
                message["headers"] = [*message["headers"], *((n.lower().encode(), v.encode()) for n, v in extra)]
            await send(message)

        if refusal is not None:
            await refusal.send(stamped)
        else:
            await self._app(scope, receive, stamped)

    def _look(self, scope: Scope) -> tuple[Answer | None, Iterable[tuple[str, str]]]:
        """Return the answer that keeps a request from its route, if any, and the headers of the rate limit."""
        path: str = scope["path"]
        if not path.startswith(_API):
            return None, ()
        method: str = scope["method"]
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.decode("latin-1").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            return envelope(403, "Authentication credentials were not provided."), ()
        if not self._state.key_is_valid(key):
            return envelope(401), ()
        if not path.endswith("/"):
            query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
            location = f"{scope['raw_path'].decode('latin-1')}/{query}"
            return Answer(301, [("Location", location), ("Content-Length", "0")]), ()
        scope_missing = self._state.denied_scopes.get(method)
        if scope_missing is not None:
            message = f"The API key lacks the scope {scope_missing}."
            return envelope(403, message, error_code="insufficient_api_key_scope"), ()
        passes, headers = self._limit.take(key, method, path)
        return (None if passes else envelope(429)), headers.items()


def stamp(state: State, path: str, *, ours: bool = True) -> list[tuple[str, str]]:
    """
    Return the headers that every answer carries.

    :param ours: whether it is anyformat's own answer and no gateway's.
    """
    date = ("Date", format_datetime(state.now(), usegmt=True))
    if not ours or path.startswith(PRESIGNED):
        return [date]
    return [date, ("X-API-Version", "3" if path.startswith("/v3/") else "2")]
