"""Room in memory for the results that are on their way to the archive."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# All results together, in bytes.
RESULTS_IN_MEMORY = 64 * 1024 * 1024
# So much for each of the most threads that there can be; what is larger is fetched while no other is in memory.
SMALL_RESULT = RESULTS_IN_MEMORY // 64
_POLL = 0.02


class Room:
    """
    A number of bytes that threads share. Who asks first is served first, so that a large one has its turn.

    :param size: how many.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int, check: Callable[[], None]) -> Iterator[None]:
        """
        Wait until there is room, and give it back at the end.

        :param size: bytes; at most all.
        :param check: called while waiting; what it raises ends the wait.
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or self._free < size:
                    check()
                    self._changed.wait(_POLL)
                self._free -= size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
