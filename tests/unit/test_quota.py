"""The rate limiter alone: scripted answers on a scripted clock; threads against a limit in memory on the real one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from airflow_provider_anyformat.api import quota
from airflow_provider_anyformat.api.quota import Quota, RateLimiter, read_quota
from airflow_provider_anyformat.api.replies import Reply
from airflow_provider_anyformat.exceptions import AnyformatRateLimitError

pytestmark = pytest.mark.timeout(60)


class BlockedError(Exception):
    """The limiter wanted to sleep."""


class Clock:
    """A clock that moves only while someone sleeps: a little longer than asked, as real ones do."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + 1e-6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    scripted = Clock()
    monkeypatch.setattr(quota, "time", scripted)
    return scripted


def _blocked(_: float) -> None:
    raise BlockedError


def answer(remaining: object = None, reset: object = None, limit: object = None, *, status: int = 204) -> Reply:
    values = {"remaining": remaining, "reset": reset, "limit": limit}
    return Reply(status, {f"x-ratelimit-{name}": str(value) for name, value in values.items() if value is not None})


def refusal(retry_after: str | None) -> Reply:
    return Reply(429, {} if retry_after is None else {"Retry-After": retry_after})


def permits(limiter: RateLimiter, most: int = 100) -> int:
    """Count the requests that may be in flight at once, without a wait."""
    entered: list[float] = []
    with suppress(BlockedError):
        while len(entered) < most:
            entered.append(limiter.acquire(_blocked))
    return len(entered)


def one_by_one(limiter: RateLimiter, most: int = 100, reply: Reply | None = None) -> int:
    """Count the requests that may go one after the other, without a wait; no answer tells of the limit."""
    count = 0
    with suppress(BlockedError):
        while count < most:
            limiter.release(limiter.acquire(_blocked), reply)
            count += 1
    return count


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"remaining": "59", "reset": "4", "limit": "60"}, Quota(59, 4, 60), id="all-three"),
        pytest.param({"remaining": "59", "reset": "4"}, Quota(59, 4, 0), id="no-limit"),
        pytest.param({"remaining": "59", "reset": "4", "limit": "60, 60;w=4"}, Quota(59, 4, 0), id="odd-limit"),
        pytest.param({"remaining": " 5 ", "reset": "3.5"}, Quota(5, 3.5, 0), id="blanks-and-fractions"),
        pytest.param({"remaining": "0", "reset": "600"}, Quota(0, 600, 0), id="just-within-bound"),
        pytest.param({"remaining": "0", "reset": "0"}, Quota(0, 1, 0), id="reset-rounded-down"),
        pytest.param({}, None, id="none"),
        pytest.param({"reset": "4"}, None, id="no-remaining"),
        pytest.param({"remaining": "59"}, None, id="no-reset"),
        pytest.param({"remaining": "-1", "reset": "4"}, None, id="negative-remaining"),
        pytest.param({"remaining": "5", "reset": "-4"}, None, id="negative-reset"),
        pytest.param({"remaining": "many", "reset": "4"}, None, id="text"),
        pytest.param({"remaining": "", "reset": "4"}, None, id="empty"),
        pytest.param({"remaining": "nan", "reset": "4"}, None, id="nan"),
        pytest.param({"remaining": "5", "reset": "inf"}, None, id="inf"),
        pytest.param({"remaining": "9" * 400, "reset": "4"}, None, id="more-than-a-float-holds"),
        pytest.param({"remaining": "1e3", "reset": "4"}, None, id="exponent"),
        pytest.param({"remaining": "\u0663", "reset": "4"}, None, id="other-digits"),
        pytest.param({"remaining": "5, 5", "reset": "4"}, None, id="sent-twice"),
        pytest.param({"remaining": "5", "reset": "600.1"}, None, id="beyond-bound"),
        pytest.param({"remaining": "5", "reset": "1764000000"}, None, id="epoch"),
    ],
)
def test_read_quota(headers: dict[str, str], expected: Quota | None) -> None:
    sent = {f"x-ratelimit-{name}": value for name, value in headers.items()}
    assert read_quota(sent) == expected

    # Whatever makes no sense leaves the requests alone; whatever does, counts.
    limiter = RateLimiter(0.0, 2.0)
    limiter.release(limiter.acquire(_blocked), Reply(204, sent))
    assert one_by_one(limiter) == (100 if expected is None else expected.remaining)


