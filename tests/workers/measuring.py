"""Throughput, as the server's own log of requests shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from airflow_provider_anyformat.sandbox.settings import RequestRecord

LIMIT, WINDOW = 400, 10.0


@dataclass
class Period:
    """
    From the first request of one of the server's windows to the first of the next one, the pause between included.

    :param hosts: to which names its requests were sent: each worker has one of its own.
    """

    begin: float
    end: float
    passed: int = 0
    refused: int = 0
    hosts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Figures:
    """
    What a purge came to.

    :param calls: requests sent, whatever became of them.
    :param refused: share of them that met a 429.
    :param seconds: from the first delete to the last.
    :param measured: seconds in which the throughput was measured.
    :param throughput: share of the limit that was used in them.
    """

    calls: int
    refused: float
    seconds: float
    measured: float
    throughput: float

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.refused:.2%} of them met a 429; deletes took {self.seconds:.0f} s;"
            f" {self.throughput:.1%} of the limit in the {self.measured:.0f} s that count"
        )


def measure(log: Sequence[RequestRecord], workers: int, disturbed: Iterable[tuple[float, float]] = ()) -> Figures:
    """
    Measure one purge.

    The server counts in fixed windows, and a purge uses one up and waits for the next. So only whole periods can be
    compared with the limit: those in which so many workers sent requests, that nothing disturbed for a moment, and
    after which there was more to do. A refusal uses nothing, and what the server answered with a fault did not count.

    :param workers: how many are to send requests.
    :param disturbed: from when to when there were fewer workers, or no server.
    """
    deletes = [record.time for record in log if record.method == "DELETE"]
    apart = list(disturbed)
    counted = [
        period
        for period in _periods(log)[:-1]
        if len(period.hosts) == workers and not any(period.begin < end and begin < period.end for begin, end in apart)
    ]
    seconds = sum(period.end - period.begin for period in counted)
    return Figures(
        calls=len(log),
        refused=sum(record.status == 429 for record in log) / len(log),
        seconds=deletes[-1] - deletes[0],
        measured=seconds,
        throughput=sum(period.passed for period in counted) / (LIMIT / WINDOW * seconds) if counted else 0.0,
    )


def _periods(log: Iterable[RequestRecord]) -> list[Period]:
    found: list[Period] = []
    for record in log:
        if record.fault is not None:
            continue
        if not found or record.time - found[-1].begin >= WINDOW:
            if found:
                found[-1].end = record.time
            found.append(Period(record.time, record.time))
        found[-1].passed += record.status != 429
        found[-1].refused += record.status == 429
        if record.method == "DELETE":
            found[-1].hosts.add(record.headers["host"].partition(":")[0])
    return found
