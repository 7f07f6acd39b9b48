"""What is built and installed: the distribution, the pins, the environments that make creates."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import airflow
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# sdk.txt pins what the vendor's SDKs need, without Airflow.
PINS = sorted(path for path in (ROOT / "constraints").glob("*.txt") if path.stem != "sdk")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pinned(path: Path) -> dict[str, str]:
    return dict(line.split("==") for line in path.read_text().splitlines())


def test_a_file_under_airflow_in_the_wheel_is_seen(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        wheel.writestr("airflow/providers/anyformat/__init__.py", "")
    (tmp_path / "some.tar.gz").write_bytes(b"")
    with pytest.raises(SystemExit, match="outside airflow_provider_anyformat/"):
        load("check_wheel").contents(tmp_path)


def test_the_entry_points() -> None:
    points = {
        (group, name): EntryPoint(name, value, group).load()
        for group, declared in PROJECT["entry-points"].items()
        for name, value in declared.items()
    }
    assert points.pop(("apache_airflow_provider", "provider_info"))()["package-name"] == PROJECT["name"]
    assert hasattr(points.pop(("pytest11", "anyformat")), "anyformat_sandbox")
    assert points.pop(("airflow.plugins", "anyformat")).name == "anyformat"
    assert points == {}


# What Airflow 2.11.0 pinned on the day of its release: no bound may be above, for its constraints file holds these.
PINNED_BY_2_11_0 = {
    "apache-airflow": "2.11.0",
    "fsspec": "2025.3.2",
    "pydantic": "2.11.4",
    "pyyaml": "6.0.2",
    "requests": "2.32.3",
    "rich": "13.9.4",
    "tenacity": "9.1.2",
}


def test_the_dependencies_are_few_and_within_the_oldest_constraints() -> None:
    plain = {requirement.name: requirement.specifier for requirement in map(Requirement, PROJECT["dependencies"])}
    assert plain.keys() == PINNED_BY_2_11_0.keys()
    for name, specifier in plain.items():
        assert [one.operator for one in specifier] == [">="], name
        assert specifier.contains(PINNED_BY_2_11_0[name]), name


def test_the_pythons_are_the_same_wherever_they_are_claimed() -> None:
    tried = {version for versions in load("environment").PYTHONS.values() for version in versions}
    claimed = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text}
    (row,) = re.findall(r"^\| Python \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert claimed == tried == set(re.findall(r"3\.1\d\b(?!\.)", row.partition(";")[0]))
    assert PROJECT["requires-python"] == f">={min(tried)}"


def test_this_environment_is_one_that_is_pinned() -> None:
    assert airflow.__version__ in {pinned(path)["apache-airflow"] for path in PINS}


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_pins_are_bare_versions_of_everything_direct(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.+!-]+", line)] == []
    direct = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["sandbox"]]
    direct += [text for text in PROJECT["optional-dependencies"]["dev"] if not text.startswith(PROJECT["name"])]
    if path.stem == "airflow-3.3.2":
        direct += [*PROJECT["optional-dependencies"]["lineage"], *PROJECT["optional-dependencies"]["workers"]]
    for requirement in map(Requirement, direct):
        assert requirement.specifier.contains(pinned(path)[requirement.name]), str(requirement)


def test_oldest_is_as_old_as_the_bounds_allow() -> None:
    versions = pinned(ROOT / "constraints" / "oldest.txt")
    for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["sandbox"]]):
        if requirement.name == "fsspec":
            # The tests' s3fs asks for an fsspec of its own release.
            continue
        [bound] = requirement.specifier
        assert [int(part) for part in bound.version.split(".")] == [
            int(part) for part in versions[requirement.name].split(".")[: len(bound.version.split("."))]
        ], str(requirement)


def test_airflow_2_on_a_python_it_does_not_know_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = load("environment")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(environment.EnvironmentFailedError, match=r"Airflow 2\.11\.2 needs Python 3\.11 or 3\.12"):
        environment.find_python("2.11.2", "/nowhere/python3.14")


def test_an_environment_with_another_airflow_fails(tmp_path: Path) -> None:
    environment = load("environment")
    pins, folder = ROOT / "constraints" / "airflow-3.3.2.txt", tmp_path / "env"
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 9.9.9\n")
    python.chmod(0o755)
    interpreter = environment.find_python("3.3.2")
    (folder / ".made-from").write_text(environment._fingerprint(interpreter, pins, "dev"))
    with pytest.raises(environment.EnvironmentFailedError, match=r"holds Airflow 9\.9\.9, not 3\.3\.2"):
        environment.make(folder, pins, "dev")
    assert not (folder / ".made-from").exists()


def test_make_alone_lists_every_target_that_is_meant_for_people() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert {"demo", "test", "lint", "benchmarks", "clean"} <= set(listed)
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "path",
    [ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / ".ci" / "run", *PINS, *(ROOT / "scripts").rglob("*.py")],
    ids=lambda path: path.name,
)
def test_no_file_names_a_registry_or_a_place_of_some_machine(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"--(?:extra-)?index[-]url|--find[-]links|/(?:root|home)/\w|/tmp/|pypi\.org", text) == []