def test_the_first_request_goes_alone() -> None:
    limiter = RateLimiter()
    entered = limiter.acquire(_blocked)
    assert permits(limiter) == 0
    limiter.release(entered, answer())
    assert permits(limiter) == 100


@pytest.mark.parametrize("status", [400, 404, 499, 500, 503])
def test_an_error_without_the_headers_is_followed_by_a_single_request(status: int) -> None:
    limiter = RateLimiter(0.0)
    for _ in range(20):
        limiter.release(limiter.acquire(_blocked), answer(status=status))
    entered = limiter.acquire(_blocked)
    assert permits(limiter) == 0
    limiter.release(entered, answer(7, 60, 600))
    assert one_by_one(limiter) == 7


def test_errors_without_the_headers_count_for_the_others_too() -> None:
    alone, crowded = RateLimiter(0.0), RateLimiter(0.0)
    for limiter, step in ((alone, 1), (crowded, 4)):
        remaining = 100 + 9 * step
        for _ in range(10):
            limiter.release(limiter.acquire(_blocked), answer(remaining, 1, 200))
            remaining -= step
        limiter._others = 0.0
    # Each has 100 left as far as it saw; of the crowd, four draw on it.
    assert one_by_one(alone, reply=answer(status=404)) == 100
    assert 100 // 5 <= one_by_one(crowded, reply=answer(status=404)) <= 100 // 3


def test_others_that_are_not_seen_any_more_are_forgotten_from_window_to_window(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    for remaining in (100, 84):
        limiter.release(limiter.acquire(_blocked), answer(remaining, 1, 100))
    gone = answer(status=404)
    went = [one_by_one(limiter, reply=gone)]
    for _ in range(3):
        clock.sleep(1.05)
        went.append(one_by_one(limiter, reply=gone))
    assert went == [10, 12, 35, 68]


def test_pacing_starts_with_the_first_answer_that_has_the_headers() -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer())
    first, second = limiter.acquire(_blocked), limiter.acquire(_blocked)
    limiter.release(first, answer(7, 60, 600))
    limiter.release(second, answer(6, 60, 600))
    assert one_by_one(limiter) == 6


def test_a_first_request_that_gets_no_answer_is_followed_by_another_single_one() -> None:
    limiter = RateLimiter()
    limiter.release(limiter.acquire(_blocked), None)
    assert permits(limiter) == 1


def test_a_first_request_that_hangs_holds_up_the_next_one_for_a_second(clock: Clock) -> None:
    limiter = RateLimiter()
    hanging = limiter.acquire(_blocked)
    clock.sleep(0.99)
    assert permits(limiter) == 0
    clock.now = 1001.0
    limiter.release(limiter.acquire(_blocked), answer(50, 60, 100))
    limiter.release(hanging, answer(49, 60, 100))
    assert one_by_one(limiter) == 39


@pytest.mark.parametrize(
    ("reserve", "limit", "remaining", "expected"),
    [
        pytest.param(0.0, 60, 59, 59, id="no-reserve"),
        pytest.param(0.1, 60, 59, 53, id="a-tenth"),
        pytest.param(0.07, 100, 99, 92, id="share-that-no-float-holds"),
        pytest.param(0.9, 60, 59, 5, id="nine-tenths"),
        pytest.param(0.1, 5, 4, 3, id="part-of-a-request-counts-as-one"),
        pytest.param(0.1, None, 59, 53, id="limit-unknown"),
        pytest.param(0.5, 600, 100, 0, id="others-took-more-than-their-share"),
    ],
)
def test_the_reserve_stays(reserve: float, limit: int | None, remaining: int, expected: int) -> None:
    limiter = RateLimiter(reserve)
    limiter.release(limiter.acquire(_blocked), answer(remaining, 60, limit))
    assert one_by_one(limiter) == expected


