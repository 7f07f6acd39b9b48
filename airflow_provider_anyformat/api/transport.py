"""
One HTTP exchange over ``requests``, with three things that it does not offer.

It tells whether the request may have left this machine, so that a failed delete can say whether it may have taken
effect. It bounds a whole answer in time and in bytes, where a ``requests`` time-out bounds the wait for each piece of
it: a server that sends a byte every few seconds would hold a worker for hours. And it notices bytes that follow an
answer, which the next request on the connection would take for its own.
"""

from __future__ import annotations

import http.client
import io
import math
import re
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar
from requests.exceptions import InvalidProxyURL
from urllib3.exceptions import HeaderParsingError, HTTPError
from urllib3.util.response import assert_header_parsing

from airflow_provider_anyformat.api.replies import Reply, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

# A whole answer may take this many times the time-out of a single wait.
WHOLE_ANSWER = 4
# A wait on the answer is cut into slices of this many seconds, at whose ends a stopped task is noticed.
_SLICE = 0.25
# Of a body that is only there to explain an error, this much is read.
ERROR_BYTES = 64 * 1024
# Status line, headers, interim answers and the marks between chunks may take this much on top of a body.
_AROUND_BODY = 1024 * 1024
_CHUNK = 64 * 1024
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
# urllib3 begins a sentence with the connection it is about, by its address in memory or by its parameters.
_CONNECTION = re.compile(r"^(<[^<>]* object at 0x[0-9a-f]+>|HTTPS?Connection\([^()]*\)): ")
# What a broken answer makes of requests, urllib3 and http.client; the last one of a negative chunk size.
_TROUBLE = (OSError, HTTPError, http.client.HTTPException, ValueError)


class Exchange:
    """
    What is known of the request under way on one session.

    :param timeout: seconds that a single wait on the answer may take.
    :param stop_at: returns the moment (``time.monotonic``) at which a wait has to end because the task was stopped, or
        ``None`` while it was not.
    """

    __slots__ = ("_bytes_left", "_deadline", "_stop_at", "_timeout", "sent", "surplus")

    def __init__(self, timeout: float, stop_at: Callable[[], float | None]) -> None:
        self._timeout = timeout
        self._stop_at = stop_at
        self.begin(0)

    def begin(self, limit: int) -> None:
        """Forget the request before; of this one's answer no more than a body of ``limit`` bytes will be taken."""
        self.sent = False
        # Whether bytes came after the end of the answer.
        self.surplus = False
        self._deadline = math.inf
        self._bytes_left = limit + _AROUND_BODY

    def request_leaves(self) -> None:
        """
        Note that from now on the server may act on the request.

        :raises ConnectionAbortedError: the task was stopped while the connection was being made, or its grace is over.
        """
        stop_at = self._stop_at()
        if stop_at is not None and (not self.sent or time.monotonic() > stop_at):
            raise ConnectionAbortedError("the task was told to stop")
        self.sent = True

    def answer_begins(self) -> None:
        """From now on the whole answer has to arrive in time."""
        self._deadline = time.monotonic() + WHOLE_ANSWER * self._timeout

    def receive(self, sock: Any, buffer: Any) -> int:
        """
        Wait for the next bytes of the answer, within all bounds.

        :raises TimeoutError: the wait, the whole answer or the stopped task's grace is over.
        :raises OSError: the answer is larger than any that is wanted.
        """
        if self._bytes_left <= 0:
            raise OSError("the answer is too long")
        try:
            count = self._receive(sock, buffer)
        finally:
            # A TLS handshake may follow on this socket: behind a proxy's answer to CONNECT.
            sock.settimeout(self._timeout)
        self._bytes_left -= count
        return count

    def _receive(self, sock: Any, buffer: Any) -> int:
        give_up = min(self._deadline, time.monotonic() + self._timeout)
        while True:
            now = time.monotonic()
            stop_at = self._stop_at()
            left = min(give_up, math.inf if stop_at is None else stop_at) - now
            if left <= 0:
                raise TimeoutError("the answer did not arrive in time")
            sock.settimeout(min(left, _SLICE))
            try:
                return int(sock.recv_into(buffer))
            except TimeoutError:
                continue


class _Stream(io.RawIOBase):
    """The answer's bytes; closes the socket's own file with itself, for that holds the socket open."""

    def __init__(self, sock: Any, file: Any, exchange: Exchange) -> None:
        self._sock = sock
        self._file = file
        self.exchange = exchange
        # Whether the answer was read to its end, and whether the server closed the connection.
        self.at_end = self.at_eof = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.at_end:
            return None
        count = self.exchange.receive(self._sock, buffer)
        self.at_eof = not count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Reader(io.BufferedReader):
    """Notes at the end of an answer whether more was received with it, which would be lost without a word."""

    raw: _Stream

    def close(self) -> None:
        self.raw.at_end = True
        if self.peek(1):
            self.raw.exchange.surplus = True
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        exchange.answer_begins()
        self._stream = _Stream(sock, self.fp, exchange)
        self.fp = _Reader(self._stream)

    def begin(self) -> None:
        super().begin()
        if self._stream.at_eof:
            # http.client takes this for their end.
            raise http.client.HTTPException("it broke off in the headers")
        try:
            assert_header_parsing(self.msg)
        except HeaderParsingError:
            # urllib3 would log the line and go on without the headers below it, the body's length among them.
            raise http.client.HTTPException("its headers cannot be read") from None


