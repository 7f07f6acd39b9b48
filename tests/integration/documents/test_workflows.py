"""A document through a workflow: once, whatever fails; both versions of the API by the server's own count."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import (
    AnyformatConnectionError,
    AnyformatNotReadyError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatTimeoutError,
)
from airflow_provider_anyformat.operators.workflows import GetResultsOperator, RunWorkflowOperator
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.sandboxes import QUICK, submits
from tests.support.workflow_runs import StateStore, TaskRuns, WorkerCrash, run_operator

SUBMIT = r"/run/$"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "Rechnung ü 1.pdf"
    path.write_bytes(b"%PDF-1.4 content that no log shows")
    return path


def listed(server: Sandbox, workflow: str) -> list[tuple[str, str]]:
    return [(row["name"], row["status"]) for row in server.collections(workflow)]


def test_run_wait_and_keep_the_results(server: Sandbox, workflow: str, document: Path, tmp_path: Path) -> None:
    runs, out = TaskRuns(), tmp_path / "out"

    collection_id = run_operator(workflow, document, results_path=str(out)).execute(runs.context())

    kept = out / workflow / f"{collection_id}.json"
    assert runs.xcoms == {"collection_id": collection_id, "results_path": str(kept)}
    assert listed(server, workflow) == [(document.name, "processed")]
    assert submits(server) == 1
    assert sorted(path for path in out.rglob("*") if path.is_file()) == [kept]
    assert "parse" in json.loads(kept.read_bytes())
    again = GetResultsOperator(
        task_id="g", workflow_id=workflow, collection_id=collection_id, results_path=str(tmp_path / "again")
    )
    assert Path(again.execute({})).read_bytes() == kept.read_bytes()


def test_without_waiting_the_id_is_all(server: Sandbox, workflow: str, document: Path) -> None:
    runs = TaskRuns()
    made = run_operator(workflow, document, wait_for_completion=False, document_name="other.pdf")
    assert made.execute(runs.context()) == runs.xcoms["collection_id"]
    assert server.collections(workflow)[0]["name"] == "other.pdf"
    assert len(server.requests) == 1


ENDS: dict[str, str] = {"error": "the fields are too small", "cancelled": "a person said so"}


@pytest.mark.parametrize("status", ENDS)
def test_a_run_that_ends_badly_is_final(server: Sandbox, workflow: str, document: Path, status: str) -> None:
    server.fail_document(document.name, status, ENDS[status])  # type: ignore[arg-type]
    with pytest.raises(AirflowFailException) as caught:
        run_operator(workflow, document).execute(TaskRuns().context())
    assert f"ended as {status}" in str(caught.value)
    assert ENDS[status] in str(caught.value) or "/v3/" in server.requests[0].path


# --- once ---


def test_what_never_left_is_sent_again(server: Sandbox, workflow: str, document: Path) -> None:
    server.fail_next(2, 429, path=SUBMIT, headers={"Retry-After": "0"})
    run_operator(workflow, document).execute(TaskRuns().context())
    assert submits(server) == 1


def test_a_refused_connection_costs_nothing(
    server: Sandbox, workflow: str, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = json.loads(server.conn_json(QUICK))
    monkeypatch.setenv(
        "AIRFLOW_CONN_ANYFORMAT_DEFAULT", json.dumps({**fields, "host": "http://127.0.0.1:9", "port": None})
    )
    with pytest.raises(AnyformatConnectionError) as caught:
        run_operator(workflow, document).execute(TaskRuns().context())
    assert (caught.value.attempts, caught.value.fate_unknown) == (3, False)


@pytest.mark.parametrize("status", [400, 402, 403, 404, 408, 409, 413, 422, 425])
def test_other_refusals_are_final(server: Sandbox, workflow: str, document: Path, status: int) -> None:
    server.fail_next(1, status, path=SUBMIT)
    with pytest.raises(AirflowFailException, match=f"HTTP {status}"):
        run_operator(workflow, document).execute(TaskRuns().context())
    assert len(server.requests) == 1


LOST: dict[str, tuple[Any, ...]] = {
    "reset": ("reset_after",),
    "closed": ("close_after",),
    "503": (503,),
    "500 after it was taken": ("status", {"applied": True, "status": 500}),
    "no id": ("status", {"applied": True, "status": 200, "body": {"status": "queued"}}),
    "HTML": ("html", {"applied": True}),
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_reply(server: Sandbox, workflow: str, document: Path, version: str, name: str) -> None:
    kind, *changes = LOST[name]
    server.fail_next(1, kind, path=SUBMIT, **(changes[0] if changes else {}))
    runs = TaskRuns()

    if version == "v2":
        with pytest.raises(AirflowFailException) as caught:
            run_operator(workflow, document).execute(runs.context())
        text = str(caught.value)
        assert "may exist and be billed" in text
        assert ascii(document.name) in text
        assert len(server.requests_to("POST")) == 1
    else:
        # Of what is not certainly lost the retry takes care.
        with contextlib.suppress(AnyformatServerError):
            run_operator(workflow, document).execute(runs.context())
        if len(server.requests_to("POST")) == 1:
            run_operator(workflow, document).execute(runs.context())
        keys = {record.headers["idempotency-key"] for record in server.requests_to("POST")}
        assert len(server.requests_to("POST")) == 2
        assert len(keys) == 1
    assert submits(server) <= 1


def test_a_second_submit_can_be_accepted(server: Sandbox, workflow: str, document: Path, version: str) -> None:
    server.fail_next(1, "reset_after", path=SUBMIT)
    run_operator(workflow, document, on_lost_reply="resubmit").execute(TaskRuns().context())
    assert submits(server) == (2 if version == "v2" else 1)


def test_a_submit_that_fails_throughout_can_be_retried(
    server: Sandbox, workflow: str, document: Path, version: str
) -> None:
    if version == "v2":
        pytest.skip("final there")
    server.fail_next(3, 503, path=SUBMIT)
    runs = TaskRuns()
    with pytest.raises(AnyformatServerError):
        run_operator(workflow, document).execute(runs.context())
    run_operator(workflow, document).execute(runs.context())
    assert submits(server) == 1


@pytest.mark.parametrize("store", [None, StateStore], ids=["below 3.3", "3.3"])
@pytest.mark.parametrize("moment", ["before the store", "before the XCom"])
def test_a_worker_that_dies_after_the_submit(
    server: Sandbox,
    workflow: str,
    document: Path,
    store: Callable[[], StateStore] | None,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of an earlier run, and so not this one's.
    server.add_collection(workflow, name=document.name, created_at=datetime.now(UTC) - timedelta(hours=1))
    runs = TaskRuns(None if store is None else store())
    if moment == "before the XCom":
        runs.crash_at = "collection_id"
    else:
        from airflow_provider_anyformat.bulk import submitting

        def die(*_: Any) -> None:
            raise WorkerCrash

        monkeypatch.setattr(submitting.Try, "keep", die)
    with pytest.raises(WorkerCrash):
        run_operator(workflow, document).execute(runs.context())
    assert server.requests_to("GET") == []
    runs.crash_at = None
    monkeypatch.setattr("airflow_provider_anyformat.bulk.submitting.Try.keep", lambda *_: None)

    collection_id = run_operator(workflow, document).execute(runs.context())

    assert submits(server) == 1
    assert [collection_id] == server.created


def test_nothing_found_submits_and_several_fail(server: Sandbox, workflow: str, document: Path, version: str) -> None:
    if version == "v3":
        pytest.skip("it re-sends its key instead")
    runs = TaskRuns()
    runs.try_number = 1
    collection_id = run_operator(workflow, document).execute(runs.context())
    assert server.created == [collection_id]
    server.add_collection(workflow, name=document.name)
    with pytest.raises(AirflowFailException) as caught:
        run_operator(workflow, document).execute(runs.context())
    assert str(caught.value).startswith("document_name: 2 collections")
    assert collection_id in str(caught.value)
    assert submits(server) == 1


@pytest.mark.parametrize("store", [None, StateStore], ids=["below 3.3", "3.3"])
def test_a_cleared_task_submits_anew_and_its_retry_does_not(
    server: Sandbox, workflow: str, document: Path, store: Callable[[], StateStore] | None, caplog: Any
) -> None:
    runs = TaskRuns(None if store is None else store())
    first = run_operator(workflow, document).execute(runs.context())
    runs.clear()
    # The first try dies before it has done anything.
    runs.context()
    runs.crash_at = "collection_id"
    with caplog.at_level("INFO"), pytest.raises(WorkerCrash):
        run_operator(workflow, document).execute(runs.context())
    assert f"it leaves collection {first} behind" in caplog.text
    runs.crash_at = None
    assert run_operator(workflow, document).execute(runs.context()) == server.created[1] != first
    assert submits(server) == 2


# --- waiting ---

PASSING: list[Any] = [429, 500, 502, 503, 504, "html", "gateway_404", "reset_after", "garbage", "truncated"]


def test_errors_while_waiting_do_not_fail_it(server: Sandbox, workflow: str, document: Path) -> None:
    for kind in PASSING:
        changes = {"status": 502} if kind == "html" else {"headers": {"Retry-After": "0"}} if kind == 429 else {}
        server.fail_next(1, kind, method="GET", **changes)
    run_operator(workflow, document).execute(TaskRuns().context())
    assert submits(server) == 1
    assert len(server.requests_to("GET")) >= len(PASSING)


def test_a_key_that_is_revoked_meanwhile_is_final(server: Sandbox, workflow: str, document: Path) -> None:
    server.fail_next(1, 401, method="GET")
    with pytest.raises(AirflowFailException, match="HTTP 401"):
        run_operator(workflow, document).execute(TaskRuns().context())


def test_retry_after_is_obeyed(server: Sandbox, workflow: str, document: Path) -> None:
    server.fail_next(1, 503, method="GET", headers={"Retry-After": "2"})
    run_operator(workflow, document).execute(TaskRuns().context())
    first, second = [record.time for record in server.requests_to("GET")][:2]
    assert second - first >= 2.0


def test_past_its_time_it_can_be_retried_and_waits_on(
    server: Sandbox, workflow: str, document: Path, version: str
) -> None:
    server.processing_seconds = 60
    runs = TaskRuns(StateStore())
    made = run_operator(workflow, document, timeout=timedelta(seconds=1))
    began = time.monotonic()
    with pytest.raises(AnyformatTimeoutError) as caught:
        made.execute(runs.context())
    assert 0.9 < time.monotonic() - began < 3
    (collection_id,) = server.created
    assert collection_id in str(caught.value)
    assert collection_id in server

    server.update_collection(collection_id, status="reticulating")
    if version == "v3":
        with pytest.raises(AnyformatTimeoutError, match="'reticulating'"):
            made.execute(runs.context())
    server.update_collection(collection_id, status="processed")
    assert made.execute(runs.context()) == collection_id
    assert submits(server) == 1


@pytest.mark.parametrize("cancel", [False, True])
def test_a_kill_ends_it_red_and_soon(server: Sandbox, workflow: str, document: Path, cancel: bool) -> None:
    server.processing_seconds = 60
    made = run_operator(workflow, document, poll_interval=30, cancel_on_kill=cancel)
    timer = threading.Timer(1.0, made.on_kill)
    timer.start()
    began = time.monotonic()
    with pytest.raises(AnyformatStoppedError):
        made.execute(TaskRuns().context())
    assert time.monotonic() - began < 6
    assert server.cancelled == (set(server.created) if cancel else set())


def test_a_kill_by_execution_timeout_cancels_too(
    server: Sandbox, workflow: str, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.processing_seconds = 60
    made = run_operator(workflow, document, cancel_on_kill=True)

    def out_of_time(*_: Any, **__: Any) -> None:
        raise WorkerCrash

    monkeypatch.setattr("airflow_provider_anyformat.api.client.AnyformatClient.look", out_of_time)
    with pytest.raises(WorkerCrash):
        made.execute(TaskRuns().context())
    assert server.cancelled == set()
    made.on_kill()
    assert server.cancelled == set(server.created)


def test_results_that_are_not_ready_can_be_retried(server: Sandbox, workflow: str, tmp_path: Path) -> None:
    collection_id = server.add_collection(workflow, status="in_progress")
    made = GetResultsOperator(
        task_id="g", workflow_id=workflow, collection_id=collection_id, results_path=str(tmp_path / "out")
    )
    with pytest.raises(AnyformatNotReadyError) as caught:
        made.execute({})
    assert caught.value.retryable


# --- bad input ---


def bad(tmp_path: Path) -> dict[str, tuple[dict[str, Any], str, str]]:
    """What is given: the parameters, the one that is named, and a part of what is said of it."""
    (tmp_path / "empty.pdf").touch()
    with (tmp_path / "large.pdf").open("wb") as file:
        file.truncate(20 * 1024 * 1024 + 1)
    (tmp_path / "file").write_text("x")
    return {
        "no such file": ({"document": str(tmp_path / "nothing.pdf")}, "document", "nothing.pdf"),
        "a folder": ({"document": str(tmp_path)}, "document", "is a folder"),
        "an empty one": ({"document": str(tmp_path / "empty.pdf")}, "document", "is empty"),
        "a large one": ({"document": str(tmp_path / "large.pdf")}, "document", "20971521 bytes"),
        "a relative path": ({"document": "in/a.pdf"}, "document", "'in/a.pdf'"),
        "http": ({"document": "http://127.0.0.1/a.pdf"}, "document", "web pages"),
        "https": ({"document": "https://example.org/a.pdf"}, "document", "web pages"),
        "no file system": ({"document": "nonsense://a/b.pdf"}, "document", "nonsense"),
        "a slash in the name": ({"document_name": "a/b.pdf"}, "document_name", "'a/b.pdf'"),
        "a line break in the name": ({"document_name": "a\nb.pdf"}, "document_name", r"'a\nb.pdf'"),
        "results in a file": ({"results_path": str(tmp_path / "file" / "out")}, "results_path", "cannot be written"),
        "no rights": ({"results_path": "/proc/anyformat"}, "results_path", "cannot be written"),
        "asked too often": ({"poll_interval": 0.4}, "poll_interval", "0.4"),
        "no time": ({"poll_interval": 15, "timeout": timedelta(seconds=15)}, "timeout", "0:00:15"),
        "no time, as text": ({"poll_interval": "60", "timeout": "PT1M"}, "timeout", "0:01:00"),
        "a month": ({"timeout": "P1M"}, "timeout", "'P1M'"),
        "another word": ({"on_lost_reply": "ignore"}, "on_lost_reply", "'ignore'"),
        "two workflows": ({"workflow_id": ["a-1", "a-2"]}, "workflow_id", "more than one"),
        "results without a wait": (
            {"wait_for_completion": False, "results_path": str(tmp_path)},
            "results_path",
            "wait_for_completion",
        ),
    }


def test_bad_input_is_refused_before_a_request(server: Sandbox, workflow: str, document: Path, tmp_path: Path) -> None:
    for name, (given, parameter, words) in bad(tmp_path).items():
        parameters = {"workflow_id": workflow, "document": str(document), "poll_interval": 0.5, **given}
        with pytest.raises(AirflowFailException) as caught:
            RunWorkflowOperator(task_id="t", deferrable=False, **parameters).execute(TaskRuns().context())
        assert str(caught.value).startswith(f"{parameter}: "), name
        assert words in str(caught.value), name
    assert server.requests == []


def test_the_key_and_the_document_are_in_no_log(
    server: Sandbox, workflow: str, document: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.fail_next(1, 503, method="GET")
    run_operator(workflow, document).execute(TaskRuns().context())
    assert server.key not in caplog.text
    assert "content that no log shows" not in caplog.text
