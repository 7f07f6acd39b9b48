"""
Deleting at a rate limit, side by side with a loop that knows the limit and the moment at which its windows begin.

Both rows run against a sandbox in a process of its own. The ideal is measured in the same run: bare ``requests``
sessions that send a window's share at its very beginning and then sleep until the next. Run it alone on the machine:
``python benchmarks/bench_quota.py`` (some 90 seconds).
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

WINDOW = 4
THREADS = 16
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Case:
    """
    One row.

    :param name: what it is called in the table.
    :param deletes: how many, over all processes.
    :param limit: requests in a window.
    :param reserve: share of the window that is left alone.
    :param processes: tasks that share the key, each with 16 threads.
    :param goal: ideal time by time taken, at least.
    :param most_429: share of the calls that may be refused.
    """

    name: str
    deletes: int
    limit: int
    reserve: float
    processes: int
    goal: float
    most_429: float

    @property
    def share(self) -> int:
        """What one process may send in a window."""
        return round(self.limit * (1 - self.reserve)) // self.processes


CASES = (
    Case("one process, 300 at 60 in 4 s, reserve 0", 300, 60, 0.0, 1, 0.97, 0.0),
    Case("three processes, 1,200 at 200 in 4 s, reserve 0.1", 1200, 200, 0.1, 3, 0.95, 0.005),
)


def serve(limit: int, deletes: int, pipe: Connection) -> None:
    """Run a sandbox until the other side is done; then tell what it answered."""
    from airflow_provider_anyformat.sandbox import Sandbox

    with Sandbox(rate_limit=limit, window=WINDOW, window_anchor="clock") as sandbox:
        ids = sandbox.fill(sandbox.add_workflow(), deletes)
        pipe.send((sandbox.url, sandbox.key, ids))
        pipe.recv()
        pipe.send(Counter(record.status for record in sandbox.requests))


def next_window() -> float:
    """Return when the sandbox's next window begins: at multiples of its length on the machine's monotonic clock."""
    return (time.monotonic() // WINDOW + 1) * WINDOW + 0.005


def sleep_until(moment: float) -> None:
    """Sleep until ``time.monotonic()`` is ``moment``."""
    time.sleep(max(0.0, moment - time.monotonic()))


def paced(case: Case, url: str, key: str, ids: Sequence[str], start: Callable[[], float]) -> tuple[float, float]:
    """Delete with the client and its rate limiter; return when it began and when it ended."""
    from airflow_provider_anyformat.api.client import AnyformatClient

    with AnyformatClient(key, url).paced(case.reserve) as client, ThreadPoolExecutor(THREADS) as pool:
        began = start()
        list(pool.map(client.delete_file_collection, ids))
        return began, time.monotonic()


def ideal(case: Case, url: str, key: str, ids: Sequence[str], start: Callable[[], float]) -> tuple[float, float]:
    """Delete a share at the beginning of each window; return when it began and when it ended."""
    import requests

    local = threading.local()

    def delete(collection_id: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
            local.session.headers["Authorization"] = f"Bearer {key}"
        local.session.delete(f"{url}/v2/files/{collection_id}/", timeout=30).raise_for_status()

    with ThreadPoolExecutor(THREADS) as pool:
        began = start()
        for number, first in enumerate(range(0, len(ids), case.share)):
            sleep_until(began + number * WINDOW)
            list(pool.map(delete, ids[first : first + case.share]))
        return began, time.monotonic()


def work(way: str, case: Case, url: str, key: str, ids: Sequence[str], barrier: Any, results: Any) -> None:
    """Do one process's part, from the beginning of the next window."""

    def start() -> float:
        barrier.wait()
        # All processes mean the same window, also if one of them is woken late.
        moment = next_window() + (WINDOW if time.monotonic() % WINDOW > WINDOW - 1 else 0)
        sleep_until(moment)
        return moment

    results.put({"ideal": ideal, "paced": paced}[way](case, url, key, ids, start))


def run(way: str, case: Case) -> tuple[float, Counter[int | None]]:
    """Return the seconds that all deletes took, and the sandbox's count of its answers."""
    ours, theirs = _SPAWN.Pipe()
    server = _SPAWN.Process(target=serve, args=(case.limit, case.deletes, theirs), daemon=True)
    server.start()
    url, key, ids = ours.recv()
    barrier, results = _SPAWN.Barrier(case.processes), _SPAWN.Queue()
    workers = [
        _SPAWN.Process(target=work, args=(way, case, url, key, ids[i :: case.processes], barrier, results), daemon=True)
        for i in range(case.processes)
    ]
    for worker in workers:
        worker.start()
    moments = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    ours.send("done")
    answers: Counter[int | None] = ours.recv()
    server.join()
    return max(end for _, end in moments) - min(begin for begin, _ in moments), answers


def main() -> bool:
    """Print the table; return whether every goal was met."""
    met = True
    print(f"{'':52}{'ideal':>9}{'paced':>9}{'ratio':>8}{'goal':>8}{'429':>12}{'at most':>9}")
    for case in CASES:
        best, _ = run("ideal", case)
        taken, answers = run("paced", case)
        refused = answers[429] / answers.total()
        met = met and best / taken >= case.goal and refused <= case.most_429 and answers[204] == case.deletes
        print(
            f"{case.name:52}{best:7.2f} s{taken:7.2f} s{best / taken:8.3f}{case.goal:8.2f}"
            f"{answers[429]:4} = {refused:5.2%}{case.most_429:9.1%}",
            flush=True,
        )
    return met


if __name__ == "__main__":
    raise SystemExit(not main())
