"""The command as its users call it: exit codes, what it prints and where, and that it explains what a purge does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_anyformat.cli.main import main
from tests.support.book import Book

AT = "2026-06-30T12:00:00Z"
NOW = datetime.fromisoformat(AT)
WORKFLOW = "00000000-0000-4000-8000-00000000000a"

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Give what calls the command with ``--json`` and returns its exit code and document, or its complaint."""

    def call(*arguments: object) -> tuple[int, Any]:
        code = main([*map(str, arguments), "--json"])
        out, err = capfd.readouterr()
        if code == 2:
            assert out == ""
            assert 1 <= len(err.splitlines()) <= 2
            assert "Traceback" not in err
            return code, err
        assert err == ""
        return code, json.loads(out)

    return call


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Give a ledger of two runs, the first of which was approved, and a killed one."""
    book = Book(tmp_path_factory.mktemp("ledger"))
    book.run("id-1", "id-2")
    book.run("id-2", "id-3", outcome="failed")
    book.killed("id-4", "id-5", known=["id-4"])
    return book


def test_history(book: Book, run: Run) -> None:
    code, document = run("history", book.path)
    assert code == 0
    keys = ("made_at", "dag", "due", "deleted", "failed", "kept", "approved_by", "closed")
    assert [tuple(each[key] for key in keys) for each in document["runs"]] == [
        ("2026-06-02T02:00:00Z", "nightly", 2, 2, 0, {}, None, True),
        ("2026-06-03T02:00:00Z", "nightly", 2, 0, 2, {}, None, True),
        ("2026-06-04T02:00:00Z", "nightly", 2, 1, 0, {}, None, False),
    ]
    assert [set(each) for each in document["runs"]] == [{"run", *keys}] * 3
    assert all((book.path / each["run"] / "plan.json").exists() for each in document["runs"])


def test_verify(book: Book, run: Run, tmp_path: Path) -> None:
    code, document = run("verify", book.path, "--head", book.heads[0], "--head", book.heads[1])
    assert (code, document["ok"], document["heads"]) == (1, False, book.heads[1:])
    assert [each["problem"] for each in document["problems"]] == ["unclosed"]
    key = tmp_path / "key"
    key.write_text("not a key")
    for wrong in (["--head", "abc"], ["--public-key", key], ["--public-key", tmp_path / "none"]):
        assert run("verify", book.path, *wrong)[0] == 2
    assert run("verify", tmp_path / "nowhere")[0] == 2


def test_a_ledger_in_an_object_store(book: Book, run: Run) -> None:
    memory = fsspec.filesystem("memory")
    for path in book.path.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/audit/{path.relative_to(book.path)}", path.read_bytes())
    for verb in ("verify", "history"):
        assert run(verb, "memory://audit/")[1] == run(verb, book.path)[1]
    assert run("certificate", "memory://audit", "--collection", "id-3")[1]["ledger"] == "memory://audit"
    for nowhere in ("memory://nothing", "nosuchstore://x/y"):
        assert run("verify", nowhere)[0] == 2


WRONG: dict[str, tuple[list[str], str]] = {
    "no verb": ([], "VERB"),
    "an unknown verb": (["delete"], "delete"),
    "no ledger": (["verify"], "LEDGER"),
    "a certificate of nothing": (["certificate", "x"], "--collection"),
    "no older-than": (["explain", "x"], "--older-than"),
    "no listing": (["explain", "/nowhere/at/all", "--older-than", "P1D"], "LISTING"),
    "months": (["simulate", "x", "--older-than", "P3M"], "older_than"),
    "a date without a zone": (["simulate", "x", "--older-than", "P1D", "--at", "2026-01-01T00:00:00"], "--at"),
    "no date": (["explain", "x", "--older-than", "P1D", "--at", "soon"], "--at"),
    "no days": (["simulate", "x", "--older-than", "P1D", "--days", "0"], "--days"),
    "against months": (["simulate", "x", "--older-than", "P1D", "--against", "P3M"], "--against"),
    "a bad status": (["explain", "x", "--older-than", "P1D", "--statuses", "pending"], "statuses"),
    "no key": (["list", "--workflow", "w-1"], "ANYFORMAT_API_KEY"),
    "no id": (["list", "--workflow", "a/b"], "--workflow"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use(run: Run, case: str) -> None:
    arguments, named = WRONG[case]
    code, said = run(*arguments)
    assert (code, named in said) == (2, True), said


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"id": "c-1"}\n{"id": \n', "line 2, column 8"),
        ('{"id": "c-1"}\n\n[1]\n', "line 3, column 1"),
        ('{"id": "c-1"}\n{"id": "a/b"}\n', "a/b"),
        ("{}\n", "id"),
        ("\udcff\n", "line 1"),
    ],
)
def test_a_listing_that_is_not_one(run: Run, tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "listing").write_text(text, errors="surrogateescape")
    code, said = run("explain", tmp_path / "listing", "--older-than", "P1D")
    assert (code, where in said) == (2, True), said


def listing(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"workflow_id": WORKFLOW, **row}) + "\n" for row in rows))
    return path


def a_row(collection_id: str, days: float, **more: Any) -> dict[str, Any]:
    moment = (NOW - timedelta(days=days)).isoformat()
    return {
        "id": collection_id,
        "name": "a.pdf",
        "status": "processed",
        "created_at": moment,
        "updated_at": moment,
    } | more


def test_explain(run: Run, tmp_path: Path) -> None:
    rows = [
        a_row("c-due", 90.1),
        a_row("c-day", 90),
        a_row("c-held", 200),
        a_row("c-name", 200, name="Contract.pdf"),
        a_row("c-other", 200, name="note.txt"),
        a_row("c-nameless", 200, name=None),
        a_row("c-status", 200, status="error"),
        a_row("c-new", 200, status="brand_new"),
        a_row("c-undated", 200, created_at=None),
        a_row("c-twice", 200),
        a_row("c-twice", 300),
        a_row("c-due", 90.1),
    ]
    arguments = ["explain", listing(tmp_path / "l", *rows), "--older-than", "P90D", "--at", AT]
    flags = ["--exclude-collection-ids", "C-HELD", "--include-names", "*.pdf", "--exclude-names", "contract*"]
    code, document = run(*arguments, *flags)
    assert code == 0
    assert [tuple(each.values()) for each in document["collections"]] == [
        ("c-due", WORKFLOW, True, "due", "older_than", "2026-06-30T09:36:00Z"),
        ("c-day", WORKFLOW, False, "too_young", "older_than", "2026-06-30T12:00:00Z"),
        ("c-held", WORKFLOW, False, "held", "exclude_collection_ids", None),
        ("c-name", WORKFLOW, False, "name", "exclude_names", None),
        ("c-other", WORKFLOW, False, "name", "include_names", None),
        ("c-nameless", WORKFLOW, False, "name", "include_names", None),
        ("c-status", WORKFLOW, False, "status", "statuses", None),
        ("c-new", WORKFLOW, False, "status_unknown", "statuses", None),
        ("c-undated", WORKFLOW, False, "timestamp_missing", "created_at", None),
        ("c-twice", WORKFLOW, False, "contradictory", None, None),
    ]
    keys = ["collection_id", "workflow_id", "delete", "reason", "rule", "due_at"]
    assert list(document["collections"][0]) == keys
    code, document = run(*arguments, "C-DAY", "c-none", "--keep-last", "9")
    assert (code, [each["collection_id"] for each in document["collections"]]) == (1, ["c-day"])
    assert document["unlisted"] == ["c-none"]


def test_simulate(run: Run, tmp_path: Path) -> None:
    path = listing(
        tmp_path / "l", a_row("c-1", 29.5), a_row("c-2", 28), a_row("c-3", -1), a_row("c-4", 0, status="error")
    )
    arguments = ["simulate", path, "--older-than", "P30D", "--at", "2026-06-30T14:00:00+02:00"]
    code, document = run(*arguments, "--days", "3", "--against", "P29D")
    assert code == 0
    assert document["days"][0] == {
        "date": "2026-06-30",
        "due": 0,
        "kept": {"status": 1, "timestamp_future": 1, "too_young": 2},
        "against": {"due": 1, "kept": {"status": 1, "timestamp_future": 1, "too_young": 1}},
    }
    assert [(day["date"], day["due"], day["against"]["due"]) for day in document["days"]] == [
        ("2026-06-30", 0, 1),
        ("2026-07-01", 1, 1),
        ("2026-07-02", 1, 2),
        ("2026-07-03", 2, 2),
    ]
    assert run(*arguments)[1]["days"] == [
        {"date": "2026-06-30", "due": 0, "kept": {"status": 1, "timestamp_future": 1, "too_young": 2}}
    ]


def test_holds_count_as_of_each_day(run: Run, tmp_path: Path) -> None:
    holds = tmp_path / "holds.yaml"
    holds.write_text(
        "holds:\n"
        "  - {case: until-july, until: 2026-07-02, collection_ids: [C-1]}\n"
        "  - {case: from-july, from: 2026-07-03, names: ['*.PDF']}\n"
    )
    path = listing(tmp_path / "l", a_row("c-1", 40), a_row("c-2", 40))
    arguments = [path, "--older-than", "P30D", "--at", AT, "--holds", holds]
    _, document = run("explain", *arguments)
    assert [(each["reason"], each["rule"]) for each in document["collections"]] == [
        ("held", "until-july"),
        ("due", "older_than"),
    ]
    _, document = run("simulate", *arguments, "--days", "3")
    assert [day["due"] for day in document["days"]] == [1, 1, 2, 0]
    holds.write_text("holds:\n  - {case: x, ids: [c-1]}\n")
    code, said = run("explain", *arguments)
    assert (code, "ids" in said, "line 2" in said) == (2, True, True)


def test_without_airflow(book: Book, tmp_path: Path) -> None:
    """As a process of its own, in which Airflow cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        'import sys\nsys.modules.update(dict.fromkeys(["airflow", "pydantic", "yaml", "cryptography"]))\n'
    )
    path = listing(tmp_path / "l", a_row("c-1", 100))
    calls = [
        ["history", str(book.path)],
        ["verify", str(book.path)],
        ["certificate", str(book.path), "--collection", "id-1", "--format", "md"],
        ["explain", str(path), "--older-than", "P30D", "--at", AT],
        ["simulate", str(path), "--older-than", "P30D", "--at", AT],
        ["list", "--workflow", "w-1", "--conn-id", "x"],
    ]
    for arguments, code in zip(calls, (0, 1, 0, 0, 0, 2), strict=True):
        done = subprocess.run(
            [sys.executable, "-m", "airflow_provider_anyformat", *arguments],
            env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, bool(done.stdout), bool(done.stderr)) == (code, code < 2, code == 2), done


def test_tables_for_people(book: Book, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["history", str(book.path)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    head, *lines = out.splitlines()
    assert [*head.split()][:3] == ["made", "at", "dag"]
    # Whole, however narrow the terminal of whoever looks at the file.
    assert [line.split()[-1].count("/") for line in lines] == [5, 5, 5]
