"""What the pages on the command show is what it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from airflow_provider_anyformat.cli.main import main
from tests.support.book import WORKFLOW, Book

DOCS = Path(__file__).parents[2] / "docs"
IDS = [f"{n:08x}-c011-4ec7-a000-{n:012x}" for n in range(1, 7)]
LISTED = [
    ("c-1", "contract-7.pdf", "processed", "2026-03-01T09:00:00Z"),
    ("c-2", "invoice-1.pdf", "processed", "2026-04-02T00:00:00Z"),
    ("c-3", "invoice-2.pdf", "processed", "2026-04-03T00:00:00Z"),
    ("c-4", "invoice-3.pdf", "processed", "2026-05-02T18:00:00Z"),
    ("c-5", "invoice-4.pdf", "processed", "2026-05-04T18:00:00Z"),
    ("c-6", "invoice-5.pdf", "error", "2026-03-01T09:00:00Z"),
]
HOLDS = 'holds:\n  - {case: "2026-17", owner: legal@example.org, reason: litigation, names: ["contract-*"]}\n'


def place(folder: Path) -> str:
    """Put there what the pages speak of; return the hash of the last run."""
    book = Book(folder / "ledger")
    book.run(*IDS[:3])
    book.run(*IDS[3:5])
    book.run(IDS[5], outcome="failed")
    lines = [
        f'{{"id": "{id_}", "name": "{name}", "status": "{status}", "created_at": "{at}", "updated_at": "{at}",'
        f' "workflow_id": "{WORKFLOW}"}}\n'
        for id_, name, status, at in LISTED
    ]
    (folder / "listing.jsonl").write_text("".join(lines))
    (folder / "holds.yaml").write_text(HOLDS)
    return book.heads[-1]


def stable(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", re.sub(r"/1/[0-9a-f]{8}\b", "/1/<random>", text)).strip()


@pytest.mark.parametrize("page", ["auditor.md", "command.md", "privacy-officer.md"])
def test_a_page_shows_what_the_command_prints(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    head = place(tmp_path)
    monkeypatch.chdir(tmp_path)
    consoles = re.findall(r"^```console\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    steps = [step for console in consoles for step in re.split(r"^\$ ", console, flags=re.MULTILINE) if step]
    assert steps
    for step in steps:
        line, _, shown = step.partition("\n")
        line = re.sub(r"\b[0-9a-f]{64}\b", head, line)
        if line.startswith("anyformat-retention"):
            main(shlex.split(line)[1:])
        else:
            subprocess.run(line, shell=True, check=True)
        out, err = capfd.readouterr()
        assert (stable(out), err) == (stable(shown), ""), line
