"""
Processes that start quickly: a server imports what they need, Airflow above all, and forks one for each order.

A module that calls :func:`serve` is the server; :class:`ForkServer` starts it, and sends it a JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class ForkServer:
    """
    Starts processes, each in a process group of its own.

    :param module: calls :func:`serve`; it is started when first needed.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._server: subprocess.Popen[str] | None = None
        self._answers = -1

    def start(self, order: Any, env: Mapping[str, str], output: Path) -> int:
        """
        Start a process, and return its id.

        :param order: what the module's function is given.
        :param env: its environment.
        :param output: the file that it writes to.
        """
        server = self._server = self._server or self._begin()
        assert server.stdin is not None
        server.stdin.write(json.dumps({"order": order, "env": dict(env), "output": str(output)}) + "\n")
        server.stdin.flush()
        return int(os.read(self._answers, 20))

    def stop(self) -> None:
        """End the server; the processes that it started go on."""
        if self._server:
            self._server.kill()
            self._server.communicate()
            os.close(self._answers)

    def _begin(self) -> subprocess.Popen[str]:
        self._answers, its_end = os.pipe()
        env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", self._module, str(its_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**env, "PYTHONPATH": str(ROOT)},
            pass_fds=(its_end,),
        )
        os.close(its_end)
        return server


def serve(carry_out: Callable[[Any], None]) -> None:
    """Fork a process for each order until standard input is closed."""
    answers = int(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: none becomes a zombie
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _become(json.loads(line), carry_out)
        os.write(answers, f"{pid}\n".encode())


def _become(given: dict[str, Any], carry_out: Callable[[Any], None]) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(given["env"])
    with Path(given["output"]).open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    code = 1
    try:
        carry_out(given["order"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - it goes to the output and into the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
