"""Rate limits in fixed windows, as far as anyformat publishes them, with the other readings as settings."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.settings import Settings

_SUBMISSION = ("/run/", "/files/", "/upload/")


class _Window:
    __slots__ = ("start", "used")

    def __init__(self, start: float) -> None:
        self.start = start
        self.used = 0


class RateLimit:
    """
    Counts requests by key and tier; used by the server's thread alone.

    :param settings: read anew at each use.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._windows: dict[tuple[str, str], _Window] = {}

    def take(self, key: str, method: str, path: str) -> tuple[bool, dict[str, str]]:
        """
        Count one request.

        :return: whether it may pass, and the headers that tell: ``x-ratelimit-*``, or ``Retry-After`` where it may not.
        """
        settings = self._settings
        submission = method == "POST" and path.endswith(_SUBMISSION)
        limit = settings.submission_limit if submission else settings.rate_limit
        if limit is None:
            return True, {}
        owner = key if settings.limit_per == "key" else ""
        now = time.monotonic()
        window = self._current(("submission" if submission else "general", owner), now)
        if window.used >= limit:
            if settings.refusals_extend:
                window.start = now
            return False, {"Retry-After": str(self._left(window, now))}
        window.used += 1
        if settings.omit_rate_headers:
            return True, {}
        return True, {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(limit - window.used),
            "x-ratelimit-reset": str(self._left(window, now)),
        }

    def _current(self, owner: tuple[str, str], now: float) -> _Window:
        length = self._settings.window
        window = self._windows.get(owner)
        if window is None or now - window.start >= length:
            start = now if self._settings.window_anchor == "first" else now // length * length
            window = self._windows[owner] = _Window(start)
        return window

    def _left(self, window: _Window, now: float) -> int:
        # In this order: start + window - now may come out a hair above a whole number, and one too many.
        return max(1, math.ceil(self._settings.window - (now - window.start)))
