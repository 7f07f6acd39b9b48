"""Listings, results and the check of the key, over real sockets."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_anyformat.api.caller import LISTING_BYTES
from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatAuthenticationError,
    AnyformatClientError,
    AnyformatError,
    AnyformatListingError,
    AnyformatNotFoundError,
    AnyformatServerError,
    AnyformatStoppedError,
)
from tests.support.scripted import (
    GATEWAY_404,
    KEY,
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    Conversation,
    ScriptedServer,
    Step,
    envelope,
    hang_up,
    page,
    reply,
    reset,
    row,
)

Maker = Callable[..., AnyformatClient]


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [row(f"c{number}") for number in range(first, last + 1)]


def ids(client: AnyformatClient) -> list[str]:
    return [collection.id for collection in client.iter_file_collections("w1")]


def targets(pages: int) -> list[str]:
    return [f"/v2/workflows/w1/files/?page={number}&page_size=100" for number in range(1, pages + 1)]


def test_pages_as_asked_for(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(page(rows(1, 100), 205), page(rows(101, 200), 205, 2), page(rows(201, 205), 205, 3))

    pages = list(client.iter_pages("w1"))

    assert [(len(p.collections), p.count, p.page, p.page_size) for p in pages] == [
        (100, 205, 1, 100),
        (100, 205, 2, 100),
        (5, 205, 3, 100),
    ]
    assert all(p.server_date is not None and p.server_date.isoformat() == "2026-11-24T10:00:00+00:00" for p in pages)
    assert server.targets == targets(3)
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


def test_the_page_size_that_came_back_counts(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(*[page(rows(30 * n + 1, min(30 * n + 30, 100)), 100, n + 1, page_size=30) for n in range(4)])

    assert ids(client) == [f"c{number}" for number in range(1, 101)]
    assert server.targets == targets(4)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_one_page_is_enough(server: ScriptedServer, client: AnyformatClient, count: int) -> None:
    server.script(page(rows(1, count), count))

    assert len(ids(client)) == count
    assert server.targets == targets(1)


def test_the_documented_example(server: ScriptedServer, client: AnyformatClient) -> None:
    shown = {"id": "b2c3d4e5-f6a7-8901-bcde-f12345678901", "name": None, "status": "queued"}
    shown |= {"created_at": None, "updated_at": None, "file_id": "f1"}
    server.script(page([shown], 1, page_size=20))

    (collection,) = client.iter_file_collections("w1")

    assert (collection.id, collection.status, collection.file_id, collection.workflow_id) == (
        shown["id"],
        "queued",
        "f1",
        "w1",
    )
    assert (collection.name, collection.created_at, collection.updated_at) == (None, None, None)


def test_growth_is_no_error(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(page(rows(1, 100), 101), page(rows(100, 103), 104, 2))

    assert len(ids(client)) == 103


def broken(**fields: Any) -> bytes:
    body = {"count": 1, "page": 1, "page_size": 100, "results": rows(1, 1), **fields}
    return reply(200, {key: value for key, value in body.items() if value != "absent"})


UNUSABLE: dict[str, bytes] = {
    "no results": broken(results="absent"),
    "results null": broken(results=None),
    "results an object": broken(results={}),
    "row null": broken(results=[None]),
    "row a list": broken(results=[[]]),
    "row a text": broken(results=["c1"]),
    "row without id": broken(results=[{"status": "processed"}]),
    "id null": broken(results=[row("None")]),
    "id a number": broken(results=[{**row("c1"), "id": 5}]),
    "id a path": broken(results=[row("../c1")]),
    "id empty": broken(results=[row("")]),
    "id too long": broken(results=[row("a" * 129)]),
    "file_id none": broken(results=[row("c1", file_id="a b")]),
    "one bad among good": broken(results=[*rows(1, 50), row("a/b"), *rows(51, 60)]),
    "no count": broken(count="absent"),
    "count negative": broken(count=-1),
    "count a text": broken(count="1"),
    "count true": broken(count=True),
    "count a float": broken(count=1.0),
    "no page_size": broken(page_size="absent"),
    "page_size 0": broken(page_size=0),
    "page_size huge": broken(page_size=1001),
    "another page": broken(page=2),
    "no page": broken(page="absent"),
    "empty object": reply(200, {}),
    "list": reply(200, rows(1, 1)),
    "null": reply(200, None),
    "HTML": reply(200, b"<html>", own=False),
    "empty": reply(200),
    "broken JSON": reply(200, b'{"count": 1,'),
    "deep JSON": reply(200, b"[" * 200_000),
    "long number": reply(200, b'{"count": ' + b"1" * 5_000 + b"}"),
    "not UTF-8": reply(200, b'{"count": 1, "results": ["\xff"]}'),
    "fewer than counted": page(rows(1, 9), 10),
    "repeats instead of rows": page([*rows(1, 5), *rows(1, 5)], 10),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_listing_that_cannot_be_believed(server: ScriptedServer, client: AnyformatClient, answer: bytes) -> None:
    server.script(answer)

    with pytest.raises(AnyformatListingError) as caught:
        ids(client)

    assert caught.value.retryable
    assert "w1" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["no results", "row null", "id a path", "another page", "HTML"])
def test_a_page_that_cannot_be_used_names_its_status(
    server: ScriptedServer, client: AnyformatClient, name: str
) -> None:
    server.script(UNAVAILABLE, UNUSABLE[name])

    with pytest.raises(AnyformatListingError, match=r"^listing of workflow w1, page 1: HTTP 200: ") as caught:
        list(client.iter_pages("w1"))

    assert (caught.value.status_code, caught.value.attempts) == (200, 2)
    assert caught.value.__cause__ is None


def test_a_page_without_new_ids(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(page(rows(1, 100), 300), page(rows(1, 100), 300, 2))

    with pytest.raises(AnyformatListingError, match="nothing new on page 2"):
        ids(client)


def test_an_empty_page_before_the_end(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(page(rows(1, 100), 300), page([], 300, 2))

    with pytest.raises(AnyformatListingError):
        ids(client)
    assert server.targets == targets(2)


def test_a_listing_without_end(server: ScriptedServer, client: AnyformatClient) -> None:
    number = 0

    def step(conversation: Conversation) -> bool:
        nonlocal number
        number += 1
        conversation.send(page([row(f"c{number}")], 10_000_000, number, page_size=1000))
        return True

    server.script(step)
    client_pages = client.iter_pages("w1")

    # The pages go on as long as the server says so; what ends them is the reading's own bound.
    for _ in range(5):
        next(client_pages)
    assert number == 5


def test_404_on_a_later_page(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(page(rows(1, 100), 300), NOT_FOUND)

    with pytest.raises(AnyformatListingError, match=r"page 2: HTTP 404: ") as caught:
        ids(client)

    assert (caught.value.status_code, caught.value.retryable, caught.value.attempts) == (404, True, 1)


def test_404_on_the_first_page(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(NOT_FOUND)

    with pytest.raises(AnyformatNotFoundError, match=r"listing of workflow w1, page 1: HTTP 404: "):
        ids(client)


@pytest.mark.parametrize("status", [500, 429, 408])
def test_a_page_is_tried_again(server: ScriptedServer, client: AnyformatClient, status: int) -> None:
    server.script(page(rows(1, 100), 101), reply(status), page(rows(101, 101), 101, 2))

    assert len(ids(client)) == 101
    assert server.targets == [*targets(2), targets(2)[1]]


def test_a_page_that_broke_off_is_tried_again(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(hang_up(page(rows(1, 100), 100)[:-50]), page(rows(1, 100), 100))

    assert len(ids(client)) == 100


def test_pages_break_off_to_the_end(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(hang_up(page(rows(1, 100), 100)[:-50]))

    with pytest.raises(AnyformatServerError, match="broke off"):
        ids(client)
    assert len(server.requests) == 3


@pytest.mark.parametrize("chunked", [False, True])
def test_a_page_larger_than_any(server: ScriptedServer, client: AnyformatClient, chunked: bool) -> None:
    piece = b'{"results": [' + b" " * (1024 * 1024 - 13)
    sent = 0

    def step(conversation: Conversation) -> bool:
        nonlocal sent
        fields = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(200 * len(piece))}
        head = reply(200, headers=fields)
        conversation.send(head.replace(b"Content-Length: 0\r\n", b""))
        for _ in range(200):
            conversation.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        return True

    server.script(step)
    tracemalloc.start()
    try:
        with pytest.raises(AnyformatClientError, match=rf"HTTP 200: .* longer than {LISTING_BYTES} bytes"):
            ids(client)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(server.requests) == 1
    assert sent < 60 * 1024 * 1024
    assert peak < 120 * 1024 * 1024


def test_a_page_of_the_largest_size(server: ScriptedServer, client: AnyformatClient) -> None:
    body = json.dumps({"count": 1, "page": 1, "page_size": 100, "results": rows(1, 1)}).encode()
    server.script(reply(200, body + b" " * (LISTING_BYTES - len(body))))

    assert ids(client) == ["c1"]


def test_what_a_page_repeats_of_the_key_is_not_shown(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(broken(results=[row("x" * 180 + f" Bearer {KEY}")]))

    with pytest.raises(AnyformatListingError, match="repeats the API key") as caught:
        ids(client)

    assert KEY[:6] not in str(caught.value)


# Results


def test_results_come_as_received(server: ScriptedServer, client: AnyformatClient) -> None:
    body = b'{ "b": 1.10, "a": [null, "\xc3\xa9"],\r\n "a": 2 }\n'
    server.script(reply(200, body))

    assert client.get_results("w1", "c1") == body
    assert server.targets == ["/v2/workflows/w1/files/c1/results/"]


def test_empty_results_are_results(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(200, b"{}"))

    assert client.get_results("w1", "c1") == b"{}"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"5", b'"x"', b"<html>", b'{"a": 1', b"{" * 100_000, b"\xff"])
def test_results_that_are_none(server: ScriptedServer, client: AnyformatClient, body: bytes) -> None:
    server.script(reply(200, body))

    with pytest.raises(AnyformatClientError, match="HTTP 200: the answer is not a JSON object") as caught:
        client.get_results("w1", "c1")

    assert (caught.value.status_code, caught.value.retryable) == (200, False)
    assert "c1" in str(caught.value)


def test_results_that_broke_off(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(hang_up(reply(200, b'{"a": 1}   ')[:-2]), reply(200, b'{"a": 1}'))

    assert client.get_results("w1", "c1") == b'{"a": 1}'


GONE: dict[str, tuple[Step, bool | None]] = {
    "200": (reply(200, {"parse": None}), False),
    "200 and long": (reply(200, {"parse": "x" * 200_000}), False),
    "412": (reply(412, envelope("PRECONDITION_FAILED")), False),
    "422": (reply(422, envelope("EXTRACTION_FAILED")), False),
    "404": (NOT_FOUND, True),
    "404 of a gateway": (GATEWAY_404, None),
    "401": (reply(401, envelope("AUTH_FAILED")), None),
    "503": (UNAVAILABLE, None),
    "301": (reply(301, b"", {"Location": "/elsewhere"}), None),
    "204": (OK, None),
    "no answer": (reset(), None),
}


@pytest.mark.parametrize("name", GONE)
def test_only_anyformats_own_404_says_that_a_collection_is_gone(
    server: ScriptedServer, client: AnyformatClient, name: str
) -> None:
    answer, gone = GONE[name]
    server.script(answer)
    assert client.is_gone("w1", "c1") is gone
    assert set(server.targets) == {"/v2/workflows/w1/files/c1/results/"}


def test_a_stopped_task_asks_and_waits_for_nothing(server: ScriptedServer, client: AnyformatClient) -> None:
    client.check_stopped("reading")
    client.stop()
    for call in (lambda: client.check_stopped("reading"), lambda: client.is_gone("w1", "c1"), lambda: client.sleep(9)):
        with pytest.raises(AnyformatStoppedError, match="told to stop"):
            call()
    assert server.requests == []


@pytest.mark.parametrize(("status", "kind"), [(412, AnyformatClientError), (404, AnyformatNotFoundError)])
def test_no_results_yet(
    server: ScriptedServer, client: AnyformatClient, status: int, kind: type[AnyformatError]
) -> None:
    server.script(reply(status, envelope("PRECONDITION_FAILED")))

    with pytest.raises(kind, match=f"HTTP {status}") as caught:
        client.get_results("w1", "c1")

    assert caught.value.status_code == status
    assert len(server.requests) == 1


# The check of the key


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, {"count": 0, "page": 1, "page_size": 1, "results": []}),
        reply(200, {"results": []}, own=False),
        reply(200, {"data": []}),
    ],
)
def test_a_key_that_works(server: ScriptedServer, client: AnyformatClient, answer: bytes) -> None:
    server.script(answer)

    client.check_key()

    assert server.targets == ["/v2/workflows/?page_size=1"]


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"<html>Please log in to the wireless network</html>", {"Content-Type": "text/html"}, own=False),
        reply(200, b"<html>", {"Content-Type": "text/html"}),
        reply(200, own=False),
        reply(200),
        reply(200, {"message": "ok"}, own=False),
        reply(200, {"results": None}, own=False),
        reply(200, [], own=False),
        reply(200, {}),
    ],
)
def test_200_alone_proves_no_key(server: ScriptedServer, client: AnyformatClient, answer: bytes) -> None:
    server.script(answer)

    with pytest.raises(AnyformatClientError, match="HTTP 200: the answer is not anyformat's; check the host"):
        client.check_key()


def test_a_key_that_does_not_work(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(401, envelope("AUTH_FAILED")))

    with pytest.raises(AnyformatAuthenticationError):
        client.check_key()


def test_a_login_page_behind_a_redirect(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(reply(302, headers={"Location": "http://127.0.0.1:1/login"}, own=False))
    begun = time.monotonic()

    with pytest.raises(AnyformatClientError, match="HTTP 302"):
        client.check_key()

    assert time.monotonic() - begun < 5
