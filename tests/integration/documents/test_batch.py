"""Many documents in one task: each once, by the server's count, however often the worker dies."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_anyformat._airflow import AirflowException, AirflowFailException, TaskDeferred
from airflow_provider_anyformat.exceptions import AnyformatBulkError, AnyformatStoppedError
from airflow_provider_anyformat.operators.files import DeleteFileCollectionsOperator
from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.storage import open_folder
from airflow_provider_anyformat.triggers.files import FileCollectionsTrigger
from tests.support.fork_server import ForkServer
from tests.support.s3_server import S3Server
from tests.support.sandboxes import QUICK, submits
from tests.support.waiting import until
from tests.support.workflow_runs import TaskRuns, batch_operator, first_event

KEYS = [
    "document",
    "document_name",
    "sha256",
    "collection_id",
    "status",
    "results_path",
    "submitted_at",
    "finished_at",
    "error",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 12 documents, one file that is none, and a hidden one."""
    path = tmp_path / "in"
    path.mkdir()
    for number in range(12):
        (path / f"doc-{number:02}.pdf").write_text(f"document {number}")
    (path / "notes.txt").write_text("x")
    (path / ".hidden.pdf").write_text("x")
    return path


def manifest(out: Path, workflow: str) -> list[dict[str, Any]]:
    lines = (out / workflow / "runs" / "d" / "r" / "t" / "-1" / "manifest.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(list(row) == KEYS for row in rows)
    return rows


def test_a_folder_goes_through_and_its_ids_can_be_deleted(
    server: Sandbox, workflow: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[list[Any]] = []
    server.on_request.append(
        lambda record: (
            seen.append([row["collection_id"] for row in manifest(out, workflow)])
            if record.method == "POST" and not seen
            else None
        )
    )

    summary = batch_operator(workflow, str(folder), out, pattern="*.pdf").execute(TaskRuns().context())

    assert seen == [[None] * 12]
    ids = summary.pop("collection_ids")
    path = str(out / workflow / "runs" / "d" / "r" / "t" / "-1" / "manifest.jsonl")
    counts = {"documents": 12, "processed": 12, "failed": 0}
    assert summary == {"workflow_id": workflow, **counts, "manifest_path": path}
    assert sorted(ids) == sorted(server.created)
    assert submits(server) == 12
    rows = manifest(out, workflow)
    assert [row["document_name"] for row in rows] == sorted(f"doc-{number:02}.pdf" for number in range(12))
    assert {row["status"] for row in rows} == {"processed"}
    assert all(json.loads(Path(row["results_path"]).read_bytes()) for row in rows)
    DeleteFileCollectionsOperator(task_id="d", collection_ids=ids).execute({})
    assert server.collections(workflow) == []


def test_many_are_looked_at_by_one_page(server: Sandbox, workflow: str, folder: Path, tmp_path: Path) -> None:
    server.processing_seconds = 1.6
    batch_operator(workflow, str(folder), tmp_path / "out").execute(TaskRuns().context())
    asked = [record.path for record in server.requests_to("GET")]
    # A page for each of a few looks, and what the results of 13 documents take.
    assert len(asked) <= 13 * 2 + 6
    assert sum(path.endswith(("/files/", "/document-packets/")) for path in asked) >= 2


@pytest.mark.s3
@pytest.mark.untraced
def test_documents_and_results_in_buckets(
    server: Sandbox, workflow: str, folder: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server(f"s3_batch_{version}") as bucket:
        for name, value in bucket.connection.items():
            monkeypatch.setenv(name, value)
        source, out = str(bucket.path("in")), str(bucket.path("out"))
        for path in folder.glob("*.pdf"):
            open_folder(source, "documents").put(path.name, path.read_bytes())
        runs = TaskRuns()
        made = batch_operator(workflow, source, out, pattern="doc-*.pdf")

        summary = made.execute(runs.context())

        assert summary["processed"] == submits(server) == 12
        kept = [name for name in open_folder(out, "results_path").files() if "/runs/" not in name]
        assert sorted(kept) == sorted(f"{workflow}/{collection_id}.json" for collection_id in server.created)
        assert made.execute(runs.context())["processed"] == submits(server) == 12


def test_nothing_sends_nothing(server: Sandbox, workflow: str, tmp_path: Path) -> None:
    summary = batch_operator(workflow, [], tmp_path / "out").execute(TaskRuns().context())
    assert (summary["documents"], summary["collection_ids"]) == (0, [])
    assert server.requests == []


def test_bad_input_is_refused_before_a_request(server: Sandbox, workflow: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "file").write_text("x")
    good, out = str(folder / "doc-00.pdf"), str(tmp_path / "out")
    cases: list[tuple[Any, dict[str, Any], str, str]] = [
        ([good, str(tmp_path / "nothing.pdf")], {}, "documents", "nothing.pdf"),
        ([good, str(tmp_path / "empty.pdf")], {}, "documents", "is empty"),
        ([good, str(folder)], {}, "documents", "is a folder"),
        ([good, "b.pdf"], {}, "documents", "'b.pdf'"),
        ([good, "https://example.org/b.pdf"], {}, "documents", "web pages"),
        (good, {}, "documents", "is not a folder"),
        (str(tmp_path / "nowhere"), {}, "documents", "is not a folder"),
        (str(folder), {"pattern": "*.docx"}, "pattern", "'*.docx' matches no file"),
        (str(folder), {"max_documents": 12}, "max_documents", "13 documents"),
        (str(folder), {"results_path": str(tmp_path / "file" / "out")}, "results_path", "cannot be written"),
        (str(folder), {"timeout": timedelta(seconds=0.5)}, "timeout", "poll_interval"),
        (str(folder), {"poll_interval": 0.1}, "poll_interval", "0.1"),
    ]
    for documents, given, parameter, words in cases:
        # What is wrong as it stands is refused when the DAG is parsed, the rest when the task runs.
        with pytest.raises(AirflowException) as caught:
            batch_operator(workflow, documents, **{"results_path": out, **given}).execute(TaskRuns().context())
        assert str(caught.value).startswith(f"{parameter}: "), (given, str(caught.value))
        assert words in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("on_partial_failure", ["fail", "continue"])
def test_what_fails_fails_alone(
    server: Sandbox, workflow: str, folder: Path, tmp_path: Path, version: str, on_partial_failure: str
) -> None:
    server.fail_next(1, 422, path=r"/run/$")
    server.fail_next(1, "reset_after", path=r"/run/$")
    # Not one of the first six, which are submitted together: any two of them meet the faults.
    server.fail_document("doc-11.pdf", "error", "too blurred")
    runs, out = TaskRuns(), tmp_path / "out"
    made = batch_operator(workflow, str(folder), out, pattern="*.pdf", on_partial_failure=on_partial_failure)
    failed = 3 if version == "v2" else 2

    if on_partial_failure == "fail":
        with pytest.raises(AirflowFailException) as caught:
            made.execute(runs.context())
        assert f"{failed} of 12" in str(caught.value)
        summary = runs.xcoms["return_value"]
    else:
        summary = made.execute(runs.context())

    assert (summary["processed"], summary["failed"]) == (12 - failed, failed)
    assert submits(server) == 11
    bad = {row["document_name"]: row for row in manifest(out, workflow) if row["results_path"] is None}
    assert len(bad) == failed
    assert version == "v3" or "too blurred" in bad["doc-11.pdf"]["error"]
    assert sorted(str(row["status"]) for row in bad.values()) == sorted(
        ["error", "refused", "unknown"] if version == "v2" else ["error", "refused"]
    )


def test_what_may_succeed_later_is_retried_and_nothing_else(
    server: Sandbox, workflow: str, folder: Path, tmp_path: Path
) -> None:
    runs, out = TaskRuns(), tmp_path / "out"
    server.fail_next(1, 429, path=r"/run/$", headers={"Retry-After": "3600"})
    made = batch_operator(workflow, str(folder), out, pattern="*.pdf")
    with pytest.raises(AnyformatBulkError) as caught:
        made.execute(runs.context())
    assert caught.value.retryable
    assert caught.value.retry_after == pytest.approx(3600, abs=5)
    first = submits(server)
    assert first < 12

    summary = made.execute(runs.context())
    assert summary["processed"] == submits(server) == 12


def test_a_cleared_batch_submits_anew_and_its_retry_does_not(
    server: Sandbox, workflow: str, folder: Path, tmp_path: Path
) -> None:
    runs = TaskRuns()
    made = batch_operator(workflow, str(folder), tmp_path / "out", pattern="*.pdf")
    first = made.execute(runs.context())["collection_ids"]
    runs.clear()
    # The first try dies before it has done anything.
    runs.context()

    second = made.execute(runs.context())["collection_ids"]

    assert set(second) == set(server.created) - set(first)
    assert made.execute(runs.context())["collection_ids"] == second
    assert submits(server) == 24


def test_a_wrong_key_stops_the_rest(server: Sandbox, workflow: str, folder: Path, tmp_path: Path) -> None:
    server.revoke_key()
    for number in range(60):
        (folder / f"more-{number}.pdf").write_text("x")
    with pytest.raises(AirflowFailException, match="HTTP 401"):
        batch_operator(workflow, str(folder), tmp_path / "out").execute(TaskRuns().context())
    assert len(server.requests) <= 36


def test_a_kill_ends_it_red_and_soon(server: Sandbox, workflow: str, folder: Path, tmp_path: Path) -> None:
    server.processing_seconds = 60
    made = batch_operator(workflow, str(folder), tmp_path / "out", pattern="*.pdf", cancel_on_kill=True)
    seen = iter(range(100))
    server.on_request.append(lambda record: made.on_kill() if record.method == "GET" and next(seen) == 1 else None)
    began = time.monotonic()
    with pytest.raises(AnyformatStoppedError):
        made.execute(TaskRuns().context())
    assert time.monotonic() - began < 8
    assert server.cancelled == set(server.created)


@pytest.mark.parametrize("version", ["v3"], indirect=True)
def test_a_kill_keeps_what_is_processed_for_the_retry(
    server: Sandbox, workflow: str, folder: Path, tmp_path: Path
) -> None:
    server.processing_seconds = 0
    server.fail_next(1, "slow", path="/v3/runs/", delay=30)
    runs = TaskRuns()
    made = batch_operator(workflow, [str(folder / "doc-00.pdf")], tmp_path / "out", cancel_on_kill=True)
    server.on_request.append(lambda record: made.on_kill() if "/v3/runs/" in record.path else None)
    with pytest.raises(AnyformatStoppedError):
        made.execute(runs.context())
    server.on_request.clear()

    assert made.execute(runs.context())["collection_ids"] == server.created
    assert server.deleted == {}


def test_deferred_it_goes_on_in_rounds(server: Sandbox, workflow: str, folder: Path, tmp_path: Path) -> None:
    import asyncio

    server.processing_seconds = 1.0
    runs, out = TaskRuns(), tmp_path / "out"

    def made() -> Any:
        return batch_operator(workflow, str(folder), out, pattern="*.pdf", deferrable=True, max_in_flight=6)

    context, step = runs.context(), "execute"
    event: tuple[Any, ...] = ()
    for _ in range(6):
        try:
            summary = getattr(made(), step)(context, *event)
            break
        except TaskDeferred as deferred:
            path, kwargs = deferred.trigger.serialize()
            assert server.key not in json.dumps([path, kwargs])
            event = (asyncio.run(first_event(FileCollectionsTrigger(**json.loads(json.dumps(kwargs))))),)
            context, step = runs.resumed(), deferred.method_name
    assert summary["processed"] == submits(server) == 12


@pytest.mark.untraced
def test_killed_at_random_moments_it_submits_each_once(
    server: Sandbox, workflow: str, tmp_path: Path, version: str, purge_server: ForkServer
) -> None:
    server.latency = 0.05
    source = tmp_path / "in"
    source.mkdir()
    for number in range(120):
        (source / f"doc-{number:02}.pdf").write_text(f"document {number}")
    parameters = {"workflow": workflow, "documents": str(source), "results_path": str(tmp_path / "out")}
    dice = random.Random(4711)
    for try_number in range(1, 32):
        env = os.environ | server.conn_env({**QUICK, "api_version": version})
        order = {"parameters": parameters, "batch": try_number}
        pid = purge_server.start(order, env, tmp_path / f"output-{try_number}")
        if try_number < 21:
            time.sleep(dice.uniform(0.2, 0.6))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not psutil.pid_exists(pid), 60)  # type: ignore[misc]
        # What was sent takes effect, though nobody is there for the answer.
        time.sleep(0.1)
        if try_number >= 21:
            break

    text = (tmp_path / f"output-{try_number}").read_text()
    assert "summary" in text, text[-3000:]
    assert set(server.submitted.values()) == {1}
    assert submits(server) == 120
    assert sum(row["results_path"] is not None for row in manifest(tmp_path / "out", workflow)) == 120
