"""Look into the built wheel; as a command, use the installed one as Airflow does."""

from __future__ import annotations

import importlib
import sys
import tarfile
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

NAME = "airflow-provider-anyformat"
PACKAGE = "airflow_provider_anyformat"


def contents(folder: Path) -> None:
    """Fail where the wheel has what it should not have, or lacks what it should."""
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    foreign = [name for name in names if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))]
    if foreign:
        # airflow/ above all: a file there would shadow Airflow's own.
        sys.exit(f"the wheel has files outside {PACKAGE}/: {foreign}")
    on_disk = {path.as_posix() for path in Path(PACKAGE).rglob("*") if path.suffix == ".py" or path.name == "py.typed"}
    on_disk |= {path.as_posix() for path in Path(PACKAGE, "plugin", "static").iterdir()}
    on_disk |= {f"{PACKAGE}/{path.as_posix()}" for path in Path("example_dags").glob("*.*")}
    if missing := on_disk - set(names):
        sys.exit(f"the wheel lacks {sorted(missing)}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        sys.exit("the wheel has no LICENSE")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    if missing := {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", f"{PACKAGE}/py.typed"} - packed:
        sys.exit(f"the sdist lacks {sorted(missing)}")
    print(f"{wheel.name}: {len(names)} files, {sdist.name}: {len(packed)}")


def imports() -> None:
    """Load the entry point as Airflow does, and every class and module that it names."""
    [point] = [found for found in entry_points(group="apache_airflow_provider") if found.module.startswith(PACKAGE)]
    info = point.load()()
    if info["package-name"] != NAME:
        sys.exit(f"package-name is {info['package-name']}")
    for connection in info["connection-types"]:
        module, _, name = connection["hook-class-name"].rpartition(".")
        getattr(importlib.import_module(module), name)
    for group in info["operators"]:
        for module in group["python-modules"]:
            importlib.import_module(module)
    where = Path(importlib.import_module(PACKAGE).__file__ or "").resolve()
    if "site-packages" not in where.parts:
        sys.exit(f"imported from {where}, not from the installed wheel")
    print(f"{NAME} {distribution(NAME).version}: provider info, hook and operators import")


if __name__ == "__main__":
    imports()
