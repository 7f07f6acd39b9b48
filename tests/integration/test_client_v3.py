"""Version 3 of the API over real sockets: when a delete, a page, a state and results are believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatError,
    AnyformatListingError,
    AnyformatNoResultsError,
    AnyformatNotFoundError,
    AnyformatNotReadyError,
    AnyformatServerError,
    AnyformatTooLongError,
    AnyformatValueError,
)
from tests.support.scripted import (
    GATEWAY_404,
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    Conversation,
    ScriptedServer,
    Step,
    envelope,
    reply,
    reset,
)

PACKET = "/v3/document-packets/c1/"
FOUND = reply(200, {"id": "c1", "status": "processed", "latest_run_id": "r1"})
HTML = reply(200, b"<html></html>", {"Content-Type": "text/html"}, own=False)


@pytest.fixture
def client(make_client: Callable[..., AnyformatClient]) -> AnyformatClient:
    return make_client(api_version="v3")


@pytest.mark.parametrize("version", ["2", "v1", "V3", "", None, 3])
def test_another_version_is_refused(version: Any) -> None:
    with pytest.raises(AnyformatValueError, match=r"^api_version: "):
        AnyformatClient("af_12345678", api_version=version)


# What comes for the delete and then for the look at it: the outcome, or the class of the error.
DELETES: dict[str, tuple[list[Step], str | type[AnyformatError]]] = {
    "204": ([OK], "deleted"),
    "200, then gone": ([reply(200, {"ok": True}), NOT_FOUND], "deleted"),
    "202, then gone": ([reply(202, b""), NOT_FOUND], "deleted"),
    "200, and still there": ([reply(200, {"ok": True}), FOUND], AnyformatClientError),
    "200, then a gateway's 404": ([reply(200, {"ok": True}), GATEWAY_404], AnyformatClientError),
    "200, then 503": ([reply(200, {"ok": True}), UNAVAILABLE], AnyformatClientError),
    "200, then no answer": ([reply(200, {"ok": True}), reset()], AnyformatClientError),
    "HTML, and still there": ([HTML, FOUND], AnyformatClientError),
    "301": ([reply(301, b"", {"Location": "/v3/"})], AnyformatClientError),
    "302": ([reply(302, b"", {"Location": "/v3/"})], AnyformatClientError),
    "404": ([NOT_FOUND], AnyformatNotFoundError),
    "lost, then 404": ([reset(), NOT_FOUND], "already_gone"),
}


@pytest.mark.parametrize("name", DELETES)
def test_when_a_delete_is_believed(server: ScriptedServer, client: AnyformatClient, name: str) -> None:
    steps, expected = DELETES[name]
    server.script(*steps)

    if isinstance(expected, str):
        assert client.delete_file_collection("c1") == expected
    else:
        with pytest.raises(AnyformatError) as caught:
            client.delete_file_collection("c1")
        assert type(caught.value) is expected
        assert caught.value.fate_unknown == (name != "404")

    assert server.targets == [PACKET] * len(steps)
    methods = [request.line.split(" ")[0] for request in server.requests]
    assert methods == ["DELETE"] + ["DELETE" if name.startswith("lost") else "GET"] * (len(steps) - 1)


def items(*ids: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": each, "status": "processed", **fields} for each in ids]


def cursored(rows: Any, cursor: Any) -> bytes:
    return reply(200, {"items": rows, "next_cursor": cursor})


def test_a_listing_follows_its_cursors_to_null(server: ScriptedServer, client: AnyformatClient) -> None:
    first = items("c1", name="a.pdf", created_at="2026-01-02T03:04:05Z", updated_at="2026-01-02T03:04:06Z")
    server.script(cursored(first, "a/b=="), cursored([], "x"), cursored(items("c2"), None))

    rows = list(client.iter_file_collections("w1"))

    assert [(row.id, row.status, row.name) for row in rows] == [("c1", "processed", "a.pdf"), ("c2", "processed", None)]
    assert rows[0].created_at is not None
    base = "/v3/workflows/w1/document-packets/?limit=100"
    assert server.targets == [base, f"{base}&cursor=a%2Fb%3D%3D", f"{base}&cursor=x"]


def test_a_long_listing_is_read_to_its_end(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(*[cursored(items(f"c{page}"), str(page)) for page in range(150)], cursored([], None))
    assert len(list(client.iter_file_collections("w1"))) == 150


def endless(conversation: Conversation) -> bool:
    conversation.send(cursored(items("c1"), str(len(conversation.server.requests))))
    return True


SPOILT: dict[str, list[Step]] = {
    "cursor missing": [reply(200, {"items": items("c1")})],
    "cursor empty": [cursored(items("c1"), "")],
    "cursor a number": [cursored(items("c1"), 2)],
    "cursor false": [cursored(items("c1"), False)],
    "cursor came twice": [cursored(items("c1"), "x"), cursored(items("c2"), "y"), cursored(items("c3"), "x")],
    "no items": [reply(200, {"next_cursor": None})],
    "items null": [cursored(None, None)],
    "row without id": [cursored([{"status": "processed"}], None)],
    "row without status": [cursored([{"id": "c1"}], None)],
    "status null": [cursored(items("c1", status=None), None)],
    "row a text": [cursored(["c1"], None)],
    "second page gone": [cursored(items("c1"), "x"), NOT_FOUND],
    "page of v2": [reply(200, {"count": 0, "page": 1, "page_size": 100, "results": []})],
    "nothing new, without end": [endless],
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_listing_is_refused(server: ScriptedServer, client: AnyformatClient, name: str) -> None:
    server.script(*SPOILT[name])
    with pytest.raises(AnyformatListingError):
        list(client.iter_file_collections("w1"))
    assert len(server.requests) < 110


STATES: dict[str, tuple[Step, str | type[AnyformatError]]] = {
    "queued": (reply(200, {"status": "queued"}), "queued"),
    "unknown": (reply(200, {"status": "reticulating"}), "reticulating"),
    "processed": (FOUND, "processed"),
    "error": (reply(200, {"status": "error"}), "error"),
    "no status": (reply(200, {"id": "c1"}), AnyformatServerError),
    "HTML": (HTML, AnyformatServerError),
    "404": (NOT_FOUND, AnyformatNotFoundError),
}


@pytest.mark.parametrize("name", STATES)
def test_a_look_is_one_request(server: ScriptedServer, client: AnyformatClient, name: str) -> None:
    answer, expected = STATES[name]
    server.script(answer)
    if isinstance(expected, str):
        assert client.look("w1", "c1").status == expected
    else:
        with pytest.raises(expected):
            client.look("w1", "c1")
    assert server.targets == [PACKET]


def test_results_are_the_results_object_as_it_was_sent(server: ScriptedServer, client: AnyformatClient) -> None:
    results = b'{ "total": 1.10, "big": 12345678901234567890.123, "text": "\\u00e9 } \\"x\\"" }'
    server.script(FOUND, reply(200, b' {"id" : "r1", "n": {"results": 1}, "results" :  ' + results + b', "z": [] }'))
    assert client.get_results("w1", "c1") == results
    assert server.targets == [PACKET, "/v3/runs/r1/"]


def test_results_by_url_come_byte_for_byte_and_without_the_key(server: ScriptedServer, client: AnyformatClient) -> None:
    body = b'{"a":  1.10}\n'
    url = f"{server.url}/stored/r1?signature=abc"
    server.script(FOUND, reply(200, {"id": "r1", "results": None, "results_url": url}), reply(200, body, own=False))
    assert client.get_results("w1", "c1") == body
    assert server.targets[-1] == "/stored/r1?signature=abc"
    assert ["authorization" in request.headers for request in server.requests] == [True, True, False]


@pytest.mark.parametrize("inline", [True, False])
def test_results_that_are_longer_than_wanted(server: ScriptedServer, client: AnyformatClient, inline: bool) -> None:
    body = json.dumps({"a": "x" * 100}).encode()
    if inline:
        server.script(FOUND, reply(200, b'{"results": ' + body + b"}"))
    else:
        url = f"{server.url}/stored/r1?signature=abc"
        server.script(FOUND, reply(200, {"results": None, "results_url": url}), reply(200, body, own=False))
    with pytest.raises(AnyformatTooLongError, match="longer than 100 bytes") as caught:
        client.get_results("w1", "c1", limit=100)
    assert not caught.value.retryable
    assert "signature" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.org/r?signature=abc", "ftp://127.0.0.1/r?signature=abc", "{}/r?signature=abc"]
)
def test_a_results_url_that_does_not_work_is_not_shown(
    server: ScriptedServer, client: AnyformatClient, url: str
) -> None:
    server.script(FOUND, reply(200, {"results": None, "results_url": url.format(server.url)}), reply(403, b"<Error/>"))
    with pytest.raises(AnyformatServerError) as caught:
        client.get_results("w1", "c1")
    assert caught.value.retryable
    assert "signature" not in str(caught.value)


NONE: dict[str, tuple[list[Step], type[AnyformatError]]] = {
    "in progress": ([reply(200, {"status": "in_progress"})], AnyformatNotReadyError),
    "unknown status": ([reply(200, {"status": "reticulating"})], AnyformatNotReadyError),
    "error": ([reply(200, {"status": "error"})], AnyformatNoResultsError),
    "cancelled": ([reply(200, {"status": "cancelled"})], AnyformatNoResultsError),
    "no run": ([reply(200, {"status": "processed"})], AnyformatServerError),
    "a run's id that is a path": ([reply(200, {"status": "processed", "latest_run_id": "../x"})], AnyformatServerError),
    "neither results nor URL": ([FOUND, reply(200, {"results": None})], AnyformatServerError),
}


@pytest.mark.parametrize("name", NONE)
def test_no_results(server: ScriptedServer, client: AnyformatClient, name: str) -> None:
    steps, kind = NONE[name]
    server.script(*steps)
    with pytest.raises(AnyformatError) as caught:
        client.get_results("w1", "c1")
    assert type(caught.value) is kind
    assert len(server.requests) == len(steps)


def test_whether_it_is_gone(server: ScriptedServer, client: AnyformatClient) -> None:
    for answer, gone in ((FOUND, False), (NOT_FOUND, True), (GATEWAY_404, None), (UNAVAILABLE, None)):
        server.script(answer)
        assert client.is_gone("w1", "c1") is gone
    assert set(server.targets) == {PACKET}


@pytest.mark.parametrize(
    "files", [None, "f1", {"id": "f1"}, ["f1"], [{"id": "f1"}, {"name": "b.pdf"}], [{"id": 7}]], ids=repr
)
def test_files_that_are_not_named_are_not_taken_for_none(
    server: ScriptedServer, client: AnyformatClient, files: Any
) -> None:
    server.script(reply(200, {"id": "c1", "files": files}))
    with pytest.raises(AnyformatServerError, match="does not name its files"):
        client.unlisted_file_ids("c1")


def test_the_files_of_a_packet(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(200, {"id": "c1", "files": [{"id": "f1"}, {"id": "f2"}]}), NOT_FOUND)
    assert list(client.unlisted_file_ids("c1")) == ["f1", "f2"]
    assert list(client.unlisted_file_ids("c1")) == []


def test_the_connection_is_tested_without_v2(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(200, {"items": [], "next_cursor": None}), reply(401, envelope("AUTH_FAILED")))
    client.check_key()
    with pytest.raises(AnyformatClientError):
        client.check_key()
    assert server.targets == ["/v3/workflows/?limit=1"] * 2