class _NotesSending:
    """Mixed into urllib3's connections: notes on the exchange when the request itself starts to leave."""

    exchange: Exchange
    sock: Any
    _connecting = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = partial(_Response, exchange=self.exchange)

    def connect(self) -> None:
        # A proxy's CONNECT goes through send() too, and is not the request.
        self._connecting = True
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self._connecting = False

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._connecting:
            self.exchange.request_leaves()
        super().send(data)  # type: ignore[misc]


class ExchangeAdapter(HTTPAdapter):
    """
    A ``requests`` adapter whose connections report to one exchange. It never retries: the client does.

    :param exchange: what the connections report to; one session, one thread.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection_with_tls_context(*args, **kwargs)
        except TypeError:
            # As of http://user:password@, of which requests cannot make a text.
            raise InvalidProxyURL("the proxy in the environment, such as HTTPS_PROXY, has no host") from None

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        # Derived from the manager's own classes, for those of a SOCKS proxy are others.
        members = {"exchange": self._exchange}
        pools = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = type("Connection", (_NotesSending, pool.ConnectionCls), members)
            pools[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools


class BearerAuth(AuthBase):
    """An auth object, because ``requests`` lets a netrc entry replace a plain ``Authorization`` header."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def __repr__(self) -> str:
        return "<bearer token, not shown>"


class NoAuth(BearerAuth):
    """Sends no key, and knows it only to strike it out; an auth object, because netrc would put another one there."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _NoCookies(RequestsCookieJar):
    """The API has no use for cookies; a gateway's would tie all later calls to one of its machines."""

    def set_cookie(self, *_: Any, **__: Any) -> None:
        return None


class Session(requests.Session):
    """
    The session of one thread.

    :param auth: puts the key on each request.
    :param user_agent: value of the ``User-Agent`` header.
    :param base_url: where all its requests go.
    :param timeout: seconds for connecting and for each wait on the answer.
    :param stop_at: see :class:`Exchange`.
    """

    def __init__(
        self,
        auth: BearerAuth,
        user_agent: str,
        base_url: str,
        timeout: float,
        stop_at: Callable[[], float | None],
    ) -> None:
        super().__init__()
        self._timeout = timeout
        self._bearer = auth
        self._exchange = Exchange(timeout, stop_at)
        adapter = ExchangeAdapter(self._exchange)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.auth = auth
        self.cookies = _NoCookies()
        # Only what is decoded below, within bounds, is asked for.
        self.headers.update({"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "gzip"})
        # Plain http is for loopback alone; an http_proxy of the environment would carry the key off this machine.
        self.trust_env = not base_url.startswith("http://")

    @property
    def sent(self) -> bool:
        """Whether the last request may have left this machine."""
        return self._exchange.sent

    def exchange(
        self,
        method: str,
        url: str,
        *,
        expected: Container[int],
        limit: int,
        params: dict[str, int | str] | None = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[Reply | None, str]:
        """
        Send one request and read its answer.

        :param expected: the statuses whose body is wanted whole.
        :param limit: bytes of that body; of any other, 64 kB are read.
        :return: the reply, or ``None`` and what went wrong. Nothing is raised: an exception of ``requests`` would carry
            the request and with it the key along, also behind another one.
        """
        self._exchange.begin(max(limit, ERROR_BYTES))
        try:
            with self.request(
                method,
                url,
                params=params,
                # In pieces, each with a time-out of its own: sendall() has one for the whole.
                data=None if data is None else io.BytesIO(data),
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                status, received = response.status_code, response.headers
                body, cut = _read_body(response.raw, status, received, limit if status in expected else ERROR_BYTES)
            return Reply(status, received, body, cut, self._exchange.surplus), ""
        except _TROUBLE as error:
            return None, self._describe(error)

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Know of none: ``requests`` would read the whole body and prepare the next request, even if told not to."""
        return

    def _describe(self, error: BaseException) -> str:
        root: BaseException = error
        while True:
            candidates = (getattr(root, "reason", None), *root.args)
            inner = next((arg for arg in candidates if isinstance(arg, Exception) and arg is not root), None)
            if inner is None:
                break
            root = inner
        text = _CONNECTION.sub("", _CREDENTIALS.sub("//***@", str(root)))
        return clean(f"{type(root).__name__}: {text}", self._bearer.token, 300)


def _read_body(raw: Any, status: int, headers: Mapping[str, str], cap: int) -> tuple[bytes, bool]:
    """Read up to ``cap`` bytes; the second value says whether there was more, or the body broke off."""
    if status < 200 or (status in (204, 304) and "Transfer-Encoding" in headers):
        return b"", False
    body = bytearray()
    whole = False
    try:
        while len(body) <= cap:
            # Also of an answer without a body, for reading to its end is what gives the connection back.
            chunk = raw.read(min(_CHUNK, cap + 1 - len(body)), decode_content=False)
            body += chunk
            # urllib3 before 2.0 takes a body that broke off for a whole one.
            whole = not chunk and not raw.length_remaining
            if not chunk:
                break
    except _TROUBLE:
        pass
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if body and encoding not in ("", "identity"):
        return _unzip(body, cap, whole) if encoding in ("gzip", "x-gzip") else (b"", True)
    del body[cap:]
    return bytes(body), not whole


def _unzip(body: bytearray, cap: int, whole: bool) -> tuple[bytes, bool]:
    """Decode with a bound of our own: 64 kB of gzip may stand for 64 MB, and not every urllib3 has one."""
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = unzip.decompress(body, cap + 1)
    except zlib.error:
        return b"", True
    return plain[:cap], len(plain) > cap or not (whole and unzip.eof)
