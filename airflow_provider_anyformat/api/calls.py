"""One call through all its attempts: pacing, retries, stopping, and a session for each thread."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from tenacity import RetryCallState, Retrying, retry_if_exception

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL, check_api_key, check_base_url
from airflow_provider_anyformat.api.models import shown
from airflow_provider_anyformat.api.quota import RateLimiter
from airflow_provider_anyformat.api.replies import Reply, error_from_reply, is_impossible
from airflow_provider_anyformat.api.transport import ERROR_BYTES, BearerAuth, Session
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatValueError,
)

if TYPE_CHECKING:
    from tenacity import Future, RetryAction

log = logging.getLogger(__name__)

USER_AGENT = f"airflow-provider-anyformat/{__version__}"


class Call:
    """One call through all its tries."""

    __slots__ = ("attempts", "fate_unknown", "free_until", "name", "spent")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts = 0
        # How many of max_attempts are used up; a paced call does not pay for a 429.
        self.spent = 0
        self.fate_unknown = False
        self.free_until = 0.0


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
        # TODO: private when the operators call paced().
        self.gate: RateLimiter | None = None
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
        self.gate = RateLimiter(quota_reserve, self.max_backoff)
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

        :param doing: what is given up then, for the message.
        :raises AnyformatStoppedError: it was.
        """
        if self._stop_at is not None:
            raise AnyformatStoppedError(f"{doing}: given up, because the task was told to stop")

    def close(self) -> None:
        """Close every thread's connection."""
        self._local = threading.local()
        while self._sessions:
            self._sessions.pop().close()

    def call(self, call: Call, method: str, url: str, **kwargs: Any) -> Reply:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, AnyformatError) and error.retryable),
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
            reply: Reply = retrying(self._attempt, call, method, url, **kwargs)
        except AnyformatError as error:
            error.attempts = call.attempts
            error.fate_unknown = call.fate_unknown or error.fate_unknown
            notes = f" [{call.attempts} tries]" if call.attempts > 1 else ""
            if error.status_code is not None and self._is_too_long(error.retry_after):
                notes += (
                    f"; the server asked for a wait of {error.retry_after:.0f} s, longer than max_backoff"
                    f" ({self.max_backoff:g} s): try again later"
                )
            error.args = (f"{call.name}: {error.args[0]}{notes}",)
            raise
        return reply

    def _is_too_long(self, wait: float | None) -> bool:
        return wait is not None and wait > self.max_backoff

    def _gives_up(self, call: Call, state: RetryCallState) -> bool:
        error = _error_of(state)
        if self._stop_at is not None or self._is_too_long(error.retry_after):
            return True
        if isinstance(error, AnyformatRateLimitError) and self.gate is not None:
            call.free_until = call.free_until or time.monotonic() + self.PATIENCE
            if time.monotonic() < call.free_until:
                return False
        call.spent += 1
        return call.spent >= self.max_attempts

    def _wait(self, call: Call, state: RetryCallState) -> float:
        told = _error_of(state).retry_after
        # Jitter need not be secret. "Retry-After: 0" is no leave to hammer, so it waits as if nothing was said.
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
        expected: int,
        limit: int = ERROR_BYTES,
        params: dict[str, int] | None = None,
    ) -> Reply:
        gate, entered = self.gate, 0.0
        if gate is not None:
            entered = gate.acquire(lambda seconds: self.sleep(seconds, "waiting for the rate limit"))
        reply = None
        try:
            self.check_stopped("sending the next request")
            call.attempts += 1
            session = self._session()
            reply, trouble = session.exchange(method, url, params=params, expected=expected, limit=limit)
        finally:
            if gate is not None:
                gate.release(entered, reply)
        error = self._no_answer(session, trouble) if reply is None else self._judge(reply, expected, limit)
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

    def _judge(self, reply: Reply, expected: int, limit: int) -> AnyformatError | None:
        wanted = reply.status == expected
        if wanted and len(reply.body) >= limit and reply.cut:
            return AnyformatClientError(
                f"HTTP {expected}: the answer is longer than {limit} bytes", status_code=expected
            )
        if is_impossible(reply) or (wanted and reply.cut):
            return AnyformatServerError(
                f"HTTP {reply.status}: an answer that HTTP does not allow, or that broke off",
                status_code=reply.status,
                fate_unknown=True,
                server_date=reply.server_date,
            )
        return None if wanted else error_from_reply(reply, secret=self._auth.token)

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
