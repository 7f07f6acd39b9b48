"""The vendor's own SDKs, unmodified, from the package index: each goes through its part of a document's life."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.environment import create, install

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "constraints" / "sdk.txt"


def environment(version: str) -> Path:
    """Return the Python of an environment that has this SDK; it is made once, and again where the pins changed."""
    folder = ROOT / ".cache" / "sdk" / version
    stamp, made_from = folder / ".made-from", hashlib.sha256(f"{sys.version}{PINS.read_text()}".encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != made_from:
        folder.parent.mkdir(parents=True, exist_ok=True)
        create(folder, sys.executable)
        install(folder, PINS, f"anyformat=={version}")
        stamp.write_text(made_from)
    return folder / "bin" / "python"


def told(sandbox: Sandbox, version: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run the script of an SDK against a sandbox; return what it prints."""
    script = Path(__file__).parent / "clients" / f"v{version.replace('.', '_')}.py"
    done = subprocess.run(
        [environment(version), script, *arguments],
        env={
            "PATH": os.defpath,
            "KEY": sandbox.key,
            "URL": sandbox.url,
            "ANYFORMAT_BASE_URL": sandbox.url,
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(processing_seconds=0.3) as running:
        yield running


@pytest.fixture
def document(tmp_path: Path) -> str:
    for name in ("invoice.pdf", "bad.pdf"):
        (tmp_path / name).write_bytes(b"%PDF-1.7")
    return str(tmp_path / "invoice.pdf")


@pytest.mark.timeout(300)
def test_0_5_0_lists_reads_and_deletes(sandbox: Sandbox) -> None:
    workflow_id = sandbox.add_workflow(name="Invoices")
    done, lost = sandbox.fill(workflow_id, 2)
    running = sandbox.add_collection(workflow_id, status="in_progress")
    sandbox.fail_next(1, "reset_after", method="DELETE", path=lost)
    said = told(sandbox, "0.5.0", WORKFLOW=workflow_id, RUNNING=running, RETRIED=lost)
    assert said["count"] == 3
    assert said["listed"] == [[running, "document.pdf", "in_progress"], [done, "document-0.pdf", "processed"]]
    assert (said["workflows"], len(said["values"])) == (["Invoices"], 1)
    assert (said["early"], said["deleted"], said["again"]) == (["APIStatusError", 412], None, 404)
    # This SDK sends a lost delete again by itself, and then takes its own success for a failure.
    assert said["lost"] == ["NotFoundError", 404]
    assert sandbox.deleted == {running: 1, lost: 1}


@pytest.mark.timeout(300)
def test_0_7_0_uploads_runs_waits_and_reads(sandbox: Sandbox, document: str) -> None:
    sandbox.fail_document("bad.pdf")

    def look(_: Any) -> None:
        sandbox.failure_status = 412 if sandbox.submitted.get("bad.pdf") == 2 else 422

    sandbox.on_request.append(look)
    said = told(sandbox, "0.7.0", document)
    (collection_id, file_id), [stored] = said["upload"], said["stored"]
    assert stored == [collection_id, file_id, "invoice.pdf", "pending"]
    assert len(set(said["values"])) == 4
    assert said["text"] == said["values"][1]
    # It takes every 412 for "not ready", whatever the body says, and waits until its time is over.
    assert said["endings"] == [["APIError", 422, "EXTRACTION_FAILED"], ["SDKTimeout", None, None]]
    names = ["bad.pdf", "bad.pdf", "upload", "text-input.txt", "invoice.pdf", "invoice.pdf"]
    assert said["listed"] == [[name, "error" if name == "bad.pdf" else "processed"] for name in names]
    assert sandbox.submitted == {"invoice.pdf": 2, "text-input.txt": 1, "upload": 1, "bad.pdf": 2}
    assert sandbox.started == dict.fromkeys(sandbox.created, 1)


@pytest.mark.timeout(300)
def test_1_18_0_goes_through_the_whole_life_on_version_3(sandbox: Sandbox, document: str) -> None:
    sandbox.fail_document("bad.pdf")
    said = told(sandbox, "1.18.0", document)
    assert (said["workflows"], said["name_taken"]) == (["Invoices"], ["WorkflowNameConflict", 409])
    assert said["file_taken"] == ["APIError", 409]
    assert said["renamed"] == [["invoice (1).pdf", "invoice.pdf"]]
    first, replayed = said["runs"]
    assert first == replayed
    assert said["value"] == said["by_url"] == said["blocks"] == said["text"]
    assert said["failed"] == ["ExtractionFailed", None]
    packet_id = said["deleted"]
    assert said["packet"] == [packet_id, "invoice.pdf", "processed", first]
    assert [name.partition("-")[0] for _, name, _ in said["listed"]] == [
        "text",
        "bad.pdf",
        "invoice (1).pdf",
        "invoice.pdf",
    ]
    assert [status for _, _, status in said["listed"]] == ["processed", "error", "pending", "processed"]
    assert (said["again"], sandbox.deleted) == (404, {packet_id: 1})
    assert sandbox.started[packet_id] == 1
    assert ["authorization" in record.headers for record in sandbox.requests_to("GET", "/presigned/")] == [False]