@pytest.mark.parametrize("order", [(9, 8, 7), (7, 8, 9), (8, 7, 9), (9, 7, 8)])
def test_the_lowest_remaining_counts_in_whatever_order_answers_come(order: tuple[int, ...]) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(60, 60, 60))
    entered = [limiter.acquire(_blocked) for _ in order]
    for moment, remaining in zip(entered, order, strict=True):
        limiter.release(moment, answer(remaining, 60, 60))
    assert one_by_one(limiter) == 7


def test_requests_in_flight_are_taken() -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(10, 60, 60))
    # Two others, of whom nothing was seen yet, may have twice as many in flight each.
    assert permits(limiter) == 2
    # The answers to nine others have not come, so one that says "one left" leaves nothing.
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(59, 60, 60))
    entered = [limiter.acquire(_blocked) for _ in range(10)]
    limiter.release(entered[0], answer(9, 60, 60))
    assert permits(limiter) == 0
    for moment in entered[1:]:
        limiter.release(moment, answer(9, 60, 60))
    assert permits(limiter) >= 1


def test_fewer_go_at_once_where_others_draw_on_the_key() -> None:
    alone, crowded = RateLimiter(0.0), RateLimiter(0.0)
    for limiter, step in ((alone, 1), (crowded, 8)):
        remaining = 1000
        for _ in range(100):
            limiter.release(limiter.acquire(_blocked), answer(remaining, 60, 1000))
            remaining -= step
    # Left are 901 and 208: without the others it would be as many at once.
    assert permits(alone) == 100
    assert 1 <= permits(crowded) <= 208 // 8


def test_the_windows_end_is_the_earliest_that_an_answer_gave(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(50, 3, 60))
    first, second = limiter.acquire(_blocked), limiter.acquire(_blocked)
    clock.sleep(0.25)
    limiter.release(first, answer(0, 1, 60))
    end = clock.now + 1
    clock.sleep(0.5)
    limiter.release(second, answer(1, 2, 60))
    clock.now = end - 0.001
    assert permits(limiter) == 0
    clock.now = end
    # The new window is expected to have what the last one had, and none of it is known yet.
    assert one_by_one(limiter, reply=answer(status=503)) == 50


@pytest.mark.parametrize(
    ("reset", "left"),
    [
        # It may have been charged to either window.
        pytest.param(1, 8, id="sent-before-the-window"),
        pytest.param(2, 1, id="sent-at-its-beginning"),
    ],
)
def test_a_late_answer_of_the_last_window_does_not_close_the_new_one(clock: Clock, reset: int, left: int) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(59, 1, 60))
    late, other = limiter.acquire(_blocked), limiter.acquire(_blocked)
    limiter.release(other, answer(0, 1, 60))
    limiter.release(limiter.acquire(clock.sleep), answer(9, 60, 60))
    limiter.release(late, answer(1, reset, 60))
    assert one_by_one(limiter) == left


@pytest.mark.parametrize("reset", [2, 60])
def test_an_answer_of_a_later_window_opens_it(clock: Clock, reset: int) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(9, reset, 60))
    entered = limiter.acquire(_blocked)
    limiter.release(entered, answer(40, 60, 60))
    assert one_by_one(limiter) == 40


def test_an_answer_of_a_later_window_with_less_left_is_of_that_window(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(9, 2, 60))
    # One second more than the known end, and no more than that is rounded up.
    limiter.release(limiter.acquire(_blocked), answer(5, 3, 60))
    assert one_by_one(limiter) == 5
    clock.sleep(2.5)
    assert permits(limiter) == 0


@pytest.mark.parametrize(("reply", "left"), [(answer(status=499), 8), (answer(status=500), 9), (None, 9)])
def test_others_go_on_where_the_server_is_well(clock: Clock, reply: Reply | None, left: int) -> None:
    limiter = RateLimiter(0.0, others=1.0)
    limiter.release(limiter.acquire(_blocked), answer(10, 60, 60))
    limiter.release(limiter.acquire(_blocked), reply)
    assert one_by_one(limiter) == left


def test_a_new_window_starts_with_what_the_last_one_had(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(3, 1, 60))
    limiter.release(limiter.acquire(_blocked), answer(0, 1, 60))
    # An error's answer has no headers: it tells nothing of the new window, but may have been charged to it.
    limiter.release(limiter.acquire(clock.sleep), answer(status=503))
    assert one_by_one(limiter, reply=answer(status=503)) == 2


