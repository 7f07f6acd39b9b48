"""The lines that run, counted; and coverage, left off where other tests show the same at half the cost."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# By it coverage finds the processes that tests start.
_OF_PROCESSES = "COVERAGE_PROCESS_CONFIG"


@contextmanager
def untraced() -> Iterator[None]:
    """Trace neither what runs here nor the threads and processes that are started here."""
    own, of_threads, of_processes = sys.gettrace(), threading.gettrace(), os.environ.pop(_OF_PROCESSES, None)
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        sys.settrace(own)
        threading.settrace(of_threads)
        if of_processes is not None:
            os.environ[_OF_PROCESSES] = of_processes


def lines_run(act: Callable[[], object]) -> int:
    """Count the lines that are run, each turn of a loop anew: the work without the clock."""
    count, before = itertools.count(), sys.gettrace()

    def trace(*_: Any) -> Any:
        next(count)
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return next(count)
