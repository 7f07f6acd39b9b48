"""The published routes of the sandbox, asked over a real socket."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests
from fastapi import FastAPI

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox import Sandbox

ENVELOPE = {"error", "detail", "error_code", "retryable", "request_id"}


def call(sandbox: Sandbox, method: str, path: str, *, key: str | None = None, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key or sandbox.key}"}
    return requests.request(method, sandbox.url + path, headers=headers, allow_redirects=False, timeout=10, **options)


def listing(sandbox: Sandbox, workflow_id: str, **query: Any) -> dict[str, Any]:
    reply = call(sandbox, "GET", f"/v2/workflows/{workflow_id}/files/", params=query)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


@pytest.fixture
def workflow_id(anyformat_sandbox: Sandbox) -> str:
    return anyformat_sandbox.add_workflow()


def test_health_needs_no_key(anyformat_sandbox: Sandbox) -> None:
    reply = requests.get(f"{anyformat_sandbox.url}/health/", timeout=10)
    assert (reply.status_code, reply.json()) == (200, {"message": "ok"})
    assert reply.headers["X-API-Version"]


# --- the key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({}, 403, "ACCESS_DENIED", id="no header"),
        pytest.param({"Authorization": "Bearer"}, 403, "ACCESS_DENIED", id="no key"),
        pytest.param({"Authorization": "Bearer  "}, 403, "ACCESS_DENIED", id="a blank key"),
        pytest.param({"Authorization": "Basic YWZfc2FuZGJveA=="}, 403, "ACCESS_DENIED", id="another scheme"),
        pytest.param({"Authorization": "Bearer af_wrong_key"}, 401, "AUTH_FAILED", id="a wrong key"),
    ],
)
@pytest.mark.parametrize("path", ["/v2/files/nonsense/", "/v2/files/nonsense", "/v2/workflows/none/files/?page=0"])
def test_without_the_key_nothing_else_is_looked_at(
    anyformat_sandbox: Sandbox, headers: dict[str, str], status: int, code: str, path: str
) -> None:
    method = "DELETE" if "/v2/files" in path else "GET"
    reply = requests.request(method, anyformat_sandbox.url + path, headers=headers, allow_redirects=False, timeout=10)
    assert reply.status_code == status
    assert reply.json().keys() == ENVELOPE
    assert reply.json()["error_code"] == code


def test_a_key_is_revoked_replaced_and_added_while_it_runs(anyformat_sandbox: Sandbox) -> None:
    sandbox, first = anyformat_sandbox, anyformat_sandbox.key

    def status(key: str) -> int:
        return call(sandbox, "GET", "/v2/workflows/", key=key).status_code

    assert status(first) == 200
    second = sandbox.replace_key()
    assert (status(first), status(second)) == (401, 200)
    sandbox.revoke_key()
    assert status(second) == 401
    sandbox.key = "af_set_by_hand"
    sandbox.add_key("af_a_colleagues")
    assert (status("af_set_by_hand"), status("af_a_colleagues"), status(second)) == (200, 200, 401)
    sandbox.revoke_key("af_a_colleagues")
    assert (status("af_set_by_hand"), status("af_a_colleagues")) == (200, 401)


def test_a_scope_is_missing_for_one_method_until_it_is_given_back(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    path = f"/v2/files/{anyformat_sandbox.add_collection(workflow_id)}/"
    anyformat_sandbox.deny_scope("files:delete")
    reply = call(anyformat_sandbox, "DELETE", path)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "insufficient_api_key_scope")
    assert "files:delete" in reply.json()["error"]
    assert listing(anyformat_sandbox, workflow_id)["count"] == 1
    anyformat_sandbox.deny_scope(None)
    assert call(anyformat_sandbox, "DELETE", path).status_code == 204


# --- delete ----------------------------------------------------------------------------------------------------------


def test_a_delete_takes_effect_once(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    collection_id, other = anyformat_sandbox.fill(workflow_id, 2)
    reply = call(anyformat_sandbox, "DELETE", f"/v2/files/{collection_id}/")
    assert (reply.status_code, reply.content) == (204, b"")
    assert "Content-Length" not in reply.headers
    again = call(anyformat_sandbox, "DELETE", f"/v2/files/{collection_id}/")
    assert (again.status_code, again.json()["error_code"], again.json()["retryable"]) == (404, "NOT_FOUND", False)
    assert again.json().keys() == ENVELOPE
    assert anyformat_sandbox.deleted == {collection_id: 1}
    assert collection_id not in anyformat_sandbox
    assert not anyformat_sandbox.exists(collection_id)
    assert other in anyformat_sandbox


@pytest.mark.parametrize("status", [204, 410, 409])
def test_the_second_delete_can_be_answered_otherwise(anyformat_sandbox: Sandbox, workflow_id: str, status: int) -> None:
    anyformat_sandbox.second_delete_status = status
    collection_id = anyformat_sandbox.add_collection(workflow_id)
    path = f"/v2/files/{collection_id}/"
    assert [call(anyformat_sandbox, "DELETE", path).status_code for _ in range(3)] == [204, status, status]
    assert anyformat_sandbox.deleted == {collection_id: 1}
    assert call(anyformat_sandbox, "DELETE", f"/v2/files/{uuid.uuid4()}/").status_code == 404


def reference_422(collection_id: str) -> Any:
    """What FastAPI says by itself where a path parameter is declared to be a UUID."""
    app = FastAPI()
    messages: list[Any] = []

    async def delete(collection_id: uuid.UUID) -> None: ...

    delete.__annotations__["collection_id"] = uuid.UUID
    app.delete("/v2/files/{collection_id}/")(delete)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    path = f"/v2/files/{collection_id}/"
    scope = {"type": "http", "method": "DELETE", "path": path, "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))
    assert messages[0]["status"] == 422
    body = json.loads(messages[1]["body"])
    for item in body["detail"]:
        # Before 0.111 FastAPI added a link, which is no part of the published HTTPValidationError.
        item.pop("url", None)
    return body


@pytest.mark.parametrize("collection_id", ["nonsense", "a" * 33, "b2c3d4e5-f6a7-8901-bcde", "None"])
def test_an_id_that_is_no_uuid_is_refused_as_fastapi_refuses_it(anyformat_sandbox: Sandbox, collection_id: str) -> None:
    reply = call(anyformat_sandbox, "DELETE", f"/v2/files/{collection_id}/")
    assert reply.status_code == 422
    assert reply.json() == reference_422(collection_id)
    assert reply.json()["detail"][0]["loc"] == ["path", "collection_id"]
    assert reply.headers["X-API-Version"]


def test_a_uuid_is_one_in_any_spelling(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    collection_id = anyformat_sandbox.add_collection(workflow_id)
    assert call(anyformat_sandbox, "DELETE", f"/v2/files/{collection_id.upper()}/").status_code == 204
    assert anyformat_sandbox.deleted == {collection_id: 1}


def test_ids_need_not_be_uuids(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    anyformat_sandbox.uuid_ids = False
    anyformat_sandbox.add_collection(workflow_id, id="scan_0001")
    assert call(anyformat_sandbox, "DELETE", "/v2/files/scan_0002/").status_code == 404
    assert call(anyformat_sandbox, "DELETE", "/v2/files/scan_0001/").status_code == 204
    assert anyformat_sandbox.deleted == {"scan_0001": 1}


def test_without_the_trailing_slash_nothing_is_done(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    collection_id = anyformat_sandbox.add_collection(workflow_id)
    reply = call(anyformat_sandbox, "DELETE", f"/v2/files/{collection_id}?really=yes")
    assert (reply.status_code, reply.content) == (301, b"")
    assert reply.headers["Location"] == f"/v2/files/{collection_id}/?really=yes"
    assert call(anyformat_sandbox, "GET", "/v2/workflows").headers["Location"] == "/v2/workflows/"
    assert collection_id in anyformat_sandbox
    assert anyformat_sandbox.deleted == {}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/v2/nothing/here/", 404, "NOT_FOUND", id="no such route"),
        pytest.param("GET", "/", 404, "NOT_FOUND", id="no such route outside the API"),
        pytest.param("PATCH", "/v2/workflows/", 405, "METHOD_NOT_ALLOWED", id="no such method"),
        pytest.param("GET", "/v2/workflows/none/files/", 404, "NOT_FOUND", id="listing of no workflow"),
        pytest.param("GET", "/v2/workflows/none/files/x/results/", 404, "NOT_FOUND", id="results of no workflow"),
    ],
)
def test_what_is_not_there(anyformat_sandbox: Sandbox, method: str, path: str, status: int, code: str) -> None:
    reply = call(anyformat_sandbox, method, path)
    assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    assert reply.json().keys() == ENVELOPE


# --- listings --------------------------------------------------------------------------------------------------------


def test_workflows_are_listed_in_pages(anyformat_sandbox: Sandbox) -> None:
    ids = [anyformat_sandbox.add_workflow(name=f"number {i}") for i in range(5)]
    body = call(anyformat_sandbox, "GET", "/v2/workflows/?page=2&page_size=2").json()
    assert {name: body[name] for name in ("count", "page", "page_size")} == {"count": 5, "page": 2, "page_size": 2}
    assert [(row["id"], row["name"]) for row in body["results"]] == [(ids[2], "number 2"), (ids[3], "number 3")]
    assert call(anyformat_sandbox, "GET", "/v2/workflows/?page_size=500").json()["page_size"] == 100


def test_pages_of_a_listing_are_complete_and_capped(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    ids = anyformat_sandbox.fill(workflow_id, 250)
    first = listing(anyformat_sandbox, workflow_id)
    assert (first["count"], first["page"], first["page_size"], len(first["results"])) == (250, 1, 20, 20)
    pages = [listing(anyformat_sandbox, workflow_id, page=page, page_size=1000) for page in (1, 2, 3, 4)]
    assert [len(page["results"]) for page in pages] == [100, 100, 50, 0]
    assert {page["page_size"] for page in pages} == {100}
    assert sorted(row["id"] for page in pages for row in page["results"]) == sorted(ids)
    anyformat_sandbox.page_size_cap = 30
    assert listing(anyformat_sandbox, workflow_id, page_size=100)["page_size"] == 30


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=1.5", "page_size=0", "page_size=many"])
def test_a_page_that_is_none_is_refused(anyformat_sandbox: Sandbox, workflow_id: str, query: str) -> None:
    reply = call(anyformat_sandbox, "GET", f"/v2/workflows/{workflow_id}/files/?{query}")
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_row_shows_what_it_was_given(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    moment = datetime(2026, 1, 31, 8, 30, 15, tzinfo=UTC)
    anyformat_sandbox.add_collection(
        workflow_id,
        id="b2c3d4e5-f6a7-8901-bcde-f12345678901",
        name=None,
        status="error",
        created_at=moment,
        updated_at=moment.astimezone() + timedelta(microseconds=5),
        file_id="f1",
    )
    assert listing(anyformat_sandbox, workflow_id)["results"] == [
        {
            "id": "b2c3d4e5-f6a7-8901-bcde-f12345678901",
            "name": None,
            "status": "error",
            "created_at": "2026-01-31T08:30:15Z",
            "updated_at": "2026-01-31T08:30:15.000005Z",
            "file_id": "f1",
        }
    ]


@pytest.mark.parametrize("shown", [None, "", "yesterday", "2026-13-45T00:00:00Z", "2026-01-31T08:30:15"])
def test_a_timestamp_that_is_none_is_shown_as_it_is(
    anyformat_sandbox: Sandbox, workflow_id: str, shown: str | None
) -> None:
    anyformat_sandbox.add_collection(workflow_id, created_at=shown)
    row = listing(anyformat_sandbox, workflow_id)["results"][0]
    assert (row["created_at"], row["updated_at"]) == (shown, shown)


def test_a_naive_moment_is_utc(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    anyformat_sandbox.add_collection(workflow_id, created_at=datetime(2026, 1, 31, 8))  # noqa: DTZ001 - the point
    assert listing(anyformat_sandbox, workflow_id)["results"][0]["created_at"] == "2026-01-31T08:00:00Z"


def test_rows_have_a_file_id_that_deletes_nothing_or_none_at_all(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    anyformat_sandbox.fill(workflow_id, 1)
    row = listing(anyformat_sandbox, workflow_id)["results"][0]
    assert row["file_id"] != row["id"]
    assert listing(anyformat_sandbox, workflow_id)["results"] == [row]
    assert call(anyformat_sandbox, "DELETE", f"/v2/files/{row['file_id']}/").status_code == 404
    anyformat_sandbox.file_ids = False
    assert "file_id" not in listing(anyformat_sandbox, workflow_id)["results"][0]


def test_listings_are_ordered_as_set(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    oldest_first = anyformat_sandbox.fill(workflow_id, 30, created_at=start, step=timedelta(hours=1))
    oldest_first.insert(0, anyformat_sandbox.add_collection(workflow_id, created_at="2025-12-31T00:00:00Z"))
    oldest_first.insert(0, anyformat_sandbox.add_collection(workflow_id, created_at="unreadable"))

    def ids() -> list[str]:
        return [row["id"] for row in listing(anyformat_sandbox, workflow_id, page_size=100)["results"]]

    assert ids() == oldest_first[::-1]
    anyformat_sandbox.order = "oldest"
    assert ids() == oldest_first
    anyformat_sandbox.order = "shuffled"
    shuffled = ids()
    assert shuffled not in (oldest_first, oldest_first[::-1])
    assert sorted(shuffled) == sorted(oldest_first)
    assert ids() == shuffled


def test_an_answer_can_be_mangled(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    anyformat_sandbox.fill(workflow_id, 3)
    anyformat_sandbox.mangle_page = lambda page, answer: {**answer, "count": 99, "page": [page]}
    body = listing(anyformat_sandbox, workflow_id, page=1)
    assert (body["count"], body["page"], len(body["results"])) == (99, [1], 3)


def test_the_servers_clock_can_be_set(anyformat_sandbox: Sandbox, workflow_id: str) -> None:
    before = datetime.now(UTC)
    anyformat_sandbox.clock_offset = timedelta(hours=-1)
    anyformat_sandbox.fill(workflow_id, 1)
    reply = call(anyformat_sandbox, "GET", f"/v2/workflows/{workflow_id}/files/")
    hour_ago = before - timedelta(hours=1)
    for shown in (
        parsedate_to_datetime(reply.headers["Date"]),
        datetime.fromisoformat(reply.json()["results"][0]["created_at"]),
    ):
        assert timedelta(seconds=-2) < shown - hour_ago < timedelta(minutes=5)
