"""
Run purges, or batches of documents, in processes of their own, so that a test can kill them.

Reads one JSON object a line: ``env``, ``parameters`` of the operator, ``run_id``, ``output``, ``die_at_sync``, the
number of the ``os.fsync`` at which the process kills itself (0: at none), and ``largest_file``, the bytes that a file
may have (0: any); ``batch`` is the number of the try of a batch.  Answers each with the process's id. Airflow is
imported once, before the first fork: that is most of what a start costs.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

ANSWERS = os.dup(1)
os.dup2(2, 1)

from tests.integration.purges import FakeTaskInstance, purge  # noqa: E402
from tests.integration.running import run_batch  # noqa: E402


def _die_at_sync(number: int) -> None:
    sync, left = os.fsync, number

    def counted(fd: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(fd)

    os.fsync = counted


def _run(order: dict[str, Any]) -> None:
    os.setsid()
    os.close(ANSWERS)
    os.environ.update(order["env"])
    with Path(order["output"]).open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    code = 1
    try:
        if order["die_at_sync"]:
            _die_at_sync(order["die_at_sync"])
        if order["largest_file"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], resource.RLIM_INFINITY))
        parameters = dict(order["parameters"])
        if order.get("batch"):
            print("summary", json.dumps(run_batch(order["batch"], parameters)), flush=True)
            os._exit(0)
        summary = purge(parameters.pop("workflow_id"), FakeTaskInstance(run_id=order["run_id"]), **parameters)
        print("summary", json.dumps(summary), flush=True)
        code = 0
    except BaseException:  # noqa: BLE001 - it goes to the output and into the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Serve until standard input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: none becomes a zombie
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order)
        os.write(ANSWERS, f"{pid}\n".encode())


if __name__ == "__main__":
    main()
