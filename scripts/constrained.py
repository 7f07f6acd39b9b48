"""
See that a wheel installs under Airflow's own constraints, and works there.

Airflow publishes a constraints file with each release: what its dependencies were on that day. The package index knows
that too, so the same versions are had by resolving Airflow with nothing newer than the day.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from scripts.check_wheel import NAME
from scripts.environment import PYTHONS, ROOT, UV, install

# The oldest Airflow that is supported, the newest, and what lies between: each with the day of its constraints.
DAYS = {
    "2.11.0": "2025-05-25",
    "2.11.2": "2026-03-17",
    "3.1.0": "2025-09-29",
    "3.1.8": "2026-03-17",
    "3.3.0": "2026-07-14",
    "3.3.2": "2026-09-19",
}
FOLDER = ROOT / "build" / "constraints"
# Of the suite's real DAG runs: the README's, documents that are run and deleted, purges with a ledger.
DAG_RUNS = (
    "tests/airflow/test_readme.py",
    "tests/airflow/test_examples_run.py",
    "tests/airflow/test_examples_purge.py",
)
# What the installed wheel has to pass with each Airflow: DAG runs on the oldest and the newest, and on each line its
# servers and a browser.
TRIED = {
    "2.11.0": DAG_RUNS,
    "2.11.2": tuple(f"tests/system/test_{name}.py" for name in ("browser", "mark_failed", "run_deferred")),
    "3.1.8": (
        "tests/system/test_browser.py::test_every_field_is_labelled_and_explained",
        "tests/system/test_page_in_airflow.py",
    ),
    "3.3.2": (*DAG_RUNS, "tests/system"),
}
# What these tests read, of which the package's source must not be a part.
READ = ("tests", "example_dags", "docs", "scripts", "README.md", "pyproject.toml", "build/docs")


class NotReadyError(Exception):
    """What stands in the way of a release, and what to do about it."""


@cache
def constraints(airflow: str, python: str) -> Path:
    """Resolve an Airflow as of its day for a version of Python, and return the file of bare pins."""
    path = FOLDER / f"{airflow}-{python}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _compile(python, [f"apache-airflow=={airflow}"], "--exclude-newer", DAYS[airflow])
    path.write_text(lines)
    return path


def check_everywhere(wheel: Path) -> None:
    """
    Resolve the wheel and its sandbox under the constraints of each Airflow on each of its Pythons.

    :raises NotReadyError: it contradicts some of them.
    """
    every = [(airflow, python) for airflow in DAYS for python in PYTHONS[airflow[0]]]
    with ThreadPoolExecutor(8) as threads:
        for line in threads.map(lambda one: _check(wheel, *one), every):
            print(line, flush=True)


def run_tests(folder: Path, pins: Path, airflow: str) -> None:
    """
    Run what this Airflow has to pass, in an environment that holds the installed wheel.

    :raises NotReadyError: a test failed.
    """
    install(folder, pins, "playwright", "pytest", "pytest-rerunfailures", "pytest-timeout")
    with tempfile.TemporaryDirectory() as elsewhere:
        for name in READ:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(elsewhere, name))
        command = [str((folder / "bin" / "python").absolute()), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--reruns", "1", *TRIED[airflow]], cwd=elsewhere, stdin=subprocess.DEVNULL, check=False
        )
    if done.returncode != 0:
        raise NotReadyError(f"tests fail in {folder.name}, where {pins.name} holds; pytest says why above")


def _check(wheel: Path, airflow: str, python: str) -> str:
    pins = constraints(airflow, python)
    wanted = [f"{NAME}[sandbox] @ {wheel.as_uri()}", f"apache-airflow=={airflow}"]
    try:
        # All but a few names have just been asked for.
        _compile(python, wanted, "--constraint", str(pins), "--offline")
    except NotReadyError:
        _compile(python, wanted, "--constraint", str(pins))
    return f"resolves under the constraints of Airflow {airflow}, {DAYS[airflow]}, Python {python}"


def _compile(python: str, wanted: list[str], *options: str) -> str:
    command = [str(UV), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    done = subprocess.run(
        [*command, *options, "-"], input="\n".join(wanted), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotReadyError(f"{' '.join(wanted)} on Python {python}, {' '.join(options)}:\n{done.stderr}")
    return done.stdout
