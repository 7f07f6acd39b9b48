"""
The evidence at size: ``verify`` beside ``sha256sum`` and ``json.loads``, ``simulate`` beside ``json.loads``, and chain
and signature beside a whole purge.

Each measurement is a process of its own; memory is what it takes over the start, at the highest.
"""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks._server import serving
else:
    # This file runs alone, and finds what lies beside it.
    from _server import serving

RUNS, OUTCOMES_A_RUN, ROWS, DAYS, PURGED, TURNS = 1_000, 1_000, 1_000_000, 365, 10_000, 3
MEMORY = 300
SEED = base64.b64encode(b"s" * 32).decode()


class QuickFolder:
    """A ledger's folder without the waits for the disk, so that a thousand runs are made in a minute."""

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, str(path)

    def put(self, name: str, data: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def modified(self, name: str) -> float:
        return (self.path / name).stat().st_mtime

    def files(self) -> Iterator[str]:
        from airflow_provider_anyformat.retention.folder import LocalFolder

        return LocalFolder(self.path).files()

    def folder(self, name: str) -> QuickFolder:
        return QuickFolder(self.path / name)


def make_ledger(path: Path, runs: int = RUNS, outcomes: int = OUTCOMES_A_RUN) -> None:
    """Write a chained and signed ledger as so many purges would have."""
    from airflow_provider_anyformat.retention.chain import link
    from airflow_provider_anyformat.retention.ledger import Ledger, Outcome
    from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
    from airflow_provider_anyformat.retention.signing import Signer

    root, signer, earlier = QuickFolder(path), Signer(SEED), dict[str, str]()
    for run in range(runs):
        origin = Origin("https://api.example", "nightly", "purge", -1, f"run-{run}", 1, "1.0")
        ids = [f"{run:08x}-0000-4000-8000-{each:012x}" for each in range(outcomes)]
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=run)
        plan = PurgePlan.of_ids(ids, guards=Guards("unlimited"), origin=origin, now=moment)
        ledger = Ledger(root, origin, signer=signer)
        ledger.write_plan(plan)
        link(ledger, earlier)
        for each in ids:
            date = "Tue, 02 Jun 2026 02:00:01 GMT"
            ledger.record(Outcome(each, "workflow", "deleted", 204, None, each, 1, "2026-06-02T02:00:01.123456Z", date))
        counts = {"deleted": outcomes, "already_gone": 0, "failed": 0, "not_attempted": 0, "kept": {}}
        ledger.close(counts | {"ledger": ledger.url, "plan_digest": plan.digest})
        earlier = {ledger.name.removeprefix("nightly/purge/"): str(ledger.summary_sha256)}


def make_listing(path: Path, rows: int = ROWS) -> None:
    """Write a listing of which a third is due today, and the rest day by day."""
    begin = datetime.now(UTC) - timedelta(days=600)
    with path.open("w") as file:
        for number in range(rows):
            moment = f"{begin + timedelta(seconds=number * 50):%Y-%m-%dT%H:%M:%S.%f}Z"
            row = {
                "id": f"{number:08x}-0000-4000-8000-{number:012x}",
                "file_id": f"{number:08x}-0000-4000-8000-{number:012x}",
                "name": f"invoice-{number}.pdf",
                "status": "processed",
                "created_at": moment,
                "updated_at": moment,
                "workflow_id": "00000000-0000-4000-8000-00000000000a",
            }
            file.write(json.dumps(row) + "\n")


def hash_and_parse(path: str) -> None:
    """Do what no look at a ledger can do without."""
    files = [str(each) for each in Path(path).rglob("*") if each.is_file()]
    subprocess.run(
        ["xargs", "-d", "\n", "sha256sum"], input="\n".join(files), text=True, check=True, capture_output=True
    )
    for each in files:
        if each.endswith(".jsonl"):
            with Path(each).open() as lines:
                for line in lines:
                    json.loads(line)


def parse(path: str) -> None:
    """Do what no look at a listing can do without."""
    with Path(path).open() as lines:
        for line in lines:
            json.loads(line)


def command(*arguments: str) -> Callable[[str], None]:
    """Give what runs a verb on a path."""

    def run(path: str) -> None:
        from airflow_provider_anyformat.cli.main import main

        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the process ends soon
        if main([arguments[0], path, *arguments[1:], "--json"]):
            raise RuntimeError(f"{arguments[0]} failed")

    return run


WORK: dict[str, Callable[[str], None]] = {
    "sha256sum and json.loads": hash_and_parse,
    "json.loads": parse,
    "verify": command("verify"),
    "simulate": command("simulate", "--older-than", "P400D", "--days", str(DAYS), "--keep-last", "10"),
}


