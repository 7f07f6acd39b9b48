"""What some tests need of the system, out of Debian's packages: a browser, a database, a broker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


class MissingError(Exception):
    """Which programs are missing, and how to get them."""


def find(program: str) -> Path | None:
    """Find a program on the path, or where Debian keeps those of PostgreSQL's server; ``None`` if there is none."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, servers), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(program, path=path)
    return None if found is None else Path(found)


def ensure(programs: Mapping[str, str]) -> dict[str, Path]:
    """
    Find programs, and install the packages of those that are missing.

    :param programs: the package, or packages with blanks between, of each program.
    :return: the path of each program.
    :raises MissingError: one is missing and cannot be installed from here.
    """
    missing = [package for program, packages in programs.items() if not find(program) for package in packages.split()]
    said = ""
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", *command], env=environment, capture_output=True, text=True, check=False, timeout=900
            )
            said = done.stderr
    found = {program: find(program) for program in programs}
    paths = {program: path for program, path in found.items() if path is not None}
    if len(paths) < len(programs):
        raise MissingError(
            f"there is no {', '.join(sorted(set(programs) - set(paths)))} on this machine; as root:"
            f" apt-get install {' '.join(missing)}\n{said}"
        )
    return paths
