"""
See whether a release can go out: ``release_check.py TOOLS``, with the environment that holds build and twine.

Version, tag and changelog are compared; sdist and wheel are built into ``dist`` and looked into; the wheel is resolved
under the constraints of six Airflows. Under those of the oldest and of each line's newest it is installed into an empty
environment, imported, looked up in what ``airflow providers`` shows, and tested, with a browser in front of a whole
Airflow; the package's source is not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.check_wheel import NAME, PACKAGE, contents
from scripts.constrained import DAYS, TRIED, NotReadyError, check_everywhere, constraints, run_tests
from scripts.environment import (
    PYTHONS,
    ROOT,
    EnvironmentFailedError,
    check,
    create,
    fetch_uv,
    find_python,
    install,
    version_of,
)

DIST = ROOT / "dist"
HOOK = {
    "connection_type": "anyformat",
    "class": f"{PACKAGE}.hooks.anyformat.AnyformatHook",
    "conn_id_attribute_name": "anyformat_conn_id",
    "package_name": NAME,
    "hook_name": "anyformat",
}


def package_version(source: str) -> str:
    """Read the version from the package's ``__init__.py``, the one place that has it."""
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if not found:
        raise NotReadyError(f'{PACKAGE}/__init__.py has no line __version__ = "..."; write it there')
    return found[1]


def compare(version: str, changelog: str, here: Sequence[str], elsewhere: Sequence[str]) -> str:
    """
    Hold version, tag and changelog against each other; return in a sentence how things stand.

    :param changelog: its text.
    :param here: the tags of the commit that is checked out.
    :param elsewhere: the tags of all other commits.
    :raises NotReadyError: they do not agree.
    """
    newest = re.search(r"^## (\S+)(?: \((.*)\))?$", changelog, re.MULTILINE)
    if not newest:
        raise NotReadyError(f"CHANGELOG.md has no entry; begin one with '## {version} (unreleased)'")
    if newest[1] != version:
        raise NotReadyError(
            f"the version is {version}, and the newest entry of CHANGELOG.md is {newest[1]}: give both the same number"
        )
    right = (f"v{version}", version)
    wrong = [tag for tag in here if re.match(r"v?\d", tag) and tag not in right]
    if wrong:
        raise NotReadyError(
            f"this commit has the tag {wrong[0]}, and the version is {version}: tag it {right[0]}, or set __version__"
        )
    tagged = [tag for tag in here if tag in right]
    used = [tag for tag in elsewhere if tag in right]
    if used and not tagged:
        raise NotReadyError(
            f"another commit has the tag {used[0]} already: raise __version__, and begin an entry of CHANGELOG.md"
            " for it"
        )
    dated = bool(re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2] or ""))
    if not dated and (tagged or newest[2] != "unreleased"):
        raise NotReadyError(
            f"the entry {version} of CHANGELOG.md says '{newest[2] or ''}' where a date belongs: write"
            f" '## {version} (YYYY-MM-DD)' before the commit is tagged"
        )
    if tagged:
        return f"version {version}, tag {tagged[0]}, changelog of {newest[2]}"
    return f"version {version}, changelog {newest[2]}, this commit has no tag; the one due is {right[0]}"


def check_rows(version: str, providers: Sequence[Mapping[str, str]], hooks: Sequence[Mapping[str, str]]) -> None:
    """
    See that Airflow shows this provider as it shows its own.

    :param providers: what ``airflow providers list`` gives.
    :param hooks: what ``airflow providers hooks`` gives.
    :raises NotReadyError: a row is missing or looks odd.
    """
    listed = next((row for row in providers if row["package_name"] == NAME), None)
    if listed is None:
        raise NotReadyError(
            f"airflow providers list does not show {NAME}; see the entry point apache_airflow_provider in"
            " pyproject.toml"
        )
    if listed["version"] != version:
        raise NotReadyError(
            f"airflow providers list shows version {listed['version']}, not {version}; remove dist and build anew"
        )
    # Airflow takes away `, _, < and > where it shows a description; other markup, and a line's end, stay in sight.
    if not listed["description"] or re.search(r"[*|\\\n]|::", listed["description"]):
        raise NotReadyError(
            f"airflow providers list shows the description {listed['description']!r}; make it one plain sentence, with"
            " no markup but a link, in get_provider_info.py"
        )
    hook = next((row for row in hooks if row["connection_type"] == HOOK["connection_type"]), None)
    if hook != HOOK:
        raise NotReadyError(
            f"airflow providers hooks shows {hook}, not {HOOK}; see connection-types in get_provider_info.py, and"
            " whether the hook can be imported"
        )


