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
PAGES = sorted((ROOT / "docs").glob("*.md"))


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
    for name, cls in vars(files).items():
        if name.endswith("Operator") and not name.startswith("_") and cls.__module__ == files.__name__:
            assert f"## `{name}`" in text
            for parameter in cls.template_fields:
                assert f"`{parameter}`" in text, f"{name}: {parameter}"


def test_summary_table_names_every_key() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    keys = (
        "workflow_ids cutoff listed due requested deleted already_gone failed not_attempted kept plan_path plan_digest"
    )
    for key in [*keys.split(), "ledger"]:
        assert f"`{key}`" in text[text.index("## The summary") :]


def test_readme_names_the_extras() -> None:
    for name, entry in CONN_FIELDS.items():
        assert f"`{name}`" in README
        assert str(entry["schema"]["default"]) in README
