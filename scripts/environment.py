"""
Make a virtual environment with pinned versions and this checkout in it, or leave it as it is where nothing changed.

``environment.py FOLDER --pins constraints/airflow-3.3.2.txt --extra dev``

The environment must hold the Airflow that the pins name, else this fails. ``uv`` installs where it can, for it takes
seconds; where it cannot, pip does, with all that its own configuration says.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# uv is in an environment of its own, which makes all others.
UV_FOLDER = ROOT / ".cache" / "uv"
UV = UV_FOLDER / "bin" / "uv"
ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
# The Pythons that each major version of Airflow runs on, of those that this package is tested with.
PYTHONS = {"2": ("3.11", "3.12"), "3": ("3.11", "3.12", "3.13")}


class EnvironmentFailedError(Exception):
    """Why there is no environment, in a sentence for whoever called make."""


def airflow_of(pins: Path) -> str:
    """Read from the pins which Airflow it must be."""
    found = re.search(r"^apache-airflow==(\S+)$", pins.read_text(), re.MULTILINE)
    if not found:
        raise EnvironmentFailedError(f"{pins} does not pin apache-airflow")
    return found[1]


def version_of(python: str) -> str:
    """Ask an interpreter which Python it is, as in ``3.12``; empty where it does not run."""
    return subprocess.run([python, "-c", ASK_VERSION], capture_output=True, text=True, check=False).stdout.strip()


def find_python(airflow: str, first: str = sys.executable) -> str:
    """
    Find an interpreter that this Airflow runs on.

    :param first: is taken if it fits; default the one that runs this file.
    :raises EnvironmentFailedError: there is none; the message says which would do.
    """
    fitting = PYTHONS[airflow[0]]
    seen = []
    for name in [first, *(f"python{version}" for version in fitting)]:
        path = shutil.which(name)
        if path is None:
            continue
        version = version_of(path)
        if version in fitting:
            return path
        seen.append(f"{path} ({version or 'does not run'})")
    raise EnvironmentFailedError(
        f"Airflow {airflow} needs Python {' or '.join(fitting)}, and none was found; looked at {', '.join(seen)}."
        " Install one, or name it: make PYTHON=/path/to/python3.12 ..."
    )


def _fingerprint(python: str, pins: Path, extra: str) -> str:
    version = ROOT / "airflow_provider_anyformat" / "__init__.py"
    files = [pins, ROOT / "pyproject.toml", version, Path(__file__)]
    parts = [python, extra, *(path.read_text() for path in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _bare() -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
    variables.pop("VIRTUAL_ENV", None)
    return variables | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_PROGRESS": "1"}


def _environment(pins: Path) -> dict[str, str]:
    variables = _bare()
    variables.setdefault("UV_SYSTEM_CERTS", "1")
    # Else the first import of Airflow compiles a thousand files.
    variables.setdefault("UV_COMPILE_BYTECODE", "1")
    # The build backend is pinned like all else. Which variable pip reads for it depends on pip's age.
    variables |= {"UV_BUILD_CONSTRAINT": str(pins), "PIP_BUILD_CONSTRAINT": str(pins), "PIP_CONSTRAINT": str(pins)}
    if "UV_DEFAULT_INDEX" not in variables and UV.exists():
        asked = subprocess.run(
            [UV.with_name("python"), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        # A line such as global.index…='…'; the extra ones have another beginning.
        named = re.search(r"^global\.index\S*='(.*)'$", asked.stdout, re.MULTILINE)
        index = variables.get("PIP_INDEX_URL") or (named[1] if named else "")
        if index:
            variables["UV_DEFAULT_INDEX"] = index
    return variables


def fetch_uv() -> bool:
    """Fetch uv if it is not there yet; return whether it is there now."""
    if not UV.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(UV_FOLDER)], capture_output=True, check=False)
        command = [str(UV.with_name("python")), "-m", "pip", "install", "--quiet", "--no-input", "uv>=0.5,<1"]
        if UV.with_name("python").exists():
            subprocess.run(command, env=_bare(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return UV.exists()


def create(folder: Path, python: str) -> None:
    """
    Make an empty virtual environment in place of whatever is there; without pip, if uv will install.

    :raises EnvironmentFailedError: this Python makes none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--without-pip"] if fetch_uv() else []
    if subprocess.run([python, "-m", "venv", *options, str(folder)], check=False).returncode != 0:
        raise EnvironmentFailedError(f"{python} could not make a virtual environment; is its venv module installed?")


def install(folder: Path, pins: Path, *wanted: str) -> None:
    """
    Install what is wanted, in the pinned versions; with uv, else with pip.

    :param wanted: as on pip's command line.
    :raises EnvironmentFailedError: neither could.
    """
    python = str(folder / "bin" / "python")
    variables = _environment(pins)
    what = [*wanted, "--constraint", str(pins)]
    if fetch_uv():
        uv = [str(UV), "pip", "install", "--quiet", "--python", python]
        if subprocess.run([*uv, *what], env=variables, stdin=subprocess.DEVNULL, check=False).returncode == 0:
            return
    print("uv did not do it; installing with pip, which takes a minute or two", flush=True)
    subprocess.run([python, "-m", "ensurepip"], env=variables, capture_output=True, check=False)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input"]
    if subprocess.run([*pip, *what], env=variables, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise EnvironmentFailedError(f"pip could not install the packages of {pins}; its own words are above")


def make(folder: Path, pins: Path, extra: str) -> None:
    """
    Make the environment, unless it is there and was made from the same pins, metadata and Python.

    :raises EnvironmentFailedError: no fitting Python, an installation that failed, or another Airflow than asked for.
    """
    airflow = airflow_of(pins)
    python = find_python(airflow)
    stamp, fingerprint = folder / ".made-from", _fingerprint(python, pins, extra)
    if not (stamp.is_file() and stamp.read_text() == fingerprint and (folder / "bin" / "python").exists()):
        print(f"making {folder.name}: Airflow {airflow}, {Path(python).name}", flush=True)
        create(folder, python)
        install(folder, pins, "--editable", f"{ROOT}[{extra}]")
        stamp.write_text(fingerprint)
    try:
        check(folder, airflow)
    except EnvironmentFailedError:
        stamp.unlink(missing_ok=True)
        raise


def check(folder: Path, airflow: str) -> None:
    """
    See that an environment holds the Airflow that it is meant for.

    :raises EnvironmentFailedError: it holds another, or none.
    """
    ask = "from importlib.metadata import version; print(version('apache-airflow'))"
    asked = subprocess.run([str(folder / "bin" / "python"), "-c", ask], capture_output=True, text=True, check=False)
    if asked.stdout.strip() != airflow:
        raise EnvironmentFailedError(f"{folder} holds Airflow {asked.stdout.strip() or 'none'}, not {airflow}")


def main() -> int:
    """Read the command line; the exit code is 1 where there is no environment in the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pins", type=Path, required=True)
    parser.add_argument("--extra", default="dev", help="which extra of the package to install; default: dev")
    options = parser.parse_args()
    try:
        make(options.folder.absolute(), options.pins.absolute(), options.extra)
    except EnvironmentFailedError as error:
        print(f"environment: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
