"""The client: one method a call, retries, and the one place that builds URLs."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from tenacity import RetryCallState, Retrying, retry_if_exception

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL, check_api_key, check_base_url
from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page, check_id, shown
from airflow_provider_anyformat.api.replies import (
    DeleteOutcome,
    Reply,
    error_from_reply,
    is_impossible,
    is_own,
    read_http_date,
    repeats,
)
from airflow_provider_anyformat.api.transport import ERROR_BYTES, BearerAuth, Session
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatListingError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatValueError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenacity import Future, RetryAction

    from airflow_provider_anyformat.api.quota import QuotaGate

__all__ = ["AnyformatClient", "DeleteOutcome"]

log = logging.getLogger(__name__)

USER_AGENT = f"airflow-provider-anyformat/{__version__}"
PAGE_SIZE = 100
LISTING_BYTES = 32 * 1024 * 1024
RESULT_BYTES = 256 * 1024 * 1024


class _Call:
    """One call through all its tries."""

    __slots__ = ("attempts", "fate_unknown", "free_until", "name", "spent")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts = 0
        # How many of max_attempts are used up; a paced call does not pay for a 429.
        self.spent = 0
        self.fate_unknown = False
        self.free_until = 0.0


class AnyformatClient:
    """
    Speaks HTTP to anyformat: checks ids, tries again what may succeed later, never follows a redirect.

    Threads may share it; each gets a session of its own.

    :param api_key: the API key.
    :param base_url: ``scheme://host[:port]`` of the server; default the real service. ``http`` only to loopback.
    :param timeout: seconds for connecting and for each wait on the answer; a whole answer may take four times that.
        Default 30.
    :param max_attempts: tries of one call, the first included. Default 5.
    :param backoff: seconds before the second try; doubles from try to try, with full jitter. Default 1.
    :param max_backoff: seconds, the longest single wait; a ``Retry-After`` beyond it ends the call. Default 120.
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
        self.gate: QuotaGate | None = None
        self._stop_at: float | None = None
        self._local = threading.local()
        self._sessions: list[Session] = []

    def __repr__(self) -> str:
        return f"<AnyformatClient {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        """
        Delete a collection, its files and its results, for good: ``DELETE /v2/files/{collection_id}/``.

        :param collection_id: the ``id`` that the upload or the run returned, never a ``file_id``.
        :return: ``"deleted"`` for HTTP 204; ``"already_gone"`` for HTTP 404 after a try of this call that may have
            taken effect.
        :raises AnyformatNotFoundError: HTTP 404 at the first try.
        :raises AnyformatError: any other answer; ``fate_unknown`` tells whether it may be gone all the same.
        """
        call = _Call(f"DELETE of collection {check_id(collection_id)}")
        try:
            reply = self._call(call, "DELETE", self._url("files", collection_id), expected=204)
        except AnyformatNotFoundError as error:
            if not call.fate_unknown:
                raise
            log.warning("%s: HTTP 404 after a try that may have taken effect: that try deleted it", call.name)
            return DeleteOutcome(
                "already_gone",
                http_status=404,
                error_code=error.error_code,
                request_id=error.request_id,
                attempts=call.attempts,
                server_date=error.server_date,
            )
        return DeleteOutcome("deleted", http_status=204, attempts=call.attempts, server_date=reply.server_date)

    def iter_pages(self, workflow_id: str) -> Iterator[Page]:
        """
        Yield the pages of a workflow's listing, ``GET /v2/workflows/{workflow_id}/files/``, in the server's order.

        The last page is found by the ``count`` and ``page_size`` that came back. Rows may repeat or be missed while the
        server's data change: :class:`~airflow_provider_anyformat.api.listing.ListingPass` tells.

        :raises AnyformatListingError: a page is not what the API documents.
        """
        url = self._url("workflows", check_id(workflow_id, "workflow_id"), "files")
        number = 0
        more = True
        while more:
            number += 1
            page = self._page(url, workflow_id, number)
            yield page
            more = number * page.page_size < page.count and bool(page.collections)

    def _page(self, url: str, workflow_id: str, number: int) -> Page:
        call = _Call(f"listing of workflow {workflow_id}, page {number}")
        params = {"page": number, "page_size": PAGE_SIZE}
        try:
            reply = self._call(call, "GET", url, expected=200, limit=LISTING_BYTES, params=params)
            date = read_http_date(reply.headers.get("Date", ""))
            return Page.from_json(reply.json_object() or {}, workflow_id, number, date)
        except AnyformatNotFoundError as error:
            if number == 1:
                raise
            words, status = f"{error}\nrows went away while the listing was read", 404
        except AnyformatListingError as error:
            words, status = f"{call.name}: HTTP 200: {error}", 200
            if repeats(reply.body.decode("utf-8", "replace"), self._auth.token):
                words = f"{call.name}: HTTP 200: it cannot be used, and is not shown, for it repeats the API key"
        raise AnyformatListingError(words, status_code=status, attempts=call.attempts)

    def iter_file_collections(self, workflow_id: str) -> Iterator[FileCollection]:
        """
        Yield each collection of a workflow once.

        :raises AnyformatListingError: the listing broke off or contradicts itself; it may come after some rows.
        """
        reading = ListingPass(workflow_id)
        for page in self.iter_pages(workflow_id):
            yield from reading.add(page)
        reading.finish()

    def get_results(self, workflow_id: str, collection_id: str) -> bytes:
        """
        Return a collection's results as received: ``GET /v2/workflows/{workflow_id}/files/{collection_id}/results/``.

        :raises AnyformatClientError: HTTP 412 while there are none, or an answer that is no JSON object.
        """
        check_id(workflow_id, "workflow_id")
        call = _Call(f"results of collection {check_id(collection_id)}")
        url = self._url("workflows", workflow_id, "files", collection_id, "results")
        reply = self._call(call, "GET", url, expected=200, limit=RESULT_BYTES)
        if reply.json_object() is None:
            raise AnyformatClientError(
                f"{call.name}: HTTP 200: the answer is no JSON object", status_code=200, attempts=call.attempts
            )
        return reply.body

    def check_key(self) -> None:
        """
        Ask for one workflow: the cheapest call that needs a valid key.

        :raises AnyformatError: the server cannot be reached, or does not accept the key.
        """
        call = _Call("connection test")
        reply = self._call(
            call, "GET", self._url("workflows"), expected=200, limit=LISTING_BYTES, params={"page_size": 1}
        )
        body = reply.json_object() or {}
        # A captive portal, or another service at this address, answers 200 as well.
        if not isinstance(body.get("results"), list) and not (body and is_own(reply)):
            raise AnyformatClientError(
                f"{call.name}: HTTP 200: the answer is not anyformat's; check the host of the connection",
                status_code=200,
                attempts=call.attempts,
            )

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

    def close(self) -> None:
        """Close every thread's connection."""
        self._local = threading.local()
        while self._sessions:
            self._sessions.pop().close()

    def _url(self, *segments: str) -> str:
        return f"{self.base_url}/v2/{'/'.join(segments)}/"

    def _call(self, call: _Call, method: str, url: str, **kwargs: Any) -> Reply:
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

    def _gives_up(self, call: _Call, state: RetryCallState) -> bool:
        error = _error_of(state)
        if self._stop_at is not None or self._is_too_long(error.retry_after):
            return True
        if isinstance(error, AnyformatRateLimitError) and self.gate is not None:
            call.free_until = call.free_until or time.monotonic() + self.PATIENCE
            if time.monotonic() < call.free_until:
                return False
        call.spent += 1
        return call.spent >= self.max_attempts

    def _wait(self, call: _Call, state: RetryCallState) -> float:
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
        while self._stop_at is None:
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))
        raise AnyformatStoppedError(f"{purpose}: given up, because the task was told to stop")

    def _attempt(
        self,
        call: _Call,
        method: str,
        url: str,
        *,
        expected: int,
        limit: int = ERROR_BYTES,
        params: dict[str, int] | None = None,
    ) -> Reply:
        gate, entered = self.gate, 0.0
        if gate is not None:
            entered = gate.enter(lambda seconds: self.sleep(seconds, "waiting for the rate limit"))
        reply = None
        try:
            if self._stop_at is not None:
                raise AnyformatStoppedError("nothing more was sent, because the task was told to stop")
            call.attempts += 1
            session = self._session()
            reply, trouble = session.exchange(method, url, params=params, expected=expected, limit=limit)
        finally:
            if gate is not None:
                gate.leave(entered, reply)
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