@pytest.mark.parametrize(
    ("text", "known_end", "seconds"),
    [
        pytest.param("1", None, 1.0, id="seconds"),
        pytest.param("0", None, 1.0, id="zero"),
        pytest.param("1.5", None, 1.5, id="fraction"),
        pytest.param("120", None, 120.0, id="the-longest-wait"),
        pytest.param(None, None, 1.0, id="missing"),
        pytest.param("soon", None, 1.0, id="junk"),
        pytest.param(None, 2, 2.0, id="missing-but-the-end-is-known"),
        pytest.param(None, 600, 120.0, id="missing-and-the-end-is-far"),
        pytest.param("1", 60, 1.0, id="sooner-than-the-headers-said"),
    ],
)
def test_after_a_429_everybody_waits_and_one_goes_ahead(
    clock: Clock, text: str | None, known_end: int | None, seconds: float
) -> None:
    limiter = RateLimiter(0.0, others=0.0)
    limiter.release(limiter.acquire(_blocked), answer() if known_end is None else answer(50, known_end, 60))
    refused, other, third = (limiter.acquire(_blocked) for _ in range(3))
    limiter.release(refused, refusal(text))
    # They were under way: one says that there is room, one that there is no limit, and the 429 knows better.
    limiter.release(other, answer(40, 60, 60))
    limiter.release(third, answer())
    assert permits(limiter) == 0
    entered = limiter.acquire(clock.sleep)
    # Others on the key may be told the same.
    assert seconds <= clock.now - 1000 <= seconds + 0.26
    assert permits(limiter) == 0
    limiter.release(entered, answer(30, 60, 60))
    assert one_by_one(limiter) == 30
    # Refused before its first answer, a window was begun too early, and the next one may be, too.
    clock.sleep(61)
    assert one_by_one(limiter, reply=answer(status=503)) == (1 if known_end is None else 30)


def test_not_everyone_on_the_key_goes_at_the_same_moment_after_a_429(clock: Clock) -> None:
    moments = set()
    for _ in range(30):
        clock.now, limiter = 1000.0, RateLimiter()
        limiter.release(limiter.acquire(_blocked), refusal("5"))
        moments.add(limiter.acquire(clock.sleep))
    assert min(moments) < 1005.1 < 1005.15 < max(moments)


def test_a_shorter_429_does_not_shorten_the_wait_and_none_is_longer_than_the_bound(clock: Clock) -> None:
    limiter = RateLimiter(longest_shut=7.0)
    limiter.release(limiter.acquire(_blocked), answer())
    for text in ("3600", "2"):
        limiter.release(1000.0, refusal(text))
        limiter.in_flight += 1
    assert 7 <= limiter.acquire(clock.sleep) - 1000 <= 7.26


def test_after_a_429_without_headers_ever_all_go_again(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer())
    limiter.release(limiter.acquire(_blocked), refusal("1"))
    limiter.release(limiter.acquire(clock.sleep), answer())
    assert permits(limiter) == 100


def test_a_429_beyond_the_longest_wait_fails_the_others_at_once(clock: Clock) -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), refusal("121"))
    with pytest.raises(AnyformatRateLimitError, match=r"121 seconds.*max_backoff \(120\)") as caught:
        limiter.acquire(_blocked)
    assert caught.value.retryable
    assert caught.value.retry_after == 121


