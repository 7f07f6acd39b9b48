"""The key appears nowhere, whatever the server does with it; and the vendor's published replies, word by word."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import (
    AnyformatAuthenticationError,
    AnyformatClientError,
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatPermissionError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatValidationError,
)
from tests.support.scripted import KEY, OK, ScriptedServer, Step, envelope, hang_up, page, reply, reset, row

ID = "b2c3d4e5-f6a7-8901-bcde-f12345678901"
Maker = Callable[..., AnyformatClient]


def texts_of(error: BaseException) -> list[str]:
    """Return all that a log, a debugger or a pickle may show of an error and of those behind it."""
    texts = []
    behind: BaseException | None = error
    while behind is not None:
        texts += [str(behind), repr(behind), repr(behind.args), repr(vars(behind)), *getattr(behind, "__notes__", [])]
        texts.append(repr(pickle.dumps(behind)))
        behind = behind.__cause__ or behind.__context__
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in shown.stack:
        if frame.filename != __file__:
            texts += [str(frame.line), *(frame.locals or {}).values()]
    texts += traceback.format_exception(error)
    return texts


def echoes(key: str) -> dict[str, Step]:
    bearer = f"Bearer {key}"
    item = {"loc": ["header", bearer, key], "msg": f"{key} is wrong", "type": key, "input": key, "ctx": {"key": key}}
    everything = envelope(key, bearer, [item, bearer, [bearer], {"deep": [{"deeper": bearer}]}], request_id=key)
    fields = {"X-Echo": bearer, "Date": key, "Retry-After": key, "Content-Type": f"text/{key}"}
    body = json_with(everything)
    return {
        "text": reply(400, bearer.encode(), {"Content-Type": "text/plain"}),
        "reason": reply(400, b"", reason=bearer),
        "headers": reply(409, b"x", fields),
        "date": reply(409, b"x", {"Date": f"Tue, 24 Nov 2026 10:00:00 GMT {key}"}),
        "422": reply(422, body),
        "422 of nothing but": reply(422, {"detail": [{"loc": [key], "msg": key, "type": key}]}),
        "422 a list": reply(422, [bearer]),
        "403": reply(403, body, fields),
        "dict": reply(403, {"detail": {"headers": {"Authorization": bearer}}}),
        "429": reply(429, body, fields),
        "503": reply(503, body, fields),
        "404 of a gateway": reply(404, bearer.encode(), fields, own=False),
        "redirect": reply(302, headers={"Location": f"/{key}"}),
        "no HTTP": hang_up(f"Authorization: {bearer}\r\n\r\n".encode()),
        "bad status line": hang_up(f"HTTP/1.1 {key}\r\n\r\n".encode()),
        "bad header": hang_up(f"HTTP/1.1 204 No\r\nX: y\r\n{bearer}\r\n\r\n".encode()),
        "bad length": hang_up(f"HTTP/1.1 200 OK\r\nContent-Length: 1, {key}\r\n\r\n".encode()),
        "bad chunk": hang_up(f"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n".encode()),
        "reset": reset(bearer.encode()),
        "200": reply(200, body, fields),
        "103": f"HTTP/1.1 103 {bearer}\r\nLink: {bearer}\r\n\r\n".encode(),
    }


def json_with(body: Any) -> bytes:
    return reply(200, body).partition(b"\r\n\r\n")[2]


PLAIN = KEY
# JSON spells it otherwise.
QUOTED = 'af_"quoted"\\key/0123'


@pytest.mark.parametrize("key", [PLAIN, QUOTED], ids=["plain", "quoted"])
@pytest.mark.parametrize("name", echoes(PLAIN).keys())
def test_a_key_that_the_server_repeats_is_in_no_error(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, key: str, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script(echoes(key)[name])
    client = AnyformatClient(key, server.url, timeout=2.0, max_attempts=2, backoff=0.001)

    with pytest.raises(AnyformatError) as caught:
        client.delete_file_collection(ID)

    client.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    escaped = json_with(key).decode()[1:-1]
    for text in [*texts_of(caught.value), caplog.text]:
        assert key not in text
        assert escaped not in text
        assert repr(key)[1:-1] not in text


def test_the_key_is_not_in_the_client(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(OK)
    client.delete_file_collection(ID)

    shown = [repr(client), str(client), repr(vars(client)), repr([vars(value) for value in client._sessions])]

    assert all(KEY not in text for text in shown)
    assert server.url in repr(client)


@pytest.mark.parametrize("answer", [reply(422, {"detail": ["x"]}), reply(429), reset()], ids=["422", "429", "reset"])
def test_errors_survive_copying(server: ScriptedServer, make_client: Maker, answer: Step) -> None:
    server.script(answer)
    with pytest.raises(AnyformatError) as caught:
        make_client(max_attempts=2).delete_file_collection(ID)

    for other in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value), copy.deepcopy(caught.value)):
        assert type(other) is type(caught.value)
        assert (str(other), vars(other)) == (str(caught.value), vars(caught.value))


def test_a_netrc_entry_changes_nothing(
    server: ScriptedServer, client: AnyformatClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"machine 127.0.0.1 login other password other-key\nmachine 127.0.0.1:{server.port} login o password o\n"
    (tmp_path / ".netrc").write_text(netrc + "default login other password other-key\n")
    (tmp_path / ".netrc").chmod(0o600)
    server.script(OK)
    monkeypatch.setenv("HOME", str(tmp_path))
    client.delete_file_collection(ID)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    client.delete_file_collection(ID)

    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}"] * 2


def test_a_netrc_entry_changes_nothing_over_tls(
    tls_server: ScriptedServer, make_client: Maker, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login other password other-key\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls_server.script(OK)

    make_client(tls_server.url).delete_file_collection(ID)

    assert tls_server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_cookies_are_not_sent_back(server: ScriptedServer, client: AnyformatClient) -> None:
    cookie = {"Set-Cookie": "route=7; Path=/"}
    server.script(reply(204, headers=cookie), reply(429, headers=cookie), OK, page([row("c1")], 1))
    client.delete_file_collection(ID)
    client.delete_file_collection(ID)
    list(client.iter_pages("w"))

    assert [request.connection for request in server.requests] == [1] * 4
    assert not any("cookie" in request.headers for request in server.requests)


# What the vendor publishes of its replies: the delete endpoint's page, its schema, the page on errors.


def test_published_success(server: ScriptedServer, client: AnyformatClient) -> None:
    server.script(b"HTTP/1.1 204 No Content\r\nX-API-Version: 2.0.0\r\n\r\n")

    assert client.delete_file_collection(ID) == "deleted"
    assert server.requests[0].line == f"DELETE /v2/files/{ID}/ HTTP/1.1"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


UUID_ITEM = {
    "type": "uuid_parsing",
    "loc": ["path", "collection_id"],
    "msg": "Input should be a valid UUID, invalid character: found `n` at 1",
    "input": "not-a-uuid",
    "ctx": {"error": "invalid character: found `n` at 1"},
}


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        # HTTPValidationError requires nothing at all ...
        ({}, []),
        ({"detail": []}, []),
        # ... a ValidationError loc, msg and type.
        ({"detail": [{"loc": [], "msg": "", "type": ""}]}, ["  "]),
        (
            {"detail": [{"loc": ["body"], "msg": "Required", "type": "missing"}]},
            ["  body: Required [missing]"],
        ),
        ({"detail": [{"loc": ["body", 0, "x"], "msg": "No", "type": "t"}]}, ["  body.0.x: No [t]"]),
        (
            {"detail": [UUID_ITEM]},
            ["  path.collection_id: Input should be a valid UUID, invalid character: found `n` at 1 [uuid_parsing]"],
        ),
        (
            {"detail": [UUID_ITEM, {"loc": ["query", "page"], "msg": "Wrong", "type": "int_parsing"}]},
            [
                "  path.collection_id: Input should be a valid UUID, invalid character: found `n` at 1 [uuid_parsing]",
                "  query.page: Wrong [int_parsing]",
            ],
        ),
    ],
    ids=["nothing", "no items", "required fields", "one item", "index", "all fields", "two items"],
)
def test_published_validation_error(
    server: ScriptedServer, client: AnyformatClient, body: dict[str, Any], lines: list[str]
) -> None:
    server.script(reply(422, body))

    with pytest.raises(AnyformatValidationError) as caught:
        client.delete_file_collection(ID)

    first, *others = str(caught.value).split("\n")
    assert first.startswith(f"DELETE of collection {ID}: HTTP 422: anyformat refused the request's values")
    assert others == lines
    assert "not-a-uuid" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable", "detail", "shown"),
    [
        (400, "VALIDATION_ERROR", AnyformatClientError, False, None, "The error sentence."),
        (400, "INVALID_JSON", AnyformatClientError, False, "The detail text.", "The detail text."),
        (401, "AUTH_FAILED", AnyformatAuthenticationError, False, None, "The error sentence."),
        (402, "PAYMENT_REQUIRED", AnyformatClientError, False, ["First.", "Second."], "First."),
        (403, "ACCESS_DENIED", AnyformatPermissionError, False, None, "The error sentence."),
        (
            403,
            "insufficient_api_key_scope",
            AnyformatPermissionError,
            False,
            {"scope": "files:delete"},
            '{"scope": "files:delete"}',
        ),
        (403, "terms_acceptance_required", AnyformatPermissionError, False, None, "The error sentence."),
        (404, "NOT_FOUND", AnyformatNotFoundError, False, "The detail text.", "The detail text."),
        (412, "PRECONDITION_FAILED", AnyformatClientError, False, None, "The error sentence."),
        (429, "RATE_LIMITED", AnyformatRateLimitError, True, None, "The error sentence."),
        (500, "INTERNAL_ERROR", AnyformatServerError, True, None, "The error sentence."),
        (504, "GATEWAY_TIMEOUT", AnyformatServerError, True, None, "The error sentence."),
    ],
)
def test_published_envelope(
    server: ScriptedServer,
    client: AnyformatClient,
    status: int,
    code: str,
    kind: type[AnyformatError],
    retryable: bool,
    detail: Any,
    shown: str,
) -> None:
    body = {
        "error": "The error sentence.",
        "detail": detail,
        "error_code": code,
        "retryable": retryable,
        "request_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "params": {"a": 1},
    }
    # The status decides, whatever the body says of itself.
    server.script(reply(status, {**body, "retryable": not retryable}))

    with pytest.raises(kind) as caught:
        client.delete_file_collection(ID)

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.error_code, error.retryable) == (status, code, retryable)
    assert error.request_id == "0f8fad5b-d9cb-469f-a165-70867728950e"
    for words in (f"HTTP {status}: ", f"({code})", shown, "0f8fad5b-d9cb-469f-a165-70867728950e"):
        assert words in str(error)
