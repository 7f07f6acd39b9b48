"""
Write ``constraints/``: every version of the environments that the tests and the demo run in.

Each file is one resolution for the lowest Python of its Airflow line, with the names that later Pythons need besides
added, so that one file serves them all. ``make pins`` runs it; the result is reviewed like any other change.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

from scripts.environment import PYTHONS, ROOT, UV, fetch_uv

LINES = ("3.3.2", "3.1.8", "2.11.2")
# The one whose environments the pages are built in, and Celery workers are tried in.
FULL = "3.3.2"
OLDEST_AIRFLOW = "2.11.0"
# The vendor's SDKs that tests/sdk sends to the sandbox, each in an environment of its own.
SDKS = ("0.5.0", "0.7.0", "1.18.0")


def resolve(python: str, requirements: list[str], constraints: list[str], *options: str) -> list[str]:
    """Resolve requirements for a Python version, and give the lines ``name==version``."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, bounds = Path(folder, "requirements.in"), Path(folder, "constraints.txt")
        wanted.write_text("\n".join(requirements))
        bounds.write_text("\n".join(constraints))
        command = [str(UV), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
        done = subprocess.run(
            [*command, *options, "--constraint", str(bounds), str(wanted)], check=True, capture_output=True, text=True
        )
    return [line for line in done.stdout.splitlines() if re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@]+", line)]


def for_all(pythons: tuple[str, ...], requirements: list[str], constraints: list[str]) -> list[str]:
    """Resolve for each Python in turn, holding what the ones before settled."""
    settled: dict[str, str] = {}
    for python in pythons:
        for line in resolve(python, requirements, [*constraints, *settled.values()]):
            settled.setdefault(line.partition("==")[0], line)
    return sorted(settled.values())


def main() -> None:
    """Write the files."""
    fetch_uv()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *extras["sandbox"]]
    everything = [*direct, *(name for name in extras["dev"] if not name.startswith(project["name"]))]
    more = [
        name
        for extra in ("docs", "lineage", "workers")
        for name in extras[extra]
        if not name.startswith(project["name"])
    ]

    files = {
        f"airflow-{airflow}.txt": for_all(
            PYTHONS[airflow[0]], [*everything, *(more if airflow == FULL else ())], [f"apache-airflow=={airflow}"]
        )
        for airflow in LINES
    }
    # Only what users install has lower bounds that mean something: the tools are as new as these allow.
    names = {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in direct}
    lowest = resolve(PYTHONS["2"][0], direct, [f"apache-airflow=={OLDEST_AIRFLOW}"], "--resolution", "lowest-direct")
    held = [line for line in lowest if line.partition("==")[0] in names]
    # Airflow 2.11.0 leaves it without an upper bound, but its ObjectStoragePath refuses s3:// from 0.3 on.
    held.append("universal-pathlib<0.3")
    files["oldest.txt"] = for_all(PYTHONS["2"], everything, held)

    shared: list[str] = []
    for version in SDKS:
        found = for_all(PYTHONS["3"], [f"anyformat=={version}"], shared)
        shared = sorted({*shared, *(line for line in found if not line.startswith("anyformat=="))})
    files["sdk.txt"] = shared

    for name, lines in files.items():
        (ROOT / "constraints" / name).write_text("\n".join(lines) + "\n")
        print(f"constraints/{name}: {len(lines)} versions")


if __name__ == "__main__":
    main()
