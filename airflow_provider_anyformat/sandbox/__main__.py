"""``python -m airflow_provider_anyformat.sandbox``: the sandbox from a shell."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = re.compile(r"[\x21-\x7e]{8,}")
_LIMITS = ("rate_limit", "submission_limit")


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("a key is 8 or more printable ASCII characters without blanks")
    return text


def _number(kind: type[int | float], least: float, most: float = float("inf")) -> Any:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not least <= value <= most or value == float("inf"):
            bound = f"from {least:g} to {most:g}" if most < float("inf") else f"of at least {least:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {'a whole' if kind is int else 'a'} number {bound}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_anyformat.sandbox",
        description="A local anyformat server. It listens on loopback only and keeps nothing on disk.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    count, seconds = _number(int, 0), _number(float, 0)
    add = parser.add_argument
    add("--port", type=_number(int, 0, 65535), default=8765, help="where to listen; 0 for any free port")
    add("--key", type=_key, default="af_sandbox", help="the API key that it accepts")
    add("--collections", type=count, default=0, metavar="N", help="processed collections in the workflow at the start")
    add("--days", type=seconds, default=180, help="age of the oldest of them in days; the others follow evenly")
    add("--latency", type=seconds, default=0.0, metavar="SECONDS", help="minimum for every answer")
    add(
        "--processing-seconds",
        type=seconds,
        default=0.5,
        metavar="SECONDS",
        help="from the start of a run until it is processed",
    )
    add("--rate-limit", type=count, default=600, metavar="N", help="requests a window; 0 for no limit")
    add(
        "--submission-limit",
        type=count,
        default=60,
        metavar="N",
        help="uploads and runs a window, which are counted apart; 0 for no limit",
    )
    add("--window", type=_number(float, 0.1), default=60.0, metavar="SECONDS", help="length of a window")
    add("--page-size-cap", type=_number(int, 1), default=100, metavar="N", help="the largest page it gives")
    add("--order", choices=("newest", "oldest", "shuffled"), default="newest", help="order of listings in version 2")
    other = parser.add_argument_group("other readings of what anyformat does not publish")
    add = other.add_argument
    add(
        "--second-delete-status",
        type=_number(int, 200, 511),
        default=404,
        metavar="STATUS",
        help="answer to a delete of what was deleted before",
    )
    add("--submit-body", choices=("full", "id"), default="full", help="the answer to a run in version 2")
    add(
        "--failure-status",
        type=int,
        choices=(422, 412),
        default=422,
        help="answer in version 2 where results are asked for and there will never be any",
    )
    add("--window-anchor", choices=("first", "clock"), default="first", help="when a window begins")
    add("--limit-per", choices=("key", "organisation"), default="key", help="who shares a limit")
    # Without a default of their own: these are left out unless they are given.
    switch: Any = {"default": argparse.SUPPRESS}
    add("--refusals-extend", action="store_true", **switch, help="a 429 starts the window anew")
    add("--omit-rate-headers", action="store_true", **switch, help="send no x-ratelimit headers")
    add("--no-file-ids", dest="file_ids", action="store_false", **switch, help="show rows without file_id")
    add("--any-id", dest="uuid_ids", action="store_false", **switch, help="a delete takes any id, not only UUIDs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a sandbox until SIGINT or SIGTERM.

    :param arguments: default: those of the command line.
    :return: the exit status.
    """
    options = vars(_parser().parse_args(arguments))
    collections, days = options.pop("collections"), options.pop("days")
    for name in _LIMITS:
        options[name] = options[name] or None
    try:
        from airflow_provider_anyformat.sandbox import Sandbox
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # Blocked in every thread, so that they wait for sigwait below and interrupt nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sandbox = Sandbox(**options)
    workflow_id = sandbox.add_workflow()
    if collections:
        age = timedelta(days=days)
        sandbox.fill(workflow_id, collections, created_at=datetime.now(UTC) - age, step=age / collections)
    try:
        sandbox.start()
    except OSError as error:
        sys.stderr.write(
            f"--port: {options['port']} cannot be used ({error}); give another one, or 0 for any free one\n"
        )
        return 1
    with sandbox:
        _greet(sandbox.url, sandbox.key, workflow_id, collections, sandbox.conn_env())
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


def _greet(url: str, key: str, workflow_id: str, collections: int, environment: dict[str, str]) -> None:
    connection = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    sys.stdout.write(
        f"anyformat sandbox at {url} (Ctrl-C ends it)\n"
        f"key: {key}\n"
        f"workflow: {workflow_id} ({collections} collections)\n"
        f"{connection}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
