"""What README and docs say, held against what is there."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.get_provider_info import CONN_FIELDS
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
from airflow_provider_anyformat.operators import files
from airflow_provider_anyformat.retention.policy import RetentionPolicy, decide

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OPERATORS = [
    name
    for name, value in vars(files).items()
    if name.endswith("Operator") and not name.startswith("_") and value.__module__ == files.__name__
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_commands_are_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)

    assert commands[:2] == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("number", [0, 1], ids=["json", "uri"])
def test_connection_lines(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [block for block in blocks("bash") if "AIRFLOW_CONN" in block]
    assert len(lines) == 2
    name, _, value = shlex.split(lines[number])[1].partition("=")
    monkeypatch.setenv(name, value)

    settings = AnyformatHook().settings

    assert settings.api_key == "af_your_key"
    assert settings.base_url == "https://api.anyformat.ai"


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *PAGES]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_retention_table() -> None:
    text = (ROOT / "docs" / "retention.md").read_text()
    table = text[text.index("| id | name |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len(rows) >= 12
    collections = [
        FileCollection.from_json(
            {"id": id_, "name": name or None, "status": status, "created_at": created or None}, "w"
        )
        for id_, name, status, created, *_ in rows
    ]
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    policy = RetentionPolicy(
        older_than=timedelta(days=90),
        reference_time=noon,
        exclude_names=("contract-*",),
        exclude_collection_ids=("c-held",),
        keep_last=2,
    )

    decisions = [(decision.delete, decision.reason) for decision in decide(collections, policy, noon)]

    assert decisions == [(verdict == "delete", reason) for *_, verdict, reason in rows]


def test_operators_page_names_every_parameter() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    assert len(OPERATORS) >= 5
    for name in OPERATORS:
        assert f"## `{name}`" in text
        for parameter in getattr(files, name).template_fields:
            assert f"`{parameter}`" in text, f"{name}: {parameter}"


def test_summary_table_names_every_key() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    keys = (
        "workflow_ids cutoff listed due requested deleted already_gone failed not_attempted kept plan_path plan_digest"
    )
    for key in [*keys.split(), "ledger"]:
        assert f"`{key}`" in text[text.index("## The summary") :]


def test_readme_and_the_connection_s_page_name_the_extras() -> None:
    page = (ROOT / "docs" / "connection.md").read_text()
    for name, entry in CONN_FIELDS.items():
        default = str(entry["schema"]["default"])
        assert f"`{name}`" in README
        assert default in README
        assert f"| `{name}` | {entry['label']} | {default} |" in page


@pytest.mark.parametrize("number", [0, 1], ids=["json", "uri"])
def test_connection_lines_of_its_page(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [block for block in blocks("bash", (ROOT / "docs" / "connection.md").read_text()) if "_CONN_" in block]
    assert len(lines) == 2
    name, _, value = shlex.split(lines[number])[1].partition("=")
    monkeypatch.setenv(name, value)

    settings = AnyformatHook().settings

    assert settings.api_key == "af_your_key"
    assert settings.min_retention == timedelta(days=30)


def test_every_page_is_in_a_table_of_contents() -> None:
    """As Sphinx has it, which ``make docs`` runs: a page that no other page lists is found by nobody."""
    listed = {ROOT / "docs" / "index.md"}
    for page in PAGES:
        for toctree in blocks(r"{toctree}", page.read_text()):
            listed |= {page.parent / f"{line}.md" for line in toctree.splitlines() if line and not line.startswith(":")}
    assert listed == set(PAGES)


def test_the_reference_has_every_public_class() -> None:
    shown = "\n".join(page.read_text() for page in PAGES if page.parent.name == "reference")
    for name in [*OPERATORS, "AnyformatHook", "AnyformatClient", "Sandbox"]:
        assert f".. autoclass:: {name}\n" in shown
    assert ".. automodule:: airflow_provider_anyformat.exceptions\n   :members:" in shown
    assert not re.search(r"^.. auto\w+:: (\S*\.)?_", shown, re.MULTILINE)


def test_headings_that_links_name_are_there() -> None:
    for page in [ROOT / "README.md", *PAGES]:
        for target, heading in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text()):
            text = (page.parent / target if target else page).read_text()
            # As GitHub and myst make an anchor of a heading.
            anchors = [
                re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
                for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            ]
            assert heading in anchors, f"{page.name}: {target}#{heading}"
