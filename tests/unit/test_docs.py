"""What README and docs say, held against what is there."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_anyformat import exceptions
from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.get_provider_info import CONN_FIELDS
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
from airflow_provider_anyformat.operators import files, workflows
from airflow_provider_anyformat.retention.policy import RetentionPolicy, decide
from airflow_provider_anyformat.rules.reading import load_holds, read_rules
from scripts.rules_reference import PAGE, tables, with_tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OPERATORS = [
    name
    for module in (workflows, files)
    for name, value in vars(module).items()
    if name.endswith("Operator") and not name.startswith("_") and value.__module__ == module.__name__
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)```", text, re.DOTALL | re.MULTILINE)


def test_commands_are_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)

    assert commands[:2] == ["demo", "test"]
    assert "\nmake test" in README[: len(README) // 2]
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


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text)


def in_the_repository(link: str) -> str | None:
    """The path and heading that a link to the repository on GitHub leads to, if it is one."""
    raw = REPOSITORY.replace("https://github.com", "https://raw.githubusercontent.com")
    for base in (f"{REPOSITORY}/blob/main/", f"{raw}/main/"):
        if link.startswith(base):
            return link.removeprefix(base)
    if link.startswith(f"{REPOSITORY}#"):
        return link.replace(f"{REPOSITORY}#", "README.md#")
    return None


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        found = in_the_repository(link)
        assert found is not None or "github.com/anyformat-ai" not in link or link.startswith(f"{REPOSITORY}/"), link
        if link.startswith("https://") and found is None:
            continue
        # The README is also the page of a package index, which has none of the files beside it.
        assert found is not None or page.name != "README.md", link
        target, _, heading = (found or link).partition("#")
        file = (ROOT if found else page.parent) / target if target else page
        assert file.exists(), link
        if heading:
            # As GitHub and myst make an anchor of a heading.
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings], link


def test_the_addresses_of_the_package_are_in_its_repository() -> None:
    for url in PROJECT["urls"].values():
        assert url.startswith(REPOSITORY)
        path = in_the_repository(url)
        assert path is None or (ROOT / path).exists(), url


def test_every_picture_is_shown() -> None:
    shown = {target.rpartition("/")[2] for page in PAGES for target in links(page.read_text()) if "images/" in target}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_github_shows_no_directive_as_code() -> None:
    for page in PAGES:
        text = re.sub(r"<!-- rst\n.*?\n-->\n", "", page.read_text(), flags=re.DOTALL)
        assert "```{" not in text
        assert not re.search(r"^\.\. \w+::|<!--", text, re.MULTILINE), page.name


def test_the_badges_are_true() -> None:
    badges = dict(re.findall(r"badge/(\w+)-([^)]+)-\w+\)", README))
    tested = {
        pins.stem.removeprefix("airflow-").rpartition(".")[0] for pins in (ROOT / "constraints").glob("airflow-*")
    }
    python = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}

    assert set(badges["Airflow"].split("_%7C_")) == tested
    assert set(badges["Python"].split("_%7C_")) == python
    assert badges["License"].replace("_", "-") == PROJECT["license"]


def test_what_is_installed_is_a_tested_airflow_with_its_constraints() -> None:
    for text in (README, *(page.read_text() for page in PAGES)):
        for block in blocks("bash", text):
            if "pip install" not in block or "apache-airflow==" not in block:
                continue
            (version,) = re.findall(r"apache-airflow==([\d.]+)'", block)
            assert (ROOT / "constraints" / f"airflow-{version}.txt").exists()
            assert f'--constraint "https://raw.githubusercontent.com/apache/airflow/constraints-{version}/' in block
            # Not on the index yet.
            assert re.search(r"pip install '?\.", block)


def test_port_8080_is_left_to_airflow() -> None:
    for text in (README, *(page.read_text() for page in PAGES)):
        assert "8080" not in text.replace("<http://localhost:8080>", "")


@pytest.mark.parametrize(("page", "example"), [("approval", "purge_approval"), ("legal-holds", "legal_holds")])
def test_what_a_guide_shows_of_an_example_is_in_it(page: str, example: str) -> None:
    shown = blocks("python", (ROOT / "docs" / f"{page}.md").read_text())[0]
    source = (ROOT / "example_dags" / f"example_anyformat_{example}.py").read_text()
    # At the top of a page's block, the formatter wants more empty lines.
    shown = re.sub(r"\n{3,}", "\n\n", shown)
    assert any(textwrap.indent(shown, " " * depth) in source for depth in (4, 8))


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


def test_readme_and_page_have_every_operator_in_the_same_words() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    assert len(OPERATORS) >= 7
    for name in OPERATORS:
        (does,) = re.findall(rf"^\| `{name}` \| (.+) \|$", README, re.MULTILINE)
        (head,) = re.findall(rf"^## {name}\n\n(.+?)[.:]", page, re.MULTILINE)
        assert head.lower() == does.lower()


def test_when_it_fails_has_the_table_of_the_readme() -> None:
    rows = [line for line in README[README.index("## When it fails") :].splitlines() if line.startswith("| ")]
    page = (ROOT / "docs" / "when-it-fails.md").read_text()
    assert [row for row in rows[:9] if row not in page] == []


def test_the_keys_of_rules_and_holds_are_those_of_the_models() -> None:
    """After a change: ``python -m scripts.rules_reference``."""
    page = PAGE.read_text()
    assert all(table in page for table in tables().values())
    assert with_tables(page) == page


def test_the_rules_and_holds_of_the_pages_are_valid(tmp_path: Path) -> None:
    rules, *_ = [block for block in blocks("yaml", textwrap.dedent(PAGE.read_text())) if "rules:" in block]
    (holds,) = blocks("yaml", (ROOT / "docs" / "legal-holds.md").read_text())
    for name, text in (("retention.yaml", textwrap.dedent(rules)), ("holds.yaml", holds)):
        (tmp_path / name).write_text(text)
    file = read_rules(tmp_path / "retention.yaml")
    assert [*file.problems, *(problem for rule in file.rules for problem in rule.problems)] == []
    assert len(load_holds(tmp_path / "holds.yaml")) == 1


def test_summary_table_names_every_key() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    keys = (
        "workflow_ids cutoff listed due requested deleted already_gone failed not_attempted kept plan_path plan_digest"
    )
    for key in [*keys.split(), "ledger"]:
        assert f"`{key}`" in text[text.index("## The summary") :]


def test_the_readme_and_the_page_on_the_connection_name_the_extras() -> None:
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
        for toctree in re.findall(r"^\.\. toctree::\n(.*?)(?=^\S)", page.read_text(), re.DOTALL | re.MULTILINE):
            names = [line.strip() for line in toctree.splitlines()]
            listed |= {page.parent / f"{name}.md" for name in names if name and not name.startswith(":")}
    assert listed == set(PAGES)


def test_the_reference_has_every_verb_of_the_hook() -> None:
    # What Airflow's form and our own operators call is not for users.
    internal = {"cancel", "shared_waits", "get_ui_field_behaviour", "get_connection_form_widgets"}
    page = (ROOT / "docs" / "reference" / "hook.md").read_text()
    (listed,) = re.findall(r"AnyformatHook\n   :members: (.*?)\n\n", page, re.DOTALL)
    verbs = {name for name, value in vars(AnyformatHook).items() if name[0] != "_" and not isinstance(value, str)}
    assert set(re.findall(r"\w+", listed)) == verbs - internal


def test_the_reference_has_every_public_class() -> None:
    shown = "\n".join(page.read_text() for page in PAGES)
    for name in [*OPERATORS, "AnyformatHook", "AnyformatClient", "Sandbox"]:
        assert f".. autoclass:: {name}\n" in shown
    assert ".. automodule:: airflow_provider_anyformat.exceptions\n   :members:" in shown
    assert not re.search(r"^.. auto\w+:: (\S*\.)?_", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in (ROOT / "example_dags", ROOT / "scripts" / "demo_dags")
        for path in folder.glob("*.py")
        # It makes its DAGs of retention.yaml.
        if path.stem != "example_anyformat_rules"
    ],
    ids=lambda path: path.stem,
)
def test_an_example_explains_itself_and_runs_when_it_is_asked_to(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "DAG"]
    assert calls
    for call in calls:
        values = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert ast.literal_eval(call.args[0]).startswith("example_anyformat_")
        assert values["schedule"] == "None"
        assert len(values["description"]) >= 20
        assert values["doc_md"] == "__doc__"
    assert len(ast.get_docstring(tree) or "") >= 200


def test_the_map_of_contributing_names_what_is_there() -> None:
    where, which = (ROOT / "CONTRIBUTING.md").read_text().split("## Which test proves what")
    files = re.findall(r"`((?:\w+/)*\w*\.py|\w+/)`", where.split("## Where is what")[1])
    files.remove("tests/unit/test_tree.py")
    assert len(files) >= 25
    assert [file for file in files if not (ROOT / "airflow_provider_anyformat" / file).exists()] == ["dags.py"]
    tests = re.findall(r"`(\w+/test_\w+\.py)`", which)
    assert len(tests) >= 30
    assert [test for test in tests if not (ROOT / "tests" / test).exists()] == []


def test_the_errors_are_drawn_as_they_are() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)(Anyformat\w+)", exceptions.__doc__ or "", re.MULTILINE)
    parents = {0: exceptions.AnyformatError, 4: exceptions.AnyformatError, 8: exceptions.AnyformatClientError}
    for indent, name in drawn[1:]:
        assert getattr(exceptions, name).__bases__[0] is parents[len(indent)]
    assert {name for _, name in drawn} == {name for name in vars(exceptions) if name.startswith("Anyformat")}
