"""Coverage, left off where it costs half the time and shows nothing that other tests do not show."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
