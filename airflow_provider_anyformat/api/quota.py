"""Pacing by the server's rate-limit headers, shared by the threads of one task."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_anyformat.api.replies import Reply, read_retry_after
from airflow_provider_anyformat.exceptions import AnyformatRateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
# Seconds between two looks at a gate that the next answer may open, and at one that only time opens.
_LOOK, _NAP = 0.01, 0.1
# After this many answers in a row without the headers, it is worth a request to see them.
_BLIND = 20
# Seconds for which a request into the unknown holds up the next one.
_PROBE = 1.0
# A first guess at how many others of our size share the key. Too high a guess only slows the last requests of a window.
_OTHERS = 2.0
# Seconds; a window that claims to last longer makes no sense, and is not paced.
LONGEST_WINDOW = 600.0


class Quota(NamedTuple):
    """What one answer shows: requests left, seconds to the window's end (at least 1), requests in all (or 0)."""

    remaining: float
    reset: float
    limit: float


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """
    Read ``x-ratelimit-remaining``, ``-reset`` and ``-limit``.

    :return: ``None`` unless remaining and reset both are there and make sense.
    """
    remaining = _number(headers, "x-ratelimit-remaining")
    reset = _number(headers, "x-ratelimit-reset")
    if remaining is None or reset is None or reset > LONGEST_WINDOW:
        return None
    # A reset of 0 is that of a server that rounds down: the window is not over yet.
    return Quota(remaining, max(1.0, reset), _number(headers, "x-ratelimit-limit") or 0.0)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    text = headers.get(name, "").strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