@pytest.mark.parametrize(
    ("answers", "later", "blind"),
    [
        pytest.param([], 0, True, id="nothing-known"),
        pytest.param([answer()], 0, False, id="no-limit-to-be-seen"),
        pytest.param([answer(60, 9, 60)], 0, False, id="just-seen"),
        pytest.param([answer(60, 9, 60)], 8.9, False, id="near-the-windows-end"),
        pytest.param([answer(60, 9, 60)], 9 - 1e-6, True, id="after-the-windows-end"),
        pytest.param([answer(60, 9, 60)] + [None] * 19, 0, False, id="nineteen-unseen"),
        pytest.param([answer(60, 9, 60)] + [None] * 20, 0, True, id="twenty-unseen"),
        pytest.param([answer(2, 9, 60), None], 0, False, id="one-unseen"),
        pytest.param([answer(6, 9, 60), None, None], 0, False, id="two-of-six"),
        pytest.param([answer(5, 9, 60), None, None], 0, False, id="half-of-what-is-left"),
        pytest.param([answer(4, 9, 60), None, None], 0, True, id="more-than-half"),
        # Each other of our size lost one, too.
        pytest.param([answer(8, 9, 60), *[answer(status=404)] * 2], 0, False, id="alone"),
        pytest.param([answer(9, 9, 60), answer(6, 9, 60), *[answer(status=404)] * 2], 0, True, id="one-other"),
        pytest.param([answer(60, 9, 60), refusal("3")], 2.9, False, id="refused"),
        pytest.param([answer(60, 9, 60), refusal("3")], 3.3, True, id="refused-and-waited"),
    ],
)
def test_whether_an_answer_with_the_headers_would_help(
    clock: Clock, answers: list[Reply | None], later: float, blind: bool
) -> None:
    limiter = RateLimiter(0.0, others=0.0)
    for reply in answers:
        limiter.release(limiter.acquire(_blocked), reply)
    clock.sleep(later)
    assert limiter.is_blind() is blind


@pytest.mark.parametrize(
    ("remaining", "others", "in_flight", "later", "wait"),
    [
        # One in flight counts once for us, and twice for each other.
        pytest.param(10, 0.0, 9, 0, 0.0, id="alone-the-last"),
        pytest.param(10, 0.0, 10, 0, 0.01, id="alone-an-answer-may-open-it"),
        pytest.param(10, 1.0, 3, 0, 0.0, id="with-another-the-last"),
        pytest.param(10, 1.0, 4, 0, 0.01, id="with-another-an-answer-may-open-it"),
        pytest.param(1, 0.0, 1, 0, 0.01, id="the-last-one-is-in-flight"),
        pytest.param(0, 0.0, 0, 0, 0.1, id="used-up"),
        pytest.param(0, 0.0, 0, 59.95, 0.05, id="used-up-until-the-end"),
    ],
)
def test_how_long_until_another_look(
    clock: Clock, remaining: int, others: float, in_flight: int, later: float, wait: float
) -> None:
    limiter = RateLimiter(0.0, others=others)
    limiter.release(limiter.acquire(_blocked), answer(remaining, 60, 60))
    for _ in range(in_flight):
        limiter.acquire(_blocked)
    clock.sleep(later)
    assert limiter.try_acquire()[1] == pytest.approx(wait, abs=1e-5)


def test_no_lock_is_held_while_sleeping() -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(1, 60, 60))
    entered = limiter.acquire(_blocked)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            limiter.release(entered, answer(0, 60, 60))
        else:
            raise BlockedError

    with pytest.raises(BlockedError):
        limiter.acquire(sleep)
    assert all(0 < seconds <= 0.1 for seconds in slept)


def test_what_sleep_raises_ends_the_wait_of_every_thread() -> None:
    limiter = RateLimiter(0.0)
    limiter.release(limiter.acquire(_blocked), answer(0, 60, 60))
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise BlockedError

    with ThreadPoolExecutor(16) as pool:
        waits = [pool.submit(limiter.acquire, sleep) for _ in range(16)]
        time.sleep(0.3)
        assert not any(wait.done() for wait in waits)
        stopped.set()
        assert all(isinstance(wait.exception(timeout=10), BlockedError) for wait in waits)


