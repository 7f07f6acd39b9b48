"""What each answer to a delete means, row by row, over real sockets."""

from __future__ import annotations

import contextlib
import importlib.metadata
import string
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatAuthenticationError,
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatPermissionError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatValidationError,
    AnyformatValueError,
)
from tests.support.scripted import (
    DATE,
    GATEWAY_404,
    KEY,
    NOT_FOUND,
    OK,
    UNAVAILABLE,
    ScriptedServer,
    Step,
    envelope,
    hang_up,
    page,
    reply,
    reset,
    silence,
)

pytestmark = pytest.mark.untraced

ID = "b2c3d4e5-f6a7-8901-bcde-f12345678901"
Maker = Callable[..., AnyformatClient]


def test_204_is_deleted(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(OK)

    outcome = client.delete_file_collection(ID)

    assert outcome == "deleted"
    assert (outcome.http_status, outcome.attempts, outcome.server_date) == (204, 1, DATE)
    assert (outcome.error_code, outcome.request_id) == (None, None)
    (request,) = server.requests
    assert request.line == f"DELETE /v2/files/{ID}/ HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    version = importlib.metadata.version("airflow-provider-anyformat")
    assert request.headers["user-agent"] == f"airflow-provider-anyformat/{version}"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert "cookie" not in request.headers


def test_calls_share_one_connection(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(OK, NOT_FOUND, OK, reply(422, {"detail": []}), OK, reply(204, headers={"Content-Length": "0"}), OK)

    for _ in range(8):
        with contextlib.suppress(AnyformatClientError):
            client.delete_file_collection(ID)

    assert [request.connection for request in server.requests] == [1] * 8


def test_a_connection_that_the_server_closed_meanwhile_costs_no_try(
    server: ScriptedServer, client: AnyformatClient
) -> None:
    server.script(hang_up(OK), OK)
    client.delete_file_collection(ID)
    # Until the FIN is here; a moment on loopback.
    time.sleep(0.05)

    assert client.delete_file_collection(ID).attempts == 1


FINAL: list[tuple[int, type[AnyformatError], bool]] = [
    # status, class, whether it may have taken effect
    (200, AnyformatClientError, True),
    (201, AnyformatClientError, True),
    (202, AnyformatClientError, True),
    (206, AnyformatClientError, True),
    (300, AnyformatClientError, True),
    (304, AnyformatClientError, True),
    (400, AnyformatClientError, False),
    (401, AnyformatAuthenticationError, False),
    (402, AnyformatClientError, False),
    (403, AnyformatPermissionError, False),
    (404, AnyformatNotFoundError, False),
    (405, AnyformatClientError, False),
    (409, AnyformatClientError, False),
    (410, AnyformatClientError, False),
    (412, AnyformatClientError, False),
    (418, AnyformatClientError, False),
    (422, AnyformatValidationError, False),
    (451, AnyformatClientError, False),
    (499, AnyformatClientError, False),
]


@pytest.mark.parametrize(("status", "kind", "fate_unknown"), FINAL, ids=str)
def test_final_answers(
    server: ScriptedServer, client: AnyformatClient, status: int, kind: type[AnyformatError], fate_unknown: bool
) -> None:
    server.script(reply(status, b"" if status == 304 else envelope("SOME_CODE", "Some words.", request_id="req_7")))

    with pytest.raises(AnyformatError) as caught:
        client.delete_file_collection(ID)

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.retryable, error.fate_unknown) == (status, False, fate_unknown)
    assert (error.attempts, error.server_date, error.retry_after) == (1, DATE, None)
    assert str(error).startswith(f"DELETE of collection {ID}: HTTP {status}: ")
    if status != 304:
        assert (error.error_code, error.request_id) == ("SOME_CODE", "req_7")
        assert "Some words." in str(error)
        assert "req_7" in str(error)
    assert len(server.requests) == 1


RETRIED: list[tuple[int, type[AnyformatError], bool]] = [
    (408, AnyformatServerError, False),
    (425, AnyformatServerError, False),
    (429, AnyformatRateLimitError, False),
    (500, AnyformatServerError, True),
    (501, AnyformatServerError, True),
    (502, AnyformatServerError, True),
    (503, AnyformatServerError, True),
    (504, AnyformatServerError, True),
    (507, AnyformatServerError, True),
    (599, AnyformatServerError, True),
    (999, AnyformatServerError, True),
]


@pytest.mark.parametrize(("status", "kind", "fate_unknown"), RETRIED, ids=str)
@pytest.mark.parametrize("tries", [1, 4])
def test_retried_answers(
    server: ScriptedServer, make_client: Maker, status: int, kind: type[AnyformatError], fate_unknown: bool, tries: int
) -> None:
    server.script(reply(status, envelope("SOME_CODE")))

    with pytest.raises(AnyformatError) as caught:
        make_client(max_attempts=tries).delete_file_collection(ID)

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.retryable, error.fate_unknown) == (status, True, fate_unknown)
    assert error.attempts == len(server.requests) == tries
    assert f"HTTP {status}: " in str(error)
    assert ("tries]" in str(error)) is (tries > 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_later_try_may_succeed(server: ScriptedServer, client: AnyformatClient, status: int) -> None:
    server.script(reply(status), reply(status, b"<html>", own=False), OK)

    outcome = client.delete_file_collection(ID)

    assert (outcome, outcome.attempts) == ("deleted", 3)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("absolute", [True, False])
def test_redirects_are_never_followed(
    server: ScriptedServer, client: AnyformatClient, status: int, absolute: bool
) -> None:
    target = ScriptedServer()
    target.script(OK)
    server.script(reply(status, b"moved", {"Location": f"{target.url if absolute else ''}/v2/files/{ID}/"}))
    try:
        with pytest.raises(AnyformatClientError) as caught:
            client.delete_file_collection(ID)
    finally:
        target.close()

    assert (type(caught.value), caught.value.fate_unknown) == (AnyformatClientError, True)
    assert f"HTTP {status}: a redirect" in str(caught.value)
    assert target.connections == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://[", "http://a:b:c/", "\xff\xfe", "", "//"], ids=repr)
def test_a_redirect_to_nonsense_is_one_too(server: ScriptedServer, client: AnyformatClient, location: str) -> None:
    server.script(reply(302, headers={"Location": location}))

    with pytest.raises(AnyformatClientError, match="HTTP 302"):
        client.delete_file_collection(ID)


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"

UNSURE: dict[str, Step] = {
    "500": reply(500),
    "503": UNAVAILABLE,
    "502 of a gateway": reply(502, b"<html>Bad gateway</html>", own=False),
    "999": reply(999),
    "404 of a gateway": GATEWAY_404,
    "reset": reset(),
    "closed": hang_up(),
    "reset after the first byte": reset(b"H"),
    "reset in the headers": reset(OK[:40]),
    "closed in the headers": hang_up(OK[:-4]),
    "silence": silence(1.0),
    "no HTTP": hang_up(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "binary": hang_up(bytes(range(256))),
    "no status": hang_up(b"HTTP/1.1 ok\r\n\r\n"),
    "status of two digits": hang_up(b"HTTP/1.1 99 no\r\n\r\n"),
    "header line too long": hang_up(b"HTTP/1.1 204 No Content\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "200 headers": hang_up(b"HTTP/1.1 204 No Content\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
    "a header that is none": b"HTTP/1.1 204 No Content\r\nDate: x\r\nno header\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": reply(200, headers={"Content-Length": "5, 6"}),
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": INTERIM,
    "103 with the answer": INTERIM + NOT_FOUND,
    "204 with a body": OK[:-2] + b"Content-Length: 5\r\n\r\nhello",
    "204 that promises a body": OK[:-2] + b"Content-Length: 5\r\n\r\n",
    "204 with a body of no length": OK + b"hello",
    "204 in chunks": OK[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "204 with another answer": OK + NOT_FOUND,
}


@pytest.mark.parametrize("step", UNSURE.values(), ids=UNSURE.keys())
def test_404_after_an_unsure_try_is_already_gone(server: ScriptedServer, make_client: Maker, step: Step) -> None:
    server.script(step, NOT_FOUND)

    outcome = make_client(timeout=0.4).delete_file_collection(ID)

    assert outcome == "already_gone"
    assert (outcome.http_status, outcome.attempts, outcome.server_date) == (404, 2, DATE)
    assert (outcome.error_code, outcome.request_id) == ("NOT_FOUND", "req_1")
    assert len(server.requests) == 2


@pytest.mark.parametrize("step", UNSURE.values(), ids=UNSURE.keys())
def test_an_unsure_try_that_stays_the_last_says_so(server: ScriptedServer, make_client: Maker, step: Step) -> None:
    server.script(step)

    with pytest.raises((AnyformatServerError, AnyformatConnectionError)) as caught:
        make_client(timeout=0.4, max_attempts=2).delete_file_collection(ID)

    error = caught.value
    assert (error.retryable, error.fate_unknown, error.attempts) == (True, True, 2)
    assert (type(error) is AnyformatServerError) is (error.status_code is not None)
    assert error.status_code is None or f"HTTP {error.status_code}: " in str(error)


@pytest.mark.parametrize("status", [408, 425, 429])
def test_404_after_a_try_that_surely_did_nothing_is_not_found(
    server: ScriptedServer, client: AnyformatClient, status: int
) -> None:
    server.script(reply(status), NOT_FOUND)

    with pytest.raises(AnyformatNotFoundError) as caught:
        client.delete_file_collection(ID)

    assert (caught.value.attempts, caught.value.fate_unknown) == (2, False)


def test_unsureness_outlives_later_tries(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(UNAVAILABLE, reply(429), NOT_FOUND)

    assert client.delete_file_collection(ID) == "already_gone"


def test_unsureness_is_of_one_call(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(UNAVAILABLE, OK, NOT_FOUND)
    client.delete_file_collection(ID)

    with pytest.raises(AnyformatNotFoundError) as caught:
        client.delete_file_collection(ID)

    assert caught.value.fate_unknown is False


def test_a_final_answer_after_an_unsure_try_is_unsure(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(UNAVAILABLE, reply(401, envelope("AUTH_FAILED")))

    with pytest.raises(AnyformatAuthenticationError) as caught:
        client.delete_file_collection(ID)

    assert (caught.value.fate_unknown, caught.value.retryable, caught.value.attempts) == (True, False, 2)


def test_404_of_a_gateway_to_the_end(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(UNAVAILABLE, GATEWAY_404)

    with pytest.raises(AnyformatServerError, match=r"HTTP 404: .*gateway") as caught:
        client.delete_file_collection(ID)

    assert (caught.value.status_code, caught.value.fate_unknown, len(server.requests)) == (404, True, 3)


@pytest.mark.parametrize(
    ("answer", "own"),
    [
        (reply(404), True),
        (reply(404, b"<html>", {"Content-Type": "text/html"}), True),
        (reply(404, envelope("NOT_FOUND"), own=False), True),
        (reply(404, {"error": "Not found", "detail": None}, own=False), True),
        (reply(404, {"error_code": "NOT_FOUND"}, own=False), True),
        (reply(404, {"detail": "Not Found"}, own=False), False),
        (reply(404, {"message": "no Route matched with those values"}, own=False), False),
        (reply(404, {"error": "Not Found", "path": "/v2"}, own=False), False),
        (reply(404, ["error_code"], own=False), False),
        (reply(404, own=False), False),
    ],
)
def test_whose_404_it_is(server: ScriptedServer, client: AnyformatClient, answer: bytes, own: bool) -> None:
    server.script(answer)

    with pytest.raises(AnyformatNotFoundError if own else AnyformatServerError):
        client.delete_file_collection(ID)

    assert len(server.requests) == (1 if own else 3)


def test_refused_connect_leaves_no_doubt(make_client: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    late = ScriptedServer(listening=False)
    late.script(NOT_FOUND)
    client = make_client(late.url)
    monkeypatch.setattr(client, "sleep", lambda *_: late.listen())
    try:
        with pytest.raises(AnyformatNotFoundError) as caught:
            client.delete_file_collection(ID)
    finally:
        late.close()

    assert (caught.value.attempts, caught.value.fate_unknown) == (2, False)


def test_nobody_listens(make_client: Maker) -> None:
    nobody = ScriptedServer(listening=False)
    try:
        with pytest.raises(AnyformatConnectionError, match=r"no answer .*refused") as caught:
            make_client(nobody.url).delete_file_collection(ID)
    finally:
        nobody.close()

    error = caught.value
    assert (error.attempts, error.fate_unknown, error.retryable, error.status_code) == (3, False, True, None)


def test_name_that_does_not_resolve(make_client: Maker) -> None:
    with pytest.raises(AnyformatConnectionError, match=r"no answer .*anyformat\.invalid") as caught:
        make_client("https://anyformat.invalid").delete_file_collection(ID)

    error = caught.value
    assert (error.attempts, error.fate_unknown, error.retryable) == (3, False, True)


def late_answer(first: bytes, then: bytes) -> Step:
    def step(conversation: Any) -> bool:
        conversation.send(first)
        conversation.pause(0.1)
        conversation.send(then)
        return True

    return step


@pytest.mark.parametrize(
    "first",
    [
        INTERIM + NOT_FOUND,
        late_answer(INTERIM, NOT_FOUND),
        OK[:-2] + b"Content-Length: 300\r\n\r\n" + NOT_FOUND,
        OK + NOT_FOUND,
        UNAVAILABLE + NOT_FOUND,
        late_answer(UNAVAILABLE, NOT_FOUND),
        reply(503, b"x" * 100_000),
    ],
    ids=["103", "103, later", "204 with length", "204", "503", "503, later", "long body"],
)
def test_no_call_gets_the_answer_of_another(server: ScriptedServer, client: AnyformatClient, first: Step) -> None:
    server.script(first, OK, reply(409, envelope("OWN_ANSWER")))

    assert client.delete_file_collection("first") == "deleted"
    with pytest.raises(AnyformatClientError, match="OWN_ANSWER"):
        client.delete_file_collection("second")

    assert server.targets == ["/v2/files/first/", "/v2/files/first/", "/v2/files/second/"]


@pytest.mark.parametrize("answer", [reply(409) + NOT_FOUND, reply(409, b"x" * 70_000)], ids=["surplus", "long"])
def test_a_connection_with_a_rest_on_it_is_not_used_again(
    server: ScriptedServer, client: AnyformatClient, answer: bytes
) -> None:
    server.script(answer, OK)

    with pytest.raises(AnyformatClientError, match="HTTP 409"):
        client.delete_file_collection(ID)
    client.delete_file_collection(ID)

    assert [request.connection for request in server.requests] == [1, 2]


def test_continue_is_no_answer(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK)

    outcome = client.delete_file_collection(ID)

    assert (outcome, outcome.attempts) == ("deleted", 1)
    assert client.delete_file_collection(ID) == "deleted"


def test_continue_without_end(server: ScriptedServer, make_client: Maker) -> None:
    def step(conversation: Any) -> bool:
        while True:
            conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    server.script(step)

    with pytest.raises(AnyformatConnectionError):
        make_client(max_attempts=1).delete_file_collection(ID)


ID_CHARACTERS = set(string.ascii_letters + string.digits + "-_")


def is_an_id(text: str) -> bool:
    null_word = text.lower() in {"none", "null", "nan", "undefined"}
    return 1 <= len(text) <= 128 and set(text) <= ID_CHARACTERS and not null_word


id_like = st.text(alphabet=string.ascii_letters + string.digits + "-_" * 8 + "/.%?# \n\r\t\x00é\uff12", max_size=140)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(text=st.one_of(id_like, st.text(), st.from_regex(r"[A-Za-z0-9_-]{1,130}\n?")))
@example("")
@example("None")
@example("nan")
@example("..")
@example("a/../b")
@example("a%2Fb")
@example("a\n")
@example("a?x=1")
@example("a#b")
@example("a" * 128)
@example("a" * 129)
@example("a b")
@example("٣")
@pytest.mark.untraced
def test_only_ids_reach_the_wire(server: ScriptedServer, client: AnyformatClient, text: str) -> None:
    server.requests.clear()
    server.script(OK, page([], 0), reply(200, {}), reply(200, {}))
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.delete_file_collection(text), f"DELETE /v2/files/{text}/ HTTP/1.1"),
        (lambda: list(client.iter_pages(text)), f"GET /v2/workflows/{text}/files/?page=1&page_size=100 HTTP/1.1"),
        (lambda: client.get_results("w", text), f"GET /v2/workflows/w/files/{text}/results/ HTTP/1.1"),
        (lambda: client.get_results(text, "c"), f"GET /v2/workflows/{text}/files/c/results/ HTTP/1.1"),
    ]
    for call, line in calls:
        server.requests.clear()
        if is_an_id(text):
            call()
            assert [request.line for request in server.requests] == [line]
        else:
            with pytest.raises(AnyformatValueError):
                call()
            assert server.requests == []


@pytest.mark.parametrize(
    "value",
    [None, 5, 1e5, True, b"abc", ["abc"], ("abc",), {"id": "abc"}, object()],
    ids=lambda some: type(some).__name__,
)
def test_what_is_no_text_is_never_made_one(server: ScriptedServer, client: AnyformatClient, value: Any) -> None:
    for call in (
        lambda: client.delete_file_collection(value),
        lambda: list(client.iter_pages(value)),
        lambda: list(client.iter_file_collections(value)),
        lambda: client.get_results(value, "c"),
        lambda: client.get_results("w", value),
    ):
        with pytest.raises(AnyformatValueError, match=r"^(collection_id|workflow_id): .* is not an id") as caught:
            call()
        assert (caught.value.attempts, caught.value.retryable) == (0, False)
    assert server.connections == 0