class RateLimiter:
    """
    Lets a request go when the window has room for it, and makes the others wait.

    *Room.* ``remaining`` is how things stood when the server answered. The lowest one of a window has all answered
    requests of this task in it, in whatever order the answers came; what is not in it is in flight. While ``lowest - in
    flight`` leaves a request above the reserve, one more cannot overdraw. Nothing is lost by this: once the answers are
    in, nothing is in flight, and the last request goes.

    *Others on the key* have requests in flight that are not seen here. What ``remaining`` lost beyond our own requests,
    held against our answers, tells how many others of our size there are. Each may have as many in flight as we have,
    and, as an answer is a round trip old, as many again: ``lowest - (1 + 2 * others) * in flight`` is what counts. What
    then is still too much, the last request of each, the reserve absorbs. ``others`` starts as a guess, rises as soon
    as it shows, and falls to a quarter from window to window.

    *The window's end.* ``reset`` is rounded up. So receiving + reset is never before the end, and the earliest such
    moment is the best one known; sending + reset - 1 is before it. An answer whose second moment is not before the
    known end is of a new window, and so is one that shows more than an answer that was there before its request was
    sent. One whose second moment is before this window's beginning is late, of the last one.

    *A new window* is expected to have what the last one had at most, until its first answer: a full start where windows
    are fixed, a single request where a bucket drips. Where nothing is known, and after a 429, one goes ahead.

    *Answers without them*, as errors may be, count against what was last seen, once for us and once for each of the
    others. Where nothing was ever seen, they let the next one go: so a task that asks again for what is gone, and is
    answered 404 throughout, goes on one by one and not blindly.

    *Without sensible headers* on successes there is no pacing. A 429 stops everyone for its ``Retry-After``, else
    until the window's end, else for a second. Beyond ``longest_wait`` no call waits for it: each fails before it is
    sent.

    All state is changed under one lock, and no thread sleeps while holding it.

    :param reserve: share of each window that is left to the key's other users, 0 to 0.9. Default 0.1.
    :param longest_wait: seconds, the longest wait after a 429. Default 120. Windows of up to ``LONGEST_WINDOW`` seconds
        are paced whatever it is.
    :param longest_shut: seconds for which a 429 stops everyone at most, whatever it says. Default: no bound.
    :param others: how many others of our size share the key, as a first guess. Default 2.
    """

    def __init__(
        self,
        reserve: float = 0.1,
        longest_wait: float = 120.0,
        *,
        longest_shut: float = math.inf,
        others: float = _OTHERS,
    ) -> None:
        self._reserve = reserve
        self._longest_wait = longest_wait
        self._longest_shut = longest_shut
        self._lock = threading.Lock()
        #: Requests that were let go and have no answer yet.
        self.in_flight = 0
        # This window; until an answer of it is known, `lowest` is what it is expected to have.
        self._known = False
        self._lowest = self._highest = 1.0
        self._begin = self._end = self._next_probe = -math.inf
        self._learnt = -math.inf
        self._answered = self._unseen = 0
        self._missed = 0.0
        # What is carried on from window to window.
        self._expected = self._enough = 1.0
        self._length = math.inf
        self._others = others
        # Others on the key may be told the same Retry-After.
        self._jitter = random.uniform(0.0, 0.25)  # noqa: S311
        self._shut_until = -math.inf
        self._refused = False

    def acquire(self, sleep: Callable[[float], None]) -> float:
        """
        Wait until a request may be sent.

        :param sleep: sleeps for a number of seconds; what it raises ends the wait.
        :return: the moment at which the request may go, for :meth:`release`.
        :raises AnyformatRateLimitError: a 429 told to wait, and what is left of it is longer than ``longest_wait``.
        """
        permit, wait = self.try_acquire()
        while permit is None:
            sleep(wait)
            permit, wait = self.try_acquire()
        return permit

    def try_acquire(self) -> tuple[float | None, float]:
        """
        Let a request go if there is room for it now; never wait.

        :return: what :meth:`release` takes, or ``None`` and the seconds until it is worth another try.
        :raises AnyformatRateLimitError: see :meth:`acquire`.
        """
        with self._lock:
            now = time.monotonic()
            wait = self._wait(now)
            if wait > 0:
                return None, wait
            self.in_flight += 1
            return now, 0.0

    def is_blind(self) -> bool:
        """Say whether an answer with the headers would help: this window shows none, or many came without since."""
        with self._lock:
            now = time.monotonic()
            known = (self._known and now < self._end) or math.isinf(self._lowest)
            guessed = self._unseen + self._missed
            blind = (
                not known or self._unseen >= _BLIND or (self._unseen > 1 and 2 * guessed > self._lowest - self._enough)
            )
            return blind and now >= self._shut_until

    def release(self, sent: float, reply: Reply | None) -> None:
        """
        Learn from the answer. It has to follow on every :meth:`acquire` that returned.

        :param sent: what :meth:`acquire` returned.
        :param reply: the answer; ``None`` if there was none.
        """
        with self._lock:
            now = time.monotonic()
            self.in_flight -= 1
            self._answered += 1
            quota = None if reply is None else read_quota(reply.headers)
            # What was under way when a 429 came knows less than the 429.
            late = sent < self._shut_until or (quota is not None and sent + quota.reset - 1 < self._begin)
            if reply is not None and reply.status == 429:
                self._refuse(now, read_retry_after(reply.headers))
            elif quota is not None and not late:
                self._learn(now, sent, quota)
            elif reply is not None and reply.status < 400 and not late and math.isinf(self._length):
                self._lowest = self._end = math.inf
            else:
                # This window may have been charged for it all the same; and where the server is well, others go on.
                well = reply is not None and quota is None and reply.status < 500
                self._unseen += 1
                self._missed += self._seen_others() if well else 0.0
                self._learnt = now
                if reply is None or math.isinf(self._length):
                    self._next_probe = min(self._next_probe, now)

    def _wait(self, now: float) -> float:
        """Return 0.0 if a request may go now, else the seconds until it is worth another look."""
        shut = self._shut_until - now
        if shut > self._longest_wait:
            raise AnyformatRateLimitError(
                f"nothing was sent: the rate limit of the API key is used up for another {shut:.0f} seconds, which is"
                f" longer than max_backoff ({self._longest_wait:g}); try again later",
                retry_after=shut,
            )
        if shut + self._jitter > 0:
            return min(shut + self._jitter, _NAP)
        if now >= self._end:
            self._turn(now)
        room = self._room()
        if room - (1 + 2 * self._seen_others()) * self.in_flight >= self._enough:
            return self._go(now)
        if not self._known and now >= self._next_probe:
            return self._go(now)
        return _LOOK if room >= self._enough or not self._known else min(self._end - now, _NAP)

    def _room(self) -> float:
        return self._lowest - self._unseen - self._missed

    def _go(self, now: float) -> float:
        self._next_probe = now + _PROBE
        return 0.0

    def _seen_others(self) -> float:
        seen = self._answered - self._unseen
        lost = self._highest - self._lowest + 1 - seen - self.in_flight
        return max(self._others, lost / max(1, seen)) if self._known else self._others

    def _turn(self, now: float) -> None:
        """Begin a window about which nothing is known yet."""
        if self._known:
            self._expected = self._highest
            self._others /= 4
            self._others = self._seen_others()
        elif self._answered and not self._refused:
            # Nothing was seen of the others, and they did not take too much.
            self._others /= 4
        self._lowest = 1.0 if self._refused else self._expected
        # Refused before its first answer: this window was begun too early, and the next one may be, too.
        self._refused = self._refused and not self._known
        self._begin, self._end = self._end, now + self._length
        self._known = False
        self._answered = self._unseen = 0
        self._missed = 0.0
        self._next_probe = now

    def _learn(self, now: float, sent: float, quota: Quota) -> None:
        not_over = sent + quota.reset - 1
        newer = sent >= self._learnt
        if self._known and (not_over >= self._end or (newer and quota.remaining > self._lowest)):
            self._end = min(self._end, not_over)
            self._turn(now)
        if not self._known:
            self._known = True
            self._lowest = self._highest = quota.remaining
            self._end, self._length = now + quota.reset, quota.reset
            self._learnt = now
        if newer:
            self._unseen, self._missed = 0, 0.0
        if quota.remaining < self._lowest:
            self._lowest, self._learnt = quota.remaining, now
        self._highest = max(self._highest, quota.remaining)
        self._end = min(self._end, now + quota.reset)
        self._length = max(self._length, quota.reset)
        self._enough = 1 + round(self._reserve * max(quota.limit, self._highest), 6)

    def _refuse(self, now: float, retry_after: float | None) -> None:
        if retry_after is None:
            retry_after = min(self._end - now, self._longest_wait) if math.isfinite(self._end) else 1.0
        # A Retry-After of 0, too, is that of a server that rounds down.
        self._shut_until = max(self._shut_until, now + min(max(1.0, retry_after), self._longest_shut))
        self._end = self._shut_until + self._jitter
        self._refused = True
