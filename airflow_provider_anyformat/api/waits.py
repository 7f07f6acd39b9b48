"""Waiting for the end of a run: when to look, what a look means, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_anyformat.api.quota import LONGEST_WINDOW, RateLimiter
from airflow_provider_anyformat.api.runs import RunState
from airflow_provider_anyformat.api.values import FINISHED_STATUSES
from airflow_provider_anyformat.exceptions import (
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatStoppedError,
    AnyformatTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyformat.api.client import AnyformatClient

# Share of each rate-limit window that the waits of one connection leave to all others.
RESERVE = 0.5
# A look takes a fraction of a second; this many at once do several times what the published limit allows.
_THREADS = 8
# Seconds between two looks where the server does not say how many it allows: half of the published limit.
_SPACING = 0.2
# Seconds for which a question after the limit waits until nothing else is under way, at a server that is slow.
_ALONE = 10.0

T = TypeVar("T")

log = logging.getLogger(__name__)


def ends_a_wait(error: AnyformatError) -> bool:
    """Say whether an error is the server's final word, such as HTTP 401, and not one that passes."""
    status = error.status_code
    return isinstance(error, AnyformatStoppedError) or (not error.retryable and (status is None or 400 <= status < 500))


@dataclass(frozen=True, slots=True)
class Wait:
    """
    One wait for the end of a run. Errors that pass never end it while time is left.

    :param workflow_id: the workflow.
    :param collection_id: the collection.
    :param poll_interval: seconds between two polls.
    :param deadline: when it is over, in seconds since the epoch: a wait may move to another process.
    """

    workflow_id: str
    collection_id: str
    poll_interval: float
    deadline: float

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.time()

    def steps(self) -> Generator[float, RunState | AnyformatError, RunState]:
        """
        Yield the seconds until the next look, take what it gave, and return the final state.

        :raises AnyformatTimeoutError: the deadline came first.
        :raises AnyformatError: a look gave an error that does not pass.
        """
        pause, known = 0.0, ""
        while True:
            seen = yield pause
            pause = self.poll_interval
            if isinstance(seen, RunState):
                if seen.finished:
                    return seen
                known = f"its status is {seen.status!a}"
            elif ends_a_wait(seen):
                raise seen
            else:
                known = str(seen).partition("\n")[0]
                pause = max(pause, seen.retry_after or 0.0)
                log.info("%s; looking again in %.0f s", known, pause)
            if self.left() <= 0:
                raise AnyformatTimeoutError(
                    f"collection {self.collection_id} was not finished by the deadline: {known}. It stays, and a"
                    " retry of the task goes on waiting without submitting again"
                )
            pause = min(pause, max(self.left(), 0.0))


def wait_for_end(client: AnyformatClient, wait: Wait) -> RunState:
    """
    Wait in this thread.

    :raises AnyformatError: see :meth:`Wait.steps`; also when the task was told to stop.
    """
    steps = wait.steps()
    pause = next(steps)
    while True:
        client.sleep(pause, f"waiting for collection {wait.collection_id}")
        seen: RunState | AnyformatError
        try:
            seen = client.look(wait.workflow_id, wait.collection_id)
        except AnyformatError as error:
            seen = error
        try:
            pause = steps.send(seen)
        except StopIteration as end:
            state: RunState = end.value
            return state


def as_event(wait: Wait, seen: RunState | AnyformatError) -> dict[str, Any]:
    """Return what a resumed task has to know of a wait that is over, as plain JSON."""
    event: dict[str, Any] = {"workflow_id": wait.workflow_id, "collection_id": wait.collection_id}
    if isinstance(seen, RunState):
        return event | {"status": seen.status, "detail": seen.detail, "retryable": False, "retry_after": None}
    status = "timeout" if isinstance(seen, AnyformatTimeoutError) else "failed"
    words = {"detail": str(seen), "retryable": seen.retryable, "retry_after": seen.retry_after}
    return event | {"status": status, **words}


def from_event(event: Mapping[str, Any]) -> RunState:
    """
    Return how the run ended.

    :raises AnyformatError: the wait ended otherwise, or the event has an unknown status.
    """
    status, detail = event.get("status"), str(event.get("detail") or "")
    if status == "timeout":
        raise AnyformatTimeoutError(detail)
    if status == "failed":
        raise AnyformatError(detail, retryable=bool(event.get("retryable")), retry_after=event.get("retry_after"))
    if status not in FINISHED_STATUSES:
        raise AnyformatError(f"the trigger's event has the status {status!a}, which is not known")
    return RunState(str(status), detail)