def _measure(name: str, path: str, result: Any) -> None:
    # What is imported belongs to the start.
    from airflow_provider_anyformat.cli import main  # noqa: F401

    before, start = _status_mb("VmRSS"), time.perf_counter()
    WORK[name](path)
    result.put((time.perf_counter() - start, _status_mb("VmHWM") - before))


def measure(name: str, path: Path) -> tuple[float, float]:
    """Return the seconds and the MB that some work takes, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_measure, args=(name, str(path), result))
    process.start()
    taken: tuple[float, float] = result.get(timeout=600)
    process.join()
    return taken


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


def show(title: str, ours: str, beside: str, path: Path, most: float) -> bool:
    """Print a row; return whether its goals were met."""
    turns = [(measure(beside, path)[0], *measure(ours, path)) for _ in range(TURNS)]
    alone, seconds, memory = (statistics.median(turn[i] for turn in turns) for i in range(3))
    ratio = statistics.median(turn[1] / turn[0] for turn in turns)
    print(
        f"{title:58}{alone:8.2f} s{seconds:8.2f} s{ratio:8.2f}  at most {most:g}{memory:8.0f} MB  at most {MEMORY} MB",
        flush=True,
    )
    return ratio <= most and memory <= MEMORY


def show_purge(ledger: Path) -> bool:
    """Print what chain and signature add to a purge with a ledger in which many runs are already."""
    print(f"\n{f'purge of {PURGED:,} into a ledger of {RUNS:,} runs':58}{'purge':>10}{'of it':>10}{'share':>10}  goal")
    with serving() as url:
        turns = [purge_once(url, ledger, turn) for turn in range(TURNS)]
    whole, added = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    share = statistics.median(100 * turn[1] / turn[0] for turn in turns)
    print(f"{'chain and signature':58}{whole:8.2f} s{added:8.3f} s{share:8.2f} %  at most 1 %", flush=True)
    return share <= 1


def purge_once(url: str, ledger: Path, turn: int) -> tuple[float, float]:
    """Purge; return the seconds of all, and those of what chain and signature add."""
    from airflow_provider_anyformat import bulk
    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.retention import chain
    from airflow_provider_anyformat.retention.folder import LocalFolder
    from airflow_provider_anyformat.retention.ledger import Ledger
    from airflow_provider_anyformat.retention.plan import Guards, Origin
    from airflow_provider_anyformat.retention.policy import RetentionPolicy
    from airflow_provider_anyformat.retention.signing import Signer

    added = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            nonlocal added
            if arguments and isinstance(arguments[0], Ledger):
                # Whatever is written first makes the run's folder.
                Path(arguments[0].url).mkdir(parents=True)
            start = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                added += time.perf_counter() - start

        return measured

    signer = Signer(SEED)
    signer.sign = timed(signer.sign)  # type: ignore[method-assign]
    # The listing itself is there anyway: what killed runs left open is settled by it.
    plain = {name: getattr(chain, name) for name in ("unnamed", "summaries_of", "link")}
    for name, call in plain.items():
        setattr(chain, name, timed(call))
    origin = Origin(url, "nightly", "purge", -1, f"measured-{turn}", 1, "1.0")
    options = bulk.RunOptions(
        origin=origin, max_workers=8, quota_reserve=0.1, ledger=LocalFolder(ledger), signer=signer
    )
    policy = RetentionPolicy(older_than=timedelta(days=90), reference_time=datetime.now(UTC))
    client = AnyformatClient("af_benchmark", url)
    start = time.perf_counter()
    try:
        summary = bulk.purge(client, [f"list-{PURGED}-1"], policy, Guards("unlimited"), options)
    finally:
        client.close()
        for name, call in plain.items():
            setattr(chain, name, call)
    if summary["deleted"] != PURGED:
        raise RuntimeError(f"{summary['deleted']} were deleted")
    return time.perf_counter() - start, added


def main() -> bool:
    """Print all tables; return whether every goal was met."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="anyformat-benchmark-") as folder:
        ledger, listing = Path(folder, "ledger"), Path(folder, "listing.jsonl")
        make_ledger(ledger)
        make_listing(listing)
        print(f"{'':58}{'beside':>10}{'ours':>10}{'ratio':>8}  goal{'memory':>16}  goal")
        verified = f"verify {RUNS:,} runs, {RUNS * OUTCOMES_A_RUN:,} outcomes / sha256sum, json"
        met = show(verified, "verify", "sha256sum and json.loads", ledger, 2)
        met = show(f"simulate {ROWS:,} rows, {DAYS} days / json.loads", "simulate", "json.loads", listing, 4) and met
        return show_purge(ledger) and met


if __name__ == "__main__":
    raise SystemExit(not main())
