"""A broker and a database out of Debian's packages, on private ports of loopback; nothing of them stays."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.debian import ensure
from scripts.processes import Processes, bare_environment, free_port

PROGRAMS = {"redis-server": "redis-server", "postgres": "postgresql"}
# Who owns the database where the tests run as root, whom Postgres refuses. Its Debian package makes this user.
OWNER = "postgres"


class Services(NamedTuple):
    """Where Celery's broker and Airflow's database are, with their passwords."""

    broker: str
    database: str


@contextmanager
def running() -> Iterator[Services]:
    """
    Start Redis and Postgres; end both, and remove what they wrote.

    :raises scripts.debian.MissingError: one is missing and cannot be installed; it says how to.
    """
    programs = ensure(PROGRAMS)
    # Not below pytest's folder, which is closed to the user that Postgres runs as.
    folder = Path(tempfile.mkdtemp(prefix="anyformat-services-"))
    processes = Processes(folder / "logs")
    try:
        broker = _start_redis(programs["redis-server"], folder, processes)
        database = _start_postgres(programs["postgres"], folder, processes)
        yield Services(broker, database)
    finally:
        try:
            processes.stop_all()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _start_redis(program: Path, folder: Path, processes: Processes) -> str:
    port, password = free_port(), secrets.token_hex(16)
    settings = {"bind": "127.0.0.1", "port": port, "requirepass": password, "save": '""', "dir": folder}
    # In a file, for a command line is there for every user to read.
    file = folder / "redis.conf"
    file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    processes.start("redis", [program, file], bare_environment())
    processes.wait_for(lambda: "Ready to accept connections" in processes.log("redis"), "Redis", 30)
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _start_postgres(program: Path, folder: Path, processes: Processes) -> str:
    port, password = free_port(), secrets.token_hex(16)
    home, secret = folder / "postgres", folder / "password"
    home.mkdir()
    secret.write_text(password)
    as_owner: list[str] = []
    if os.geteuid() == 0:
        owner = pwd.getpwnam(OWNER)
        folder.chmod(0o711)
        for path in (home, secret):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        # It replaces itself by the program, so that the process id is that of Postgres.
        as_owner = ["setpriv", f"--reuid={OWNER}", f"--regid={owner.pw_gid}", "--init-groups"]
    data = home / "data"
    options = ["--pgdata", str(data), "--username", OWNER, "--pwfile", str(secret), "--auth", "scram-sha-256"]
    subprocess.run(
        [*as_owner, str(program.with_name("initdb")), *options, "--no-sync", "--encoding", "UTF8", "--no-locale"],
        cwd=folder,
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    secret.unlink()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off"}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    processes.start("postgres", [*as_owner, program, "-D", data, *arguments], bare_environment())
    ready = "database system is ready to accept connections"
    processes.wait_for(lambda: ready in processes.log("postgres"), "Postgres", 30)
    return f"postgresql+psycopg2://{OWNER}:{password}@127.0.0.1:{port}/postgres"
