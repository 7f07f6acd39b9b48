"""Version 3 of the API on the sandbox, over the same memory as version 2."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat.sandbox import Sandbox


class Api:
    """A workflow of a sandbox, asked over a real socket."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.workflow_id = sandbox.add_workflow()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.key}", **options.pop("headers", {})}
        url = f"{self.sandbox.url}/v3/{path.format(w=self.workflow_id)}"
        return requests.request(method, url, headers=headers, allow_redirects=False, timeout=20, **options)

    def submit(self, *names: str, run: bool = True, key: str | None = None, **form: Any) -> requests.Response:
        files = [("files", (name, form.pop("content", b"%PDF-1.7"))) for name in names or ("invoice.pdf",)]
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"workflows/{{w}}/upload/{'run/' if run else ''}"
        return self.ask("POST", path, files=files, data=form, headers=headers)

    def run_of(self, run_id: str, **query: str) -> dict[str, Any]:
        reply = self.ask("GET", f"runs/{run_id}/", params=query)
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    def listed(self, **query: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.ask("GET", "workflows/{w}/document-packets/", params=query).json()
        return body

    def pages(self, limit: int) -> Iterator[list[str]]:
        cursor: dict[str, str] = {}
        while True:
            page = self.listed(limit=limit, **cursor)
            yield [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
def api(anyformat_sandbox: Sandbox) -> Api:
    return Api(anyformat_sandbox)


def test_a_document_packet_lives_and_is_the_collection_of_version_2(api: Api) -> None:
    api.sandbox.processing_seconds = 1.0
    submitted = api.submit()
    assert (submitted.status_code, submitted.headers["X-API-Version"]) == (202, "3")
    answer = submitted.json()
    assert answer.keys() == {"run_id", "workflow_id", "document_packet_id", "status"}
    assert (answer["status"], answer["workflow_id"]) == ("queued", api.workflow_id)
    packet_id = answer["document_packet_id"]
    seen: list[str] = []
    until = time.monotonic() + 20
    while "processed" not in seen and time.monotonic() < until:
        run = api.run_of(answer["run_id"])
        assert (run["results"] is None) == (run["status"] != "processed")
        if run["status"] not in seen:
            seen.append(run["status"])
        time.sleep(0.02)
    assert seen == ["queued", "in_progress", "processed"]
    assert (run["document_packet_id"], run["results_url"]) == (packet_id, None)
    assert "collection_id" not in run["results"]
    assert run["results"]["document_packet_id"] == packet_id
    packet = api.ask("GET", f"document-packets/{packet_id}/").json()
    assert (packet["id"], packet["name"], packet["status"]) == (packet_id, "invoice.pdf", "processed")
    assert (packet["latest_run_id"], packet["workflow_id"]) == (answer["run_id"], api.workflow_id)
    assert [file["name"] for file in packet["files"]] == ["invoice.pdf"]
    (row,) = api.sandbox.collections(api.workflow_id)
    assert row["id"] == packet_id
    assert api.listed()["items"] == [{name: row[name] for name in ("id", "name", "status", "created_at", "updated_at")}]
    deletes = [api.ask("DELETE", f"document-packets/{packet_id}/") for _ in range(2)]
    assert [(reply.status_code, reply.headers["X-API-Version"]) for reply in deletes] == [(204, "3"), (404, "3")]
    assert deletes[1].json()["error_code"] == "NOT_FOUND"
    assert api.sandbox.deleted == {packet_id: 1}
    for path in (f"document-packets/{packet_id}/", f"runs/{answer['run_id']}/"):
        assert api.ask("GET", path).status_code == 404


def test_a_packet_is_stored_first_and_may_be_run_more_than_once(api: Api) -> None:
    api.sandbox.processing_seconds = 0
    stored = api.submit("a.pdf", "b.pdf", run=False)
    packet_id = stored.json()["document_packet_id"]
    assert (stored.status_code, [file["name"] for file in stored.json()["files"]]) == (201, ["a.pdf", "b.pdf"])
    packet = api.ask("GET", f"document-packets/{packet_id}/").json()
    assert (packet["status"], packet["latest_run_id"]) == ("pending", None)
    runs = [api.ask("POST", f"document-packets/{packet_id}/run/") for _ in range(2)]
    assert [reply.status_code for reply in runs] == [202, 202]
    first, second = (reply.json()["run_id"] for reply in runs)
    assert first != second
    assert api.ask("GET", f"document-packets/{packet_id}/").json()["latest_run_id"] == second
    assert {api.run_of(run)["status"] for run in (first, second)} == {"processed"}
    assert (api.sandbox.submitted, api.sandbox.started) == ({"a.pdf": 1, "b.pdf": 1}, {packet_id: 2})


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_a_run_that_ends_badly_has_no_results(api: Api, status: Any) -> None:
    api.sandbox.processing_seconds = 0
    api.sandbox.fail_document("invoice.pdf", status)
    answer = api.submit().json()
    run = api.run_of(answer["run_id"], delivery="url")
    assert (run["status"], run["results"], run["results_url"]) == (status, None, None)
    assert api.listed()["items"][0]["status"] == status


def test_what_a_test_put_there_has_a_run_too(api: Api) -> None:
    for status in ("processed", "error", "pending"):
        packet_id = api.sandbox.add_collection(api.workflow_id, status=status)
        packet = api.ask("GET", f"document-packets/{packet_id}/").json()
        assert (packet["latest_run_id"] is None) == (status == "pending")
        if packet["latest_run_id"]:
            run = api.run_of(packet["latest_run_id"])
            assert (run["status"], run["results"] is not None) == (status, status == "processed")


def test_results_by_url_want_no_key(api: Api) -> None:
    packet_id = api.sandbox.add_collection(api.workflow_id)
    run_id = api.ask("GET", f"document-packets/{packet_id}/").json()["latest_run_id"]
    inline = api.run_of(run_id)["results"]
    for query, limit in (({"delivery": "url"}, 1_000_000), ({}, 10)):
        api.sandbox.inline_limit = limit
        run = api.run_of(run_id, **query)
        assert run["results"] is None
        got = requests.get(run["results_url"], timeout=20)
        assert (got.status_code, got.json(), "X-API-Version" in got.headers) == (200, inline, False)
    with_key = requests.get(run["results_url"], headers={"Authorization": f"Bearer {api.sandbox.key}"}, timeout=20)
    assert (with_key.status_code, with_key.headers["Content-Type"]) == (400, "application/xml")
    sent = api.sandbox.requests_to("GET", "/presigned/")
    assert ["authorization" in record.headers for record in sent] == [False, False, True]
    forged = run["results_url"].replace("signature=", "signature=0")
    assert requests.get(forged, timeout=20).status_code == 403
    api.sandbox.remove_collection(packet_id)
    assert requests.get(run["results_url"], timeout=20).status_code == 403


@pytest.mark.parametrize("parse_format", ["markdown", "blocks", "none"])
def test_the_parsed_text_comes_in_the_format_asked_for(api: Api, parse_format: str) -> None:
    packet_id = api.sandbox.add_collection(api.workflow_id)
    run_id = api.ask("GET", f"document-packets/{packet_id}/").json()["latest_run_id"]
    parse = api.run_of(run_id, parse_format=parse_format)["results"]["parse"]
    assert (parse and parse["format"]) == (None if parse_format == "none" else parse_format)


# --- listings --------------------------------------------------------------------------------------------------------


def test_pages_come_newest_first_and_end_with_null(api: Api) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = api.sandbox.fill(api.workflow_id, 7, created_at=start, step=timedelta(hours=1))
    same_age = api.sandbox.fill(api.workflow_id, 5, created_at=start + timedelta(days=1))
    odd = api.sandbox.add_collection(api.workflow_id, created_at="unreadable")
    expected = [*same_age, *made[::-1], odd]
    for limit, order in ((4, "newest"), (13, "shuffled"), (1, "oldest")):
        api.sandbox.order = order  # type: ignore[assignment]
        api.sandbox.collections(api.workflow_id)
        pages = list(api.pages(limit))
        assert [each for page in pages for each in page] == expected
        assert {len(page) for page in pages[:-1]} <= {limit}
    assert list(Api(api.sandbox).pages(5)) == [[]]
    api.sandbox.page_size_cap = 6
    assert [len(page) for page in api.pages(100)] == [6, 6, 1]
    assert len(api.listed()["items"]) == 6


def test_a_listing_goes_on_where_it_was_whatever_comes_and_goes(api: Api) -> None:
    made = api.sandbox.fill(api.workflow_id, 10, created_at=datetime(2026, 1, 1, tzinfo=UTC), step=timedelta(hours=1))
    pages = api.pages(4)
    first = next(pages)
    for gone in (*first, made[5], made[0]):
        api.sandbox.remove_collection(gone)
    api.sandbox.add_collection(api.workflow_id)
    assert [each for page in pages for each in page] == [made[4], made[3], made[2], made[1]]


def test_a_page_can_be_mangled(api: Api) -> None:
    api.sandbox.fill(api.workflow_id, 5)
    api.sandbox.mangle_page = lambda number, answer: {**answer, "next_cursor": number}
    first = api.listed(limit=2)
    assert first["next_cursor"] == 1
    api.sandbox.mangle_page = None
    second = api.listed(limit=2)["next_cursor"]
    api.sandbox.mangle_page = lambda number, answer: {"number": number}
    assert api.listed(limit=2, cursor=second) == {"number": 2}


def test_workflows_are_created_and_listed(api: Api) -> None:
    names = ["n1", "n2", "n3"]
    graph = {"nodes": [{"type": "extract", "extraction_schema": {"fields": [{"name": "vendor"}]}}], "edges": []}
    made = [api.ask("POST", "workflows/", json={"name": name, **graph}) for name in names]
    assert [(reply.status_code, reply.json()["name"]) for reply in made] == [(201, name) for name in names]
    taken = api.ask("POST", "workflows/", json={"name": "n1", **graph})
    assert (taken.status_code, taken.json()["error_code"]) == (409, "WORKFLOW_NAME_CONFLICT")
    first = api.ask("GET", "workflows/", params={"limit": 3}).json()
    rest = api.ask("GET", "workflows/", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["name"] for item in first["items"]] == names[::-1]
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([api.workflow_id], None)
    api.workflow_id, api.sandbox.processing_seconds = made[0].json()["id"], 0
    assert list(api.run_of(api.submit().json()["run_id"])["results"]["extraction"]) == ["vendor"]


# --- names and repeats -----------------------------------------------------------------------------------------------


def test_a_file_name_is_taken_once(api: Api) -> None:
    assert api.submit("a.pdf").status_code == 202
    for names in (["a.pdf"], ["b.pdf", "b.pdf"]):
        refused = api.submit(*names)
        assert (refused.status_code, refused.json()["error_code"]) == (409, "CONFLICT")
    renamed = api.submit("a.pdf", "a.pdf", run=False, on_conflict="rename").json()
    assert [(file["name"], file["original_name"]) for file in renamed["files"]] == [
        ("a (1).pdf", "a.pdf"),
        ("a (2).pdf", "a.pdf"),
    ]
    assert api.submit("a.pdf", on_conflict="overwrite").status_code == 422
    assert api.sandbox.submitted == {"a.pdf": 3}
    assert [row["name"] for row in api.sandbox.collections(api.workflow_id)] == ["a (1).pdf", "a.pdf"]
    assert Api(api.sandbox).submit("a.pdf").status_code == 202


def test_the_same_key_and_document_replay_the_first_answer(api: Api) -> None:
    api.sandbox.fail_next(1, "reset_after", path="/upload/run/")
    with pytest.raises(requests.ConnectionError):
        api.submit("a.pdf", key="k-1")
    first, again = api.submit("a.pdf", key="k-1"), api.submit("a.pdf", key="k-1")
    assert (first.status_code, first.content) == (202, again.content)
    packet_id = first.json()["document_packet_id"]
    assert (api.sandbox.created, api.sandbox.started) == ([packet_id], {packet_id: 1})
    assert api.submit("a.pdf", key="k-1", content=b"another").status_code == 409
    assert api.submit("a.pdf", key="k-2").status_code == 409
    # A refusal is not kept: the same key may succeed later.
    api.sandbox.remove_collection(packet_id)
    assert api.submit("a.pdf", key="k-2").status_code == 202
    assert api.submit("b.pdf", key="k-1", run=False).status_code == 201
    runs = [api.ask("POST", f"document-packets/{api.sandbox.created[-1]}/run/", headers={"Idempotency-Key": "k-1"})]
    runs += [api.ask("POST", f"document-packets/{api.sandbox.created[-1]}/run/", headers={"Idempotency-Key": "k-1"})]
    assert runs[0].json() == runs[1].json()
    assert api.sandbox.started[api.sandbox.created[-1]] == 1
    assert api.sandbox.requests[0].headers["idempotency-key"] == "k-1"


def test_what_is_accepted(api: Api) -> None:
    for names, status in ((["a.exe"], 400), ([f"{n}.pdf" for n in range(101)], 400), (["upload-0ff"], 202)):
        assert api.submit(*names).status_code == status
    assert api.ask("POST", "workflows/{w}/upload/").json()["detail"][0]["loc"] == ["body", "files"]
    assert api.sandbox.submitted == {"upload-0ff": 1}


def test_ids_are_taken_with_and_without_hyphens(api: Api) -> None:
    packet_id = api.sandbox.add_collection(api.workflow_id)
    bare = uuid.UUID(packet_id).hex
    packet = api.ask("GET", f"document-packets/{bare}/").json()
    assert packet["id"] == packet_id
    assert api.run_of(uuid.UUID(packet["latest_run_id"]).hex)["document_packet_id"] == packet_id
    assert api.ask("DELETE", f"document-packets/{bare}/").status_code == 204
    for method in ("GET", "DELETE"):
        refused = api.ask(method, "document-packets/nonsense/")
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["path", "document_packet_id"])


def test_key_slash_limits_and_faults_are_those_of_version_2(api: Api) -> None:
    path = "workflows/{w}/document-packets/"
    assert api.ask("GET", path, headers={"Authorization": "Bearer af_wrong_key"}).status_code == 401
    redirect = api.ask("GET", path[:-1])
    assert (redirect.status_code, redirect.headers["Location"]) == (
        301,
        f"/v3/workflows/{api.workflow_id}/document-packets/",
    )
    api.sandbox.fail_next(1, "gateway_404", path="/v3/")
    page = api.ask("GET", path)
    assert (page.status_code, page.headers["Content-Type"], "X-API-Version" in page.headers) == (
        404,
        "text/html",
        False,
    )
    packet_id = api.sandbox.add_collection(api.workflow_id)
    api.sandbox.fail_next(1, 200, applied=True, method="DELETE", path="/v3/")
    odd = api.ask("DELETE", f"document-packets/{packet_id}/")
    assert (odd.status_code, odd.headers["X-API-Version"], api.sandbox.deleted) == (200, "3", {packet_id: 1})
    api.sandbox.rate_limit, api.sandbox.submission_limit = 5, 1
    assert [api.submit("a.pdf").status_code, api.submit("b.pdf", run=False).status_code] == [202, 429]
    assert api.ask("GET", path).headers["x-ratelimit-limit"] == "5"
