"""
What holds for every test: an Airflow home of its own, a bare environment, no network but loopback.

All of it is in place before anything of Airflow is imported, for Airflow reads its configuration then.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tracing import untraced

# What a developer's shell may hold and a test must not see: configuration, connections, keys, proxies.
_FOREIGN_PREFIXES = ("AIRFLOW_", "ANYFORMAT_", "AWS_", "_AIRFLOW_")
_FOREIGN_NAMES = {"NETRC", "PYTHONWARNINGS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}

_HOME = Path(tempfile.mkdtemp(prefix="anyformat-tests-"))


# By it coverage finds the processes of a parallel run; what tests start would find it, too, and take longer.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def _bare_environment() -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES or name.lower().endswith("_proxy"):
            del os.environ[name]
    home = _HOME / "home"
    airflow_home = _HOME / "airflow"
    for folder in (home, airflow_home / "dags", airflow_home / "plugins"):
        folder.mkdir(parents=True)
    os.environ.update(
        {
            "HOME": str(home),
            "AIRFLOW_HOME": str(airflow_home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(airflow_home / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(airflow_home / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow_home / "logs"),
            "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # How soon a real task process learns that its state was changed from outside, in seconds.
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_COLOR": "1",
            "TZ": "UTC",
        }
    )


_bare_environment()


class NetworkBlockedError(RuntimeError):
    """A test tried to reach something that is not this machine."""


_blocked: list[str] = []


def _is_local(host: object) -> bool:
    if host in (None, "", b"", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback or str(host) in ("0.0.0.0", "::")
    except ValueError:
        return False


def _refuse(what: str) -> None:
    _blocked.append(what)
    raise NetworkBlockedError(f"a test reached out to {what}; only loopback is allowed")


def _install_guard() -> None:
    resolve = socket.getaddrinfo
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if isinstance(text, str) and text.rstrip(".").endswith(".invalid"):
            # RFC 6761: no such name ever resolves. Say so without asking anybody.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not _is_local(text):
            _refuse(f"{text} (name look-up)")
        return resolve(host, *args, **kwargs)

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            _refuse(f"{address[0]}:{address[1]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *args: Any) -> int:
        check(self, args[-1])
        return sendto(self, data, *args)

    socket.getaddrinfo = guarded_getaddrinfo
    socket.socket.connect = guarded_connect  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign,assignment]
    socket.socket.sendto = guarded_sendto  # type: ignore[method-assign,assignment]


_install_guard()
# SIGTERM unwinds as Ctrl-C does, so that the fixtures end what they started.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Airflow puts warning filters of its own in front when it is imported: here, once, and not in the middle of some test.
import airflow  # noqa: E402

__all__ = ["airflow"]


# Airflow takes seconds to load and to migrate a database: of the processes of a parallel run, only two do that.
_AIRFLOW_PROCESSES = 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and the real DAG runs in two."""
    from xdist.scheduler import LoadFileScheduling

    files: dict[str, int] = {}

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            if not file.startswith("tests/airflow/"):
                return file
            return f"airflow-{files.setdefault(file, len(files)) % _AIRFLOW_PROCESSES}"

    return Scheduling(config, log)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Measure no coverage of a test that is marked ``untraced``."""
    with untraced() if item.get_closest_marker("untraced") else contextlib.nullcontext():
        return (yield)


@pytest.fixture(autouse=True)
def _only_loopback() -> Iterator[None]:
    """Fail a test that tried to leave the machine, also where the code under test swallowed the refusal."""
    _blocked.clear()
    yield
    if _blocked:
        reached = ", ".join(dict.fromkeys(_blocked))
        _blocked.clear()
        pytest.fail(f"only loopback is allowed, but the test reached out to {reached}")


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Give the next test the environment and the working directory that this one found."""
    before, folder = dict(os.environ), Path.cwd()
    yield
    os.chdir(folder)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@pytest.fixture(scope="session")
def repository() -> Path:
    """Give the root of the checkout."""
    return Path(__file__).resolve().parent.parent