def check_done(event: Mapping[str, Any]) -> None:
    """
    Check what the trigger's event says of many waits.

    :raises AnyformatError: they failed, or the event has an unknown status.
    """
    if event.get("status") != "done":
        raise AnyformatError(
            str(
                event.get("detail") or f"the trigger's event has the status {event.get('status')!a}, which is not known"
            ),
            retryable=bool(event.get("retryable")),
            retry_after=event.get("retry_after"),
        )


class SharedWaits:
    """
    All waits of one connection in one process: they take turns, and leave half of each rate-limit window to others.

    Only the first in the line asks the rate limiter; the others sleep. With more waits than the limit allows, each is
    asked for less often.

    :param client: the connection's client.
    """

    def __init__(self, client: AnyformatClient) -> None:
        # A Retry-After of years, which may be junk, must not stop all waits of a process for years.
        self._limiter = RateLimiter(RESERVE, LONGEST_WINDOW, longest_shut=LONGEST_WINDOW, others=0.0)
        self.client = client.limited_by(self._limiter)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="anyformat-wait")
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def wait_for_end(self, wait: Wait) -> RunState:
        """
        Wait on the event loop.

        :raises AnyformatError: see :meth:`Wait.steps`.
        """
        steps = wait.steps()
        pause = next(steps)
        while True:
            await asyncio.sleep(pause)
            seen: RunState | AnyformatError
            try:
                look = partial(self.client.look, wait.workflow_id, wait.collection_id)
                seen = await self.in_turn(look, wait.left())
            except AnyformatError as error:
                seen = error
            except TimeoutError:
                seen = AnyformatRateLimitError("the rate limit left no room for another look")
            try:
                pause = steps.send(seen)
            except StopIteration as end:
                state: RunState = end.value
                return state

    async def wait_for_all(self, workflow_id: str, waiting: set[str], poll_interval: float, deadline: float) -> None:
        """
        Wait until all of them are over, or the deadline is; up to 100 are looked at by one page of the listing.

        :param waiting: the collections; what is over is taken out of it.
        :raises AnyformatError: an error that does not pass, such as HTTP 401.
        """
        while waiting and (left := deadline - time.time()) > 0:
            with suppress(TimeoutError):
                waiting -= await self._finished(workflow_id, waiting, left)
            if waiting:
                await asyncio.sleep(min(poll_interval, max(deadline - time.time(), 0.0)))

    async def _finished(self, workflow_id: str, waiting: set[str], left: float) -> set[str]:
        seen: dict[str, str] = {}
        finished = set()
        try:
            if len(waiting) > 1:
                seen = await self.in_turn(partial(self.client.first_page, workflow_id), left)
            for collection_id in waiting:
                status = seen.get(collection_id) or await self._status(workflow_id, collection_id, left)
                if RunState(status).finished:
                    finished.add(collection_id)
        except AnyformatError as error:
            if ends_a_wait(error):
                raise
            log.info("%s", str(error).partition("\n")[0])
        return finished

    async def _status(self, workflow_id: str, collection_id: str, left: float) -> str:
        try:
            return (await self.in_turn(partial(self.client.look, workflow_id, collection_id), left)).status
        except AnyformatNotFoundError:
            # Deleted meanwhile, which the resumed task sees for itself.
            return "cancelled"

    async def in_turn(self, ask: Callable[..., T], patience: float | None = None) -> T:
        """
        Call ``ask(permit=…)``, which sends a single request, in a thread when it is its turn.

        :param patience: seconds that the turn is waited for; ``None`` (default): as long as it takes.
        :raises TimeoutError: the turn did not come.
        """
        line = self._lines.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with asyncio.timeout(None if patience is None else max(patience, 0.1)):
            async with line:
                if self._limiter.is_blind():
                    await self._learn_the_limit()
                permit = await self._acquire()
        return await self._send(ask, permit)

    async def _learn_the_limit(self) -> None:
        """Ask for something, because "not ready" may come without the rate limit's headers."""
        soon = time.monotonic() + _ALONE
        # An answer that comes in between would make this one look older than what is known.
        while self._limiter.in_flight and time.monotonic() < soon:  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.005)
        with suppress(AnyformatError):
            await self._send(self.client.check_key, await self._acquire())
        if self._limiter.is_blind():
            await asyncio.sleep(_SPACING)

    async def _acquire(self) -> float:
        permit, seconds = self._limiter.try_acquire()
        while permit is None:
            await asyncio.sleep(seconds)
            permit, seconds = self._limiter.try_acquire()
        return permit

    async def _send(self, ask: Callable[..., T], permit: float) -> T:
        call = self._threads.submit(ask, permit=permit)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            if call.cancel():
                # It was not sent, and never will be.
                self._limiter.release(permit, None)
            raise
