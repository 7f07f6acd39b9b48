"""What stands in the way of a release: version, tag and changelog that differ, and rows that Airflow does not show."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.get_provider_info import get_provider_info
from scripts.constrained import READ, TRIED, NotReadyError
from scripts.release_check import HOOK, check_rows, compare, package_version

ROOT = Path(__file__).resolve().parents[2]
PROVIDER = {"package_name": "airflow-provider-anyformat", "description": "anyformat https://a.ai", "version": "1.2.0"}


def changelog(*entries: str) -> str:
    return "# Changelog\n\nWords.\n\n" + "\n\n".join(f"## {entry}\n\n### Added\n\n- Something." for entry in entries)


DATED, UNDATED = changelog("1.2.0 (2026-11-25)", "1.1.0 (2026-10-01)"), changelog("1.2.0 (unreleased)")


@pytest.mark.parametrize(
    ("text", "here", "elsewhere", "says"),
    [
        pytest.param(UNDATED, [], [], "no tag; the one due is v1.2.0", id="before the tag"),
        pytest.param(UNDATED, [], ["v1.1.0"], "no tag; the one due is v1.2.0", id="after an earlier release"),
        pytest.param(DATED, [], [], "no tag; the one due is v1.2.0", id="dated, not tagged yet"),
        pytest.param(DATED, ["v1.2.0"], [], "tag v1.2.0, changelog of 2026-11-25", id="tagged"),
        pytest.param(DATED, ["1.2.0"], [], "tag 1.2.0, changelog of 2026-11-25", id="tagged without the v"),
        pytest.param(DATED, ["nightly", "v1.2.0"], [], "tag v1.2.0,", id="another sort of tag beside it"),
        pytest.param(UNDATED, ["very-good"], [], "no tag;", id="another sort of tag alone"),
    ],
)
def test_what_agrees(text: str, here: list[str], elsewhere: list[str], says: str) -> None:
    assert says in compare("1.2.0", text, here, elsewhere)


@pytest.mark.parametrize(
    ("text", "here", "elsewhere", "says"),
    [
        pytest.param("# Changelog\n", [], [], "begin one with '## 1.2.0 (unreleased)'", id="no entry"),
        pytest.param(changelog("1.1.0 (2026-10-01)"), [], [], "newest entry of CHANGELOG.md is 1.1.0", id="old entry"),
        pytest.param(changelog("1.3.0 (unreleased)", "1.2.0 (2026-11-25)"), [], [], "is 1.3.0", id="newer entry"),
        pytest.param(DATED, ["v1.2.1"], [], "the tag v1.2.1, and the version is 1.2.0: tag it v1.2.0", id="other tag"),
        pytest.param(DATED, ["v1.2.0", "v1.3.0"], [], "the tag v1.3.0", id="two tags"),
        pytest.param(UNDATED, ["v1.2.0"], [], "'## 1.2.0 (YYYY-MM-DD)'", id="tagged, no date"),
        pytest.param(changelog("1.2.0"), ["v1.2.0"], [], "'## 1.2.0 (YYYY-MM-DD)'", id="tagged, nothing"),
        pytest.param(changelog("1.2.0 (soon)"), [], [], "says 'soon' where a date belongs", id="neither"),
        pytest.param(changelog("1.2.0 (25.11.2026)"), ["v1.2.0"], [], "25.11.2026", id="another form of a date"),
        pytest.param(DATED, [], ["v1.2.0"], "another commit has the tag v1.2.0 already", id="released before"),
    ],
)
def test_what_does_not(text: str, here: list[str], elsewhere: list[str], says: str) -> None:
    with pytest.raises(NotReadyError, match=re.escape(says)):
        compare("1.2.0", text, here, elsewhere)


def test_the_version_stands_in_one_place() -> None:
    source = (ROOT / "airflow_provider_anyformat" / "__init__.py").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert package_version(source) == __version__
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "airflow_provider_anyformat/__init__.py"}
    with pytest.raises(NotReadyError, match="write it there"):
        package_version('"""A package."""\n')


def test_this_checkout_could_be_tagged() -> None:
    assert f"version {__version__}" in compare(__version__, (ROOT / "CHANGELOG.md").read_text(), [], [])


def test_rows_as_they_should_be() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert (connection["connection-type"], connection["hook-class-name"]) == (HOOK["connection_type"], HOOK["class"])
    other = PROVIDER | {"package_name": "apache-airflow-providers-http", "version": "6.3.0"}
    check_rows("1.2.0", [other, PROVIDER], [{"connection_type": "http"}, HOOK])


@pytest.mark.parametrize(
    ("providers", "hooks", "says"),
    [
        pytest.param([], [HOOK], "does not show airflow-provider-anyformat", id="no provider"),
        pytest.param([PROVIDER | {"version": "1.1.0"}], [HOOK], "shows version 1.1.0, not 1.2.0", id="old build"),
        pytest.param([PROVIDER | {"description": ""}], [HOOK], "shows the description ''", id="no description"),
        pytest.param([PROVIDER | {"description": "**bold**"}], [HOOK], "no markup but a link", id="markup"),
        pytest.param([PROVIDER | {"description": "two\nlines"}], [HOOK], "no markup but a link", id="two lines"),
        pytest.param([PROVIDER], [], "providers hooks shows None", id="no hook"),
        pytest.param([PROVIDER], [HOOK | {"hook_name": "Error when importing hook!"}], "can be imported", id="broken"),
    ],
)
def test_odd_rows(providers: list[dict[str, str]], hooks: list[dict[str, str]], says: str) -> None:
    with pytest.raises(NotReadyError, match=re.escape(says)):
        check_rows("1.2.0", providers, hooks)


def test_what_the_wheel_is_tried_with_is_there() -> None:
    made = {"build/docs"}
    named = {name.partition("::")[0] for name in (*itertools.chain(*TRIED.values()), *READ)}
    assert [name for name in named - made if not (ROOT / name).exists()] == []