def tags() -> tuple[list[str], list[str]] | None:
    """Return the tags of this commit and those of all others; ``None`` where there is no git checkout."""
    here, every = (
        subprocess.run(["git", "tag", *which], cwd=ROOT, capture_output=True, text=True, check=False)
        for which in (["--points-at", "HEAD"], ["--list"])
    )
    if here.returncode != 0 or every.returncode != 0:
        return None
    of_head = here.stdout.split()
    return of_head, [tag for tag in every.stdout.split() if tag not in of_head]


def build(tools: Path) -> Path:
    """Build sdist and wheel, look into them, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    python = str(tools / "bin" / "python")
    _run([python, "-m", "build", "--no-isolation", "--outdir", str(DIST)], "the build failed; mend what it names")
    files = sorted(map(str, DIST.iterdir()))
    _run(
        [python, "-m", "twine", "--no-color", "check", "--strict", *files],
        "twine would not upload it; mend what it names",
    )
    contents(DIST)
    [wheel] = DIST.glob("*.whl")
    return wheel


def try_on(airflow: str, wheel: Path, version: str) -> tuple[Path, Path]:
    """
    Install the wheel into an empty environment under the constraints of one Airflow, and see what Airflow shows of it.

    :return: the environment, and the file of constraints.
    """
    newest = f"python{PYTHONS[airflow[0]][-1]}"
    found, folder = find_python(airflow, newest), ROOT / f".venv-wheel-{airflow}"
    pins = constraints(airflow, version_of(found))
    create(folder, found)
    install(folder, pins, f"{wheel}[sandbox]", f"apache-airflow=={airflow}")
    check(folder, airflow)
    with tempfile.TemporaryDirectory() as home:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
        variables |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False"}
        python = str(folder / "bin" / "python")
        _run([python, "-I", "scripts/check_wheel.py"], f"the wheel fails on Airflow {airflow}", variables)
        providers, hooks = (_rows(python, what, variables) for what in ("list", "hooks"))
    check_rows(version, providers, hooks)
    shown = next(row for row in providers if row["package_name"] == NAME)
    print(f"Airflow {airflow} shows: {shown['package_name']} | {shown['description']} | {shown['version']}", flush=True)
    print(f"Airflow {airflow} shows: {' | '.join(HOOK.values())}", flush=True)
    return folder, pins


def _rows(python: str, what: str, variables: Mapping[str, str]) -> list[dict[str, str]]:
    command = [python, "-I", "-m", "airflow", "providers", what, "--output", "json"]
    asked = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    try:
        rows: list[dict[str, str]] = json.loads(asked.stdout[asked.stdout.index("[{") :])
    except ValueError:
        raise NotReadyError(f"airflow providers {what} shows no list but this:\n{asked.stdout}{asked.stderr}") from None
    return rows


def _run(command: Sequence[str], otherwise: str, variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise NotReadyError(f"{otherwise}; its own words are above")


def main(tools: Path) -> None:
    """
    Do all of it.

    :param tools: the environment that holds build and twine.
    """
    version = package_version((ROOT / PACKAGE / "__init__.py").read_text())
    found = tags()
    if found is None:
        print("this is no git checkout, so there is no tag to compare", flush=True)
    print(compare(version, (ROOT / "CHANGELOG.md").read_text(), *(found or ([], []))), flush=True)
    tools = tools.absolute()
    pages = [str(tools / "bin" / "python"), "-m", "pytest", "-q", "tests/unit/test_docs.py"]
    _run(pages, "README or docs link to what is not there, or claim what is not so")
    wheel = build(tools)
    fetch_uv()
    check_everywhere(wheel)
    with ThreadPoolExecutor(len(TRIED)) as threads:
        tried = {airflow: threads.submit(try_on, airflow, wheel, version) for airflow in TRIED}
    failures = []
    # The tests run one after the other, because they watch the clock.
    for airflow, environment in tried.items():
        try:
            run_tests(*environment.result(), airflow)
        except (NotReadyError, EnvironmentFailedError) as error:
            failures.append(f"Airflow {airflow}: {error}")
    if failures:
        raise NotReadyError("\n".join(failures))
    print(f"{wheel.name} is fit to be released: it installs with {', '.join(DAYS)}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (NotReadyError, EnvironmentFailedError) as error:
        sys.exit(f"release-check: {error}")
