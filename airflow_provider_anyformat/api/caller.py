"""How a request is sent: pacing, retries, stopping, and a session for each thread."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL, check_api_key, check_base_url, is_loopback
from airflow_provider_anyformat.api.calls import Call, Submit
from airflow_provider_anyformat.api.quota import RateLimiter
from airflow_provider_anyformat.api.replies import (
    Reply,
    error_from_reply,
    is_impossible,
    read_http_date,
    repeats,
)
from airflow_provider_anyformat.api.transport import ERROR_BYTES, BearerAuth, NoAuth, Session
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatListingError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatTooLongError,
    AnyformatValueError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from datetime import datetime

    from tenacity import Future, RetryAction

T = TypeVar("T")

log = logging.getLogger(__name__)

LISTING_BYTES = 32 * 1024 * 1024
RESULT_BYTES = 256 * 1024 * 1024
USER_AGENT = f"airflow-provider-anyformat/{__version__}"


class Caller:
    """
    Sends requests: tries again what may succeed later, and never follows a redirect.

    Threads may share it; each gets a session of its own.

    :param api_key: the API key.
    :param base_url: ``scheme://host[:port]`` of the server; default the real service. ``http`` only to loopback.
    :param timeout: seconds for connecting and for each wait on the answer; a whole answer may take four times that.
        Default 30.
    :param max_attempts: tries of one call, the first included. Default 5.
    :param backoff: seconds before the second try; doubles from try to try, with full jitter. Default 1.
    :param max_backoff: seconds, the longest wait after an error; a longer ``Retry-After`` ends the call. Default 120.
    :raises AnyformatValueError: the key or the URL cannot be used; nothing was sent.
    """

    # A call that waits for a shared rate limit fails at last after this many seconds of nothing but 429.
    PATIENCE = 600.0

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        timeout: float = 30.0,
        max_attempts: int = 5,
        backoff: float = 1.0,
        max_backoff: float = 120.0,
    ) -> None:
        self._auth = BearerAuth(check_api_key(api_key))
        self.base_url = check_base_url(base_url)
        for name, value in (("timeout", timeout), ("backoff", backoff), ("max_backoff", max_backoff)):
            if type(value) not in (int, float) or not 0 < value < threading.TIMEOUT_MAX:
                raise AnyformatValueError(
                    f"{name}: {shown(value)} is not a number of seconds above zero; give one, or leave it out"
                )
        if type(max_attempts) is not int or max_attempts < 1:
            raise AnyformatValueError(
                f"max_attempts: {shown(max_attempts)} is not a number of tries; give 1 or more, or leave it out"
            )
        self.timeout = timeout
        self.max_attempts = max_attempts
        self.backoff = backoff
        self.max_backoff = max_backoff
        self._limiter: RateLimiter | None = None
        # Submits are counted apart, in a tier that is so small that every client keeps to it.
        self._submit_limiter = RateLimiter(0.0, max_backoff)
        self._stop_at: float | None = None
        self._local = threading.local()
        self._sessions: list[Session] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def paced(self, quota_reserve: float = 0.1) -> Self:
        """
        Keep to the server's rate limit from now on, all threads together; a 429 then costs no attempt.

        :param quota_reserve: share of each rate-limit window that is left to the key's other users, 0 to 0.9. Default
            0.1.
        :return: this client.
        """
        return self.limited_by(RateLimiter(quota_reserve, self.max_backoff))

    def limited_by(self, limiter: RateLimiter) -> Self:
        """Share a rate limiter with others; return this client."""
        self._limiter = limiter
        return self

    def stop(self, grace: float = 2.0) -> None:
        """
        Send nothing more, end every wait now, and every answer under way after ``grace`` seconds.

        It only sets a value, so that a signal handler may call it.
        """
        if self._stop_at is None:
            self._stop_at = time.monotonic() + grace

    def stop_at(self) -> float | None:
        """Return the moment (``time.monotonic``) that :meth:`stop` set, or ``None``."""
        return self._stop_at

    def check_stopped(self, doing: str) -> None:
        """
        Raise if the task was told to stop.

        :param doing: the work that is given up, as the message names it.
        :raises AnyformatStoppedError: it was.
        """
        if self._stop_at is not None:
            raise AnyformatStoppedError(f"{doing}: given up, because the task was told to stop")

    def close(self) -> None:
        """Close every thread's connection."""
        self._local = threading.local()
        while self._sessions:
            self._sessions.pop().close()

    @property
    def secret(self) -> str:
        """The API key, to be struck out of what the server says."""
        return self._auth.token

    def call(self, call: Call, method: str, path: str, **kwargs: Any) -> Reply:
        """
        Send a request until it succeeds or may not be repeated.

        :param path: of the URL, with its ``/`` at both ends; ids in it were checked.
        :param kwargs: see :meth:`_attempt`.
        :return: the reply, whose status is one of the expected ones.
        """
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, AnyformatError) and call.may_repeat(error)),
            stop=lambda state: self._gives_up(call, state),
            wait=lambda state: self._wait(call, state),
            before_sleep=lambda state: log.info(
                "%s: %s; trying again in %.1f s",
                call.name,
                str(_error_of(state)).partition("\n")[0],
                cast("RetryAction", state.next_action).sleep,
            ),
            sleep=lambda seconds: self.sleep(seconds, call.name),
            reraise=True,
        )
        try:
            reply: Reply = retrying(self._attempt, call, method, f"{self.base_url}{path}", **kwargs)
        except AnyformatError as error:
            self._finish(call, error)
            raise
        return reply

    def _finish(self, call: Call, error: AnyformatError) -> None:
        """Write into an error what its call went through."""
        error.attempts = call.attempts
        error.fate_unknown = call.fate_unknown or error.fate_unknown
        notes = f" [{call.attempts} tries]" if call.attempts > 1 else ""
        if error.status_code is not None and self._is_too_long(error.retry_after):
            notes += (
                f"; the server asked for a wait of {error.retry_after:.0f} s, longer than max_backoff"
                f" ({self.max_backoff:g} s): try again later"
            )
        error.args = (f"{call.name}: {error.args[0]}{notes}",)

    def refusal(self, call: Call, reply: Reply, kind: type[AnyformatError] | None = None) -> AnyformatError:
        """Return the error for an expected reply that is not a success; ``kind`` replaces the class of its status."""
        error = error_from_reply(reply, secret=self.secret, kind=kind, of_workflow=call.of_workflow)
        self._finish(call, error)
        return error

    def json_object(self, call: Call, reply: Reply) -> dict[str, Any]:
        """
        Return the reply's JSON object.

        :raises AnyformatClientError: it has none.
        """
        body = reply.json_object()
        if body is None:
            raise AnyformatClientError(
                f"{call.name}: HTTP {reply.status}: the answer is not a JSON object",
                status_code=reply.status,
                attempts=call.attempts,
            )
        return body

    def page(
        self,
        call: Call,
        path: str,
        params: dict[str, int | str],
        read: Callable[[dict[str, Any], datetime | None], T],
        *,
        first: bool,
    ) -> T:
        """
        Ask for a page of a listing.

        :param read: makes the page out of the answer's JSON object and ``Date``.
        :param first: whether it is the first page; another one that is not there means that rows went away.
        :raises AnyformatListingError: the page cannot be used.
        """
        try:
            reply = self.call(call, "GET", path, expected={200}, limit=LISTING_BYTES, params=params)
            return read(reply.json_object() or {}, read_http_date(reply.headers.get("Date", "")))
        except AnyformatNotFoundError as error:
            if first:
                raise
            words, status = f"{error}\nrows went away while the listing was read", 404
        except AnyformatListingError as error:
            words, status = f"{call.name}: HTTP 200: {error}", 200
            if repeats(reply.body.decode("utf-8", "replace"), self.secret):
                words = f"{call.name}: HTTP 200: it cannot be used, and is not shown, because it repeats the API key"
        raise AnyformatListingError(words, status_code=status, attempts=call.attempts)

    def fetch(self, call: Call, url: str, limit: int) -> bytes:
        """
        Get what a presigned URL leads to, without the key; the URL is a secret itself, and is not shown.

        :param limit: bytes that it may have.
        :raises AnyformatTooLongError: it has more.
        :raises AnyformatServerError: it cannot be had; a later call gets another URL.
        """
        host = urlsplit(url)
        if host.scheme != "https" and not (host.scheme == "http" and is_loopback(host.hostname or "")):
            raise AnyformatServerError(f"{call.name}: the results_url is not an https URL", status_code=200)
        origin = f"{host.scheme}://{host.netloc}"
        session = Session(NoAuth(self.secret), USER_AGENT, origin, self.timeout, self.stop_at)
        try:
            reply, _ = session.exchange("GET", url, params=None, expected={200}, limit=limit)
        finally:
            session.close()
        self.check_stopped(call.name)
        if reply is not None and reply.cut and len(reply.body) >= limit:
            raise AnyformatTooLongError(f"{call.name}: what the results_url leads to is longer than {limit} bytes")
        if reply is None or reply.status != 200 or reply.cut or reply.surplus:
            why = "no readable answer" if reply is None else f"HTTP {reply.status}, or an answer that broke off"
            raise AnyformatServerError(f"{call.name}: the results_url led to {why}")
        return reply.body

    def _is_too_long(self, wait: float | None) -> bool:
        return wait is not None and wait > self.max_backoff

    def _gives_up(self, call: Call, state: RetryCallState) -> bool:
        error = _error_of(state)
        if self._stop_at is not None or call.tries == 1 or self._is_too_long(error.retry_after):
            return True
        if isinstance(error, AnyformatRateLimitError) and self._limiter_of(call) is not None:
            call.free_until = call.free_until or time.monotonic() + self.PATIENCE
            if time.monotonic() < call.free_until:
                return False
        call.spent += 1
        return call.spent >= (call.tries or self.max_attempts)

    def _limiter_of(self, call: Call) -> RateLimiter | None:
        return self._submit_limiter if isinstance(call, Submit) else self._limiter

    def _wait(self, call: Call, state: RetryCallState) -> float:
        told = _error_of(state).retry_after
        # Jitter need not be secret. "Retry-After: 0" does not mean "at once": back off as if the header were missing.
        if told:
            seconds = told + random.uniform(0.0, min(1.0, 0.1 * told))  # noqa: S311
        else:
            longest = min(self.max_backoff, self.backoff * 2.0 ** min(call.attempts - 1, 60))
            seconds = random.uniform(0.0, longest)  # noqa: S311
        return seconds

    def sleep(self, seconds: float, purpose: str = "waiting") -> None:
        """
        Sleep, but no longer than until the task is stopped.

        :raises AnyformatStoppedError: it was.
        """
        end = time.monotonic() + seconds
        self.check_stopped(purpose)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self.check_stopped(purpose)

    def _attempt(
        self,
        call: Call,
        method: str,
        url: str,
        *,
        expected: Container[int],
        limit: int = ERROR_BYTES,
        whole: bool = True,
        **request: Any,
    ) -> Reply:
        """
        Send the request once.

        :param expected: the statuses that are an answer to this call.
        :param limit: bytes of the body of an expected answer; a longer one is an error.
        :param whole: whether the body is wanted whole; else its beginning will do.
        :param request: ``params``, ``data`` and ``headers``.
        """
        limiter, permit = self._limiter_of(call), call.permit or 0.0
        if limiter is not None and call.permit is None:
            permit = limiter.acquire(lambda seconds: self.sleep(seconds, "waiting for the rate limit"))
        reply = None
        try:
            self.check_stopped("sending the next request")
            call.attempts += 1
            session = self._session()
            reply, trouble = session.exchange(method, url, expected=expected, limit=limit, **request)
        finally:
            if limiter is not None:
                limiter.release(permit, reply)
        if reply is None:
            error: AnyformatError | None = self._no_answer(session, trouble)
        else:
            error = self._judge(call, reply, reply.status in expected, limit, whole=whole)
        if reply is None or reply.cut or reply.surplus or (error and error.fate_unknown):
            # The next call on this connection might read the rest of this one's answer.
            self._drop(session)
        if error:
            call.fate_unknown = call.fate_unknown or error.fate_unknown
            raise error
        return cast("Reply", reply)

    def _no_answer(self, session: Session, trouble: str) -> AnyformatError:
        if self._stop_at is not None:
            return AnyformatStoppedError("no answer before the task was told to stop", fate_unknown=session.sent)
        kind = "readable answer" if session.sent else "answer"
        return AnyformatConnectionError(f"no {kind} ({trouble})", fate_unknown=session.sent)

    def _judge(self, call: Call, reply: Reply, wanted: bool, limit: int, *, whole: bool) -> AnyformatError | None:
        if wanted and whole and reply.cut and len(reply.body) >= limit:
            return AnyformatTooLongError(
                f"HTTP {reply.status}: the answer is longer than {limit} bytes", status_code=reply.status
            )
        if is_impossible(reply) or (wanted and whole and reply.cut):
            return AnyformatServerError(
                f"HTTP {reply.status}: an answer that HTTP does not allow, or that broke off",
                status_code=reply.status,
                fate_unknown=True,
                server_date=reply.server_date,
            )
        return None if wanted else error_from_reply(reply, secret=self.secret, of_workflow=call.of_workflow)

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self._auth, USER_AGENT, self.base_url, self.timeout, self.stop_at)
            self._sessions.append(session)
        return session

    def _drop(self, session: Session) -> None:
        self._local.session = None
        session.close()
        if session in self._sessions:
            self._sessions.remove(session)


def _error_of(state: RetryCallState) -> AnyformatError:
    """Return what the try raised; nothing else is tried again."""
    return cast("AnyformatError", cast("Future", state.outcome).exception())