class Limit:
    """
    A server's limit, kept in memory: ``limit`` requests in ``window`` seconds.

    ``kind`` is ``first`` (a window begins with the first request after the last one), ``clock`` (at multiples of its
    length), ``bucket`` (tokens drip in, reset tells when the next one comes) or ``sliding``.
    """

    def __init__(
        self, limit: int, window: float, kind: str, *, latency: float = 0.0, rounded: Callable[[float], int] = math.ceil
    ) -> None:
        self.limit, self.window, self.kind, self.latency, self.rounded = limit, window, kind, latency, rounded
        self.lock = threading.Lock()
        self.taken: list[float] = []
        self.windows: dict[float, int] = {}
        self.refused = 0
        self.start = -math.inf
        self.tokens, self.filled = float(limit), time.monotonic()

    def __call__(self) -> Reply:
        time.sleep(self.latency)
        with self.lock:
            reply = self._take(time.monotonic())
        time.sleep(self.latency)
        return reply

    def _take(self, now: float) -> Reply:
        remaining, left = getattr(self, f"_{self.kind}")(now)
        if remaining < 0:
            self.refused += 1
            return refusal(str(max(1, math.ceil(left))))
        self.taken.append(now)
        return answer(remaining, self.rounded(left), self.limit)

    def _first(self, now: float) -> tuple[int, float]:
        if now >= self.start + self.window:
            self.start = now
        return self._fixed(now)

    def _clock(self, now: float) -> tuple[int, float]:
        self.start = now // self.window * self.window
        return self._fixed(now)

    def _fixed(self, now: float) -> tuple[int, float]:
        used = self.windows[self.start] = min(self.limit + 1, self.windows.get(self.start, 0) + 1)
        return self.limit - used, self.start + self.window - now

    def _bucket(self, now: float) -> tuple[int, float]:
        rate = self.limit / self.window
        self.tokens = min(self.limit, self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens < 1:
            return -1, (1 - self.tokens) / rate
        self.tokens -= 1
        return int(self.tokens), (1 - self.tokens % 1) / rate

    def _sliding(self, now: float) -> tuple[int, float]:
        within = [moment for moment in self.taken if moment > now - self.window]
        return self.limit - len(within) - 1, (within[0] if within else now) + self.window - now


def work(limit: Limit, limiters: list[RateLimiter], requests: int, threads: int) -> None:
    """Send so many requests through each limiter; a refused one is sent again."""

    def one(limiter: RateLimiter) -> None:
        while True:
            entered = limiter.acquire(time.sleep)
            reply = limit()
            limiter.release(entered, reply)
            if reply.status != 429:
                return

    with ThreadPoolExecutor(threads * len(limiters)) as pool:
        list(pool.map(one, limiters * requests))


@pytest.mark.parametrize("threads", [16, 64])
@pytest.mark.parametrize("kind", ["first", "clock"])
def test_a_fixed_window_is_used_up_and_never_overdrawn(kind: str, threads: int) -> None:
    limit = Limit(20, 1, kind)
    work(limit, [RateLimiter(0.0)], 60, threads)
    assert limit.refused == 0
    assert len(limit.taken) == 60
    # A run that begins in the middle of a window has one more; none between the first and the last is left half used.
    assert list(limit.windows.values())[1:-1] == [20] * (len(limit.windows) - 2)
    assert len(limit.windows) <= 4


def test_a_fixed_window_without_a_limiter_is_overdrawn() -> None:
    limit = Limit(20, 1, "first")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: limit(), range(60)))
    assert limit.refused > 0


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.1])
def test_the_reserve_of_each_window_stays(latency: float) -> None:
    limit = Limit(40, 1, "clock", latency=latency)
    work(limit, [RateLimiter(0.25)], 90, 8)
    assert limit.refused == 0
    assert max(limit.windows.values()) <= 30


@pytest.mark.parametrize("kind", ["first", "clock"])
def test_several_limiters_on_one_key_do_not_overdraw(kind: str) -> None:
    limit = Limit(60, 1, kind, latency=0.005)
    work(limit, [RateLimiter(0.1), RateLimiter(0.1), RateLimiter(0.1)], 60, 8)
    assert len(limit.taken) == 180
    # The windows' shares are 54: at each one's end three may send their last one at once.
    assert limit.refused == 0
    assert max(limit.windows.values()) <= 60


@pytest.mark.parametrize(
    ("kind", "rounded", "most"),
    [
        # Each round of requests that was refused is followed by a single one.
        pytest.param("sliding", math.ceil, 40, id="sliding"),
        pytest.param("bucket", math.ceil, 8, id="bucket"),
        pytest.param("clock", math.floor, 20, id="rounded-down"),
    ],
)
def test_other_limits_are_only_slower(kind: str, rounded: Callable[[float], int], most: int) -> None:
    limit = Limit(20, 1, kind, rounded=rounded)
    work(limit, [RateLimiter(0.0)], 60, 8)
    assert len(limit.taken) == 60
    assert limit.refused <= most
