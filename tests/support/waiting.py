"""The one way in which tests wait for something."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object], seconds: float = 20.0, said: Callable[[], str] = lambda: "it did not come about"
) -> None:
    """
    Wait until a condition holds.

    :param seconds: fail after so long.
    :param said: what to show then, such as a process's output.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, said()
        time.sleep(0.01)
