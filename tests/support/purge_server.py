"""
Runs purges, or batches of documents, in processes of their own, so that a test can kill them.

An order has the ``parameters`` of the operator, and ``run_id`` for a purge or ``batch``, the number of the try;
``die_at_sync``, the number of the ``os.fsync`` at which the process kills itself; and ``largest_file``, the bytes that
a file may have.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import Any

from tests.support.fork_server import serve
from tests.support.tasks import TaskInstance, purge
from tests.support.workflow_runs import run_batch


def _die_at_sync(number: int) -> None:
    sync, left = os.fsync, number

    def counted(fd: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(fd)

    os.fsync = counted


def _carry_out(order: dict[str, Any]) -> None:
    if order.get("die_at_sync"):
        _die_at_sync(order["die_at_sync"])
    if order.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], resource.RLIM_INFINITY))
    parameters = dict(order["parameters"])
    if order.get("batch"):
        summary = run_batch(order["batch"], parameters)
    else:
        summary = purge(parameters.pop("workflow_id"), TaskInstance(run_id=order["run_id"]), **parameters)
    print("summary", json.dumps(summary), flush=True)


if __name__ == "__main__":
    serve(_carry_out)
