"""A document's life on the sandbox in version 2: stored, run, processed or not, its results, what is accepted."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox import Sandbox

RESULTS = {
    *("collection_id", "document_packet_id", "verification_url", "parse", "classifications", "splits"),
    *("extractions", "edits", "extraction"),
}
FIELD = {"value", "value_override", "verification_status", "confidence", "evidence"}


class Api:
    """One workflow of a sandbox, asked over a real socket."""

    def __init__(self, sandbox: Sandbox, workflow_id: str) -> None:
        self.sandbox = sandbox
        self.workflow_id = workflow_id

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.key}"}
        url = f"{self.sandbox.url}/v2/{path.format(w=self.workflow_id)}"
        return requests.request(method, url, headers=headers, allow_redirects=False, timeout=20, **options)

    def submit(self, name: str = "invoice.pdf", content: bytes = b"%PDF-1.7", *, route: str = "run") -> dict[str, Any]:
        part = "files" if route == "files" else "file"
        reply = self.ask("POST", f"workflows/{{w}}/{route}/", files={part: (name, content)})
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    def results(self, collection_id: str) -> requests.Response:
        return self.ask("GET", f"workflows/{{w}}/files/{collection_id}/results/")

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("GET", "workflows/{w}/files/").json()["results"]
        return rows


@pytest.fixture
def api(anyformat_sandbox: Sandbox) -> Api:
    return Api(anyformat_sandbox, anyformat_sandbox.add_workflow())


def test_a_run_is_queued_then_in_progress_then_processed(api: Api) -> None:
    api.sandbox.processing_seconds = 1.0
    answer = api.submit()
    # The word means that the run was accepted.
    assert (answer["status"], answer["workflow_id"], answer["name"]) == ("success", api.workflow_id, "invoice.pdf")
    early = api.results(answer["id"])
    assert (early.status_code, early.json()["error_code"], early.json()["retryable"]) == (
        412,
        "PRECONDITION_FAILED",
        True,
    )
    seen: list[str] = []
    until = time.monotonic() + 20
    while "processed" not in seen and time.monotonic() < until:
        (row,) = api.rows
        assert row["created_at"] == answer["created_at"]
        if row["status"] not in seen:
            seen.append(row["status"])
        time.sleep(0.02)
    assert seen == ["queued", "in_progress", "processed"]
    assert row["updated_at"] > row["created_at"]
    ready = api.results(answer["id"])
    assert ready.status_code == 200
    assert api.results(answer["id"]).content == ready.content
    assert api.ask("DELETE", f"files/{answer['id']}/").status_code == 204
    assert api.results(answer["id"]).status_code == 404
    assert api.sandbox.cancelled == set()


def test_results_have_the_published_shape(api: Api) -> None:
    collection_id = api.sandbox.add_collection(api.workflow_id)
    body = api.results(collection_id).json()
    assert body.keys() == RESULTS
    assert body["collection_id"] == body["document_packet_id"] == collection_id
    (extraction,) = body["extractions"]
    assert (extraction["split_name"], extraction["partition"]) == (None, None)
    assert extraction["fields"] == body["extraction"]
    assert {name: set(field) for name, field in extraction["fields"].items()} == {"reference": FIELD}
    api.sandbox.mangle_results = lambda found: {**found, "parse": None}
    assert api.results(collection_id).json() == {**body, "parse": None}


def test_a_workflow_that_was_created_extracts_its_own_fields(api: Api) -> None:
    fields = {"fields": [{"name": "vendor"}, {"name": "total"}]}
    graph = {"nodes": [{"type": "parse"}, {"type": "extract", "extraction_schema": fields}], "edges": []}
    for body in ({"name": "n", **graph}, {"name": "n", **fields}):
        made = api.ask("POST", "workflows/", json=body)
        assert (made.status_code, made.json()["name"]) == (201, "n")
        api.workflow_id = made.json()["id"]
        api.sandbox.processing_seconds = 0
        results = api.results(api.submit()["id"]).json()
        assert list(results["extractions"][0]["fields"]) == ["vendor", "total"]
    api.workflow_id = api.ask("POST", "workflows/", json={"name": "n", "nodes": graph["nodes"][:1]}).json()["id"]
    results = api.results(api.submit()["id"]).json()
    assert (results["extractions"], results["extraction"], bool(results["parse"])) == ([], None, True)


@pytest.mark.parametrize("route", ["upload", "files"])
def test_what_is_only_stored_waits_until_it_is_run(api: Api, route: str) -> None:
    api.sandbox.processing_seconds = 0
    answer = api.submit(route=route)
    (row,) = api.rows
    assert row["status"] == "pending"
    if route == "upload":
        assert answer == {
            "status": "uploaded",
            "filename": "invoice.pdf",
            "file_collection_id": row["id"],
            "file_id": row["file_id"],
        }
    else:
        stored = [{"filename": "invoice.pdf", "status": "uploaded"}]
        assert answer == {"id": row["id"], "workflow_id": api.workflow_id, "name": None, "files": stored}
    assert api.results(row["id"]).status_code == 412
    assert (api.sandbox.created, api.sandbox.started) == ([row["id"]], {})
    elsewhere = Api(api.sandbox, api.sandbox.add_workflow())
    assert elsewhere.ask("POST", f"workflows/{{w}}/files/{row['file_id']}/run/").status_code == 404
    run = api.ask("POST", f"workflows/{{w}}/files/{row['file_id' if route == 'upload' else 'id']}/run/")
    assert (run.status_code, run.json()["id"], run.json()["workflow_id"]) == (200, row["id"], api.workflow_id)
    assert api.results(row["id"]).status_code == 200
    assert api.sandbox.started == {row["id"]: 1}


def test_one_collection_of_several_files_shows_what_was_not_accepted(api: Api) -> None:
    parts = [("files", ("a.pdf", b"a")), ("files", ("b.exe", b"b"))]
    reply = api.ask("POST", "workflows/{w}/files/", files=parts)
    shown = [{"filename": "a.pdf", "status": "uploaded"}, {"filename": "b.exe", "status": "failed"}]
    assert reply.json()["files"] == shown
    assert api.sandbox.submitted == {"a.pdf": 1}


def test_text_is_run_like_a_file(api: Api) -> None:
    reply = api.ask("POST", "workflows/{w}/run/", data={"text": "an invoice"})
    assert (reply.status_code, reply.json()["name"]) == (200, "text-input.txt")
    for options, status in (({"data": {"text": ""}}, 422), ({"data": {"text": "a"}, "files": {"file": b"a"}}, 400)):
        assert api.ask("POST", "workflows/{w}/run/", **options).status_code == status
    assert len(api.sandbox.created) == 1


def test_the_server_counts_what_it_was_given(api: Api) -> None:
    api.sandbox.fail_next(1, "reset_after", path="/run/")
    with pytest.raises(requests.ConnectionError):
        api.submit("a.pdf")
    for name in ("a.pdf", "b.pdf"):
        api.submit(name)
    api.sandbox.add_collection(api.workflow_id)
    assert api.sandbox.submitted == {"a.pdf": 2, "b.pdf": 1}
    assert api.sandbox.created == [row["id"] for row in api.rows[:0:-1]]
    assert api.sandbox.started == dict.fromkeys(api.sandbox.created, 1)


@pytest.mark.parametrize(
    ("status", "code"), [("error", "EXTRACTION_FAILED"), ("cancelled", "EXTRACTION_CANCELLED")], ids=str
)
def test_a_document_fails_on_demand(api: Api, status: Any, code: str) -> None:
    api.sandbox.processing_seconds = 0
    api.sandbox.fail_document("bad-*.pdf", status, "The pages are blank.")
    good, bad = api.submit("good.pdf")["id"], api.submit("bad-1.pdf")["id"]
    assert {row["id"]: row["status"] for row in api.rows} == {good: "processed", bad: status}
    final = api.results(bad)
    told = {name: final.json()[name] for name in ("error_code", "retryable", "detail")}
    assert (final.status_code, told) == (
        422,
        {"error_code": code, "retryable": False, "detail": "The pages are blank."},
    )
    api.sandbox.failure_status = 412
    other = api.results(bad)
    assert (other.status_code, other.json()["error_code"], other.json()["retryable"]) == (
        412,
        "PRECONDITION_FAILED",
        False,
    )
    assert other.json()["detail"] == "The pages are blank."
    api.sandbox.clear_faults()
    assert api.results(api.submit("bad-2.pdf")["id"]).status_code == 200
    requests.post(f"{api.sandbox.url}/_sandbox/documents", json={"name": "x.pdf", "status": status}, timeout=20)
    assert api.results(api.submit("x.pdf")["id"]).json()["retryable"] is False


@pytest.mark.parametrize(("status", "answered"), [("error", 422), ("cancelled", 422), ("queued", 412), ("odd", 412)])
def test_results_of_what_a_test_put_there(api: Api, status: str, answered: int) -> None:
    collection_id = api.sandbox.add_collection(api.workflow_id, status=status)
    reply = api.results(collection_id)
    assert (reply.status_code, reply.json()["retryable"]) == (answered, answered == 412)
    assert reply.json()["detail"]
    elsewhere = Api(api.sandbox, api.sandbox.add_workflow())
    assert elsewhere.results(collection_id).status_code == 404


def test_a_status_that_is_set_ends_a_run(api: Api) -> None:
    api.sandbox.processing_seconds = 60
    collection_id = api.submit()["id"]
    api.sandbox.update_collection(collection_id, status="error")
    assert api.results(collection_id).status_code == 422


def test_deleting_a_running_one_cancels_it(api: Api) -> None:
    api.sandbox.processing_seconds = 60
    collection_id = api.submit()["id"]
    assert api.ask("DELETE", f"files/{collection_id}/").status_code == 204
    assert api.sandbox.cancelled == {collection_id}
    assert api.rows == []


def test_ids_are_taken_with_and_without_hyphens(api: Api) -> None:
    collection_id = api.sandbox.add_collection(api.workflow_id)
    api.workflow_id = uuid.UUID(api.workflow_id).hex
    spelt = uuid.UUID(collection_id).hex.upper()
    assert [row["id"] for row in api.rows] == [collection_id]
    assert api.results(spelt).json()["collection_id"] == collection_id
    assert api.ask("DELETE", f"files/{spelt}/").status_code == 204
    assert api.sandbox.deleted == {collection_id: 1}


@pytest.mark.parametrize(
    ("name", "size", "status"),
    [
        pytest.param("invoice.PDF", 1, 200, id="suffix in capitals"),
        pytest.param("upload", 1, 200, id="no suffix, as the SDK sends it"),
        pytest.param("Rechnung ü (1).pdf", 1, 200, id="a name beyond ASCII"),
        pytest.param("program.exe", 1, 400, id="another type"),
        pytest.param("large.pdf", 20 * 1024 * 1024, 200, id="20 MB"),
        pytest.param("large.pdf", 20 * 1024 * 1024 + 1, 400, id="a byte more"),
    ],
)
def test_what_is_accepted(api: Api, name: str, size: int, status: int) -> None:
    reply = api.ask("POST", "workflows/{w}/run/", files={"file": (name, b"x" * size)})
    assert reply.status_code == status
    assert api.sandbox.submitted == ({name: 1} if status == 200 else {})
    if status == 400:
        assert reply.json()["error_code"] == "VALIDATION_ERROR"


def test_a_submission_without_a_document_is_refused(api: Api) -> None:
    for route, part in (("run", "file"), ("upload", "file"), ("files", "files")):
        reply = api.ask("POST", f"workflows/{{w}}/{route}/")
        assert (reply.status_code, reply.json()["detail"][0]["loc"]) == (422, ["body", part])
        assert api.ask("POST", f"workflows/none/{route}/", files={part: b"x"}).status_code == 404
    assert api.sandbox.created == []


def test_a_run_may_answer_the_bare_id(api: Api) -> None:
    api.sandbox.submit_body = "id"
    assert api.submit() == {"id": api.rows[0]["id"]}
