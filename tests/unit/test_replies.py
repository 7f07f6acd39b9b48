"""What a reply means: which error, which words, and what of the server's text is let through."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from airflow_provider_anyformat.api.replies import (
    ITEM_CHARACTERS,
    ITEMS,
    DeleteOutcome,
    Reply,
    clean,
    error_from_reply,
    explain,
    is_impossible,
    is_own,
    read_http_date,
    read_retry_after,
    repeats,
)
from airflow_provider_anyformat.exceptions import (
    AnyformatAuthenticationError,
    AnyformatClientError,
    AnyformatNotFoundError,
    AnyformatPermissionError,
    AnyformatRateLimitError,
    AnyformatServerError,
    AnyformatValidationError,
)

KEY = "af_test-key-0123456789"
DATE = "Tue, 24 Nov 2026 10:00:00 GMT"
NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


def make(status: int, body: Any = b"", *, cut: bool = False, **headers: Any) -> Reply:
    fields = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Reply(status, fields, body if isinstance(body, bytes) else json.dumps(body).encode(), cut)


def words(status: int, body: Any, **headers: Any) -> str:
    return str(error_from_reply(make(status, body, X_API_Version="2", **headers), secret=KEY))


HEAD = "HTTP 409: Conflict"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", HEAD),
        ({}, HEAD),
        ([], HEAD),
        ({"detail": "Words."}, f"{HEAD}: Words."),
        ({"detail": None}, HEAD),
        ({"detail": ""}, HEAD),
        ({"detail": [], "error": "Sentence."}, f"{HEAD}: Sentence."),
        ({"detail": {}, "error": "Sentence."}, f"{HEAD}: Sentence."),
        ({"detail": None, "error": None, "message": "Forbidden"}, f"{HEAD}: Forbidden"),
        ({"detail": ["One."]}, f"{HEAD}: One."),
        ({"detail": ["One.", "Two."]}, f"{HEAD}\n  One.\n  Two."),
        ({"detail": {"a": 1, "input": "x", "ctx": "y"}}, f'{HEAD}: {{"a": 1}}'),
        ({"detail": {"a": [{"b": 1, "input": "x"}]}}, f'{HEAD}: {{"a": [{{"b": 1}}]}}'),
        ({"detail": {"a": "é"}}, f'{HEAD}: {{"a": "é"}}'),
        ({"detail": [[[[[[[[1]]]]]]]]}, f'{HEAD}: [[[[[["…"]]]]]]'),
        ({"detail": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}, f"{HEAD}: " + '{"a": ' * 6 + '"…"' + "}" * 6),
        ({"detail": 5}, f"{HEAD}: 5"),
        ({"detail": True}, f"{HEAD}: true"),
        ({"detail": [None, 5, [1]]}, f"{HEAD}\n  no message\n  5\n  [1]"),
        ({"detail": "é ü 漢字"}, f"{HEAD}: é ü 漢字"),
        (["One.", "Two."], f"{HEAD}\n  One.\n  Two."),
        ([{"loc": ["a"], "msg": "No", "type": "t"}], f"{HEAD}: a: No [t]"),
        ("text", f"{HEAD}: text"),
        ("", HEAD),
        (7, f"{HEAD}: 7"),
        (b"null", f"{HEAD}: null"),
        (b"NaN", f"{HEAD}: NaN"),
        (b'{"detail": NaN}', f"{HEAD}: NaN"),
        (b"plain words", f"{HEAD}: plain words"),
        (b"<html><b>x</b></html>", f"{HEAD}: the body is an HTML page, as a gateway or proxy sends it"),
        (b"\n  <!DOCTYPE html>", f"{HEAD}: the body is an HTML page, as a gateway or proxy sends it"),
        (b"\xff\xfe", f"{HEAD}: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
        ({"error_code": "CODE"}, f"{HEAD} (CODE)"),
        ({"error_code": "CODE", "request_id": "r1", "detail": "W"}, f"{HEAD} (CODE): W [request_id r1]"),
        ({"request_id": "r1", "detail": ["A", "B"]}, f"{HEAD}\n  A\n  B\n  request_id r1"),
        # What is long is below, a line each, so that a log page shows the end of it.
        ({"detail": "W" * 63, "error_code": "C"}, f"{HEAD} (C)\n  {'W' * 63}"),
        ({"detail": "W" * 20, "request_id": "r" * 36}, f"{HEAD}\n  {'W' * 20}\n  request_id {'r' * 36}"),
        ({"error_code": 5, "request_id": ["r1"]}, HEAD),
        ({"error_code": "", "request_id": ""}, HEAD),
    ],
    ids=repr,
)
def test_words(body: Any, expected: str) -> None:
    assert words(409, body) == expected


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (
            {"loc": ["path", "collection_id"], "msg": "No", "type": "uuid"},
            "path.collection_id: No [uuid]",
        ),
        ({"loc": ["body", 0, "a"], "msg": "No", "type": "t"}, "body.0.a: No [t]"),
        ({"loc": "path", "msg": "No"}, "path: No"),
        ({"loc": 5, "msg": "No"}, "5: No"),
        ({"loc": None, "msg": "No"}, "No"),
        ({"loc": {"a": 1}, "msg": "No"}, "No"),
        ({"loc": [["a"], {"b": 1}, None, "c"], "msg": "No"}, "c: No"),
        ({"loc": ["a"]}, "a: no message"),
        ({"loc": ["a"], "msg": None, "type": None}, "a: no message"),
        ({"loc": ["a"], "msg": {"x": [1]}, "type": 5}, 'a: {"x": [1]}'),
        ({"msg": "No", "type": ""}, "No"),
        ({"msg": ["No"]}, '["No"]'),
        ({"type": "t"}, '{"type": "t"}'),
        ({"loc": ["a"], "msg": "No", "type": "t", "input": "secret", "ctx": {"x": "secret"}}, "a: No [t]"),
        ({"input": "secret"}, "{}"),
        ({"errors": [{"input": "secret", "ctx": "secret", "a": 1}]}, '{"errors": [{"a": 1}]}'),
        ("text", "text"),
        ([{"loc": ["a"], "msg": "No"}], '[{"loc": ["a"], "msg": "No"}]'),
        (None, "no message"),
        (1.5, "1.5"),
    ],
    ids=repr,
)
def test_items_of_422(item: Any, line: str) -> None:
    expected = f"HTTP 422: anyformat refused the request's values\n  {line}"
    assert words(422, {"detail": [item]}) == expected
    assert words(422, [item]) == expected


@pytest.mark.parametrize("body", [b"", {}, {"detail": None}, {"detail": []}, [], {"x": 1}], ids=repr)
def test_422_without_items(body: Any) -> None:
    assert words(422, body) == "HTTP 422: anyformat refused the request's values"


@pytest.mark.parametrize("count", [ITEMS, ITEMS + 1, 500])
def test_ten_items(count: int) -> None:
    lines = words(422, {"detail": [{"loc": ["a", n], "msg": "No", "type": "t"} for n in range(count)]}).split("\n")

    assert lines[1:11] == [f"  a.{n}: No [t]" for n in range(10)]
    assert lines[11:] == ([] if count == 10 else [f"  … and {count - 10} more"])


@pytest.mark.parametrize("length", [499, 500, 501, 5000])
@pytest.mark.parametrize("place", ["detail", "list", "msg", "plain"])
def test_500_characters(length: int, place: str) -> None:
    text = "x" * length
    bodies = {"detail": {"detail": text}, "list": [text], "msg": [{"msg": text}], "plain": text.encode()}

    shown = words(409, bodies[place]).removeprefix(f"{HEAD}\n  ")

    assert shown == (text if length <= 500 else "x" * 499 + "…")


def test_128_characters_of_a_code() -> None:
    error = error_from_reply(make(409, {"error_code": "x" * 128, "request_id": "x" * 129}))
    assert (error.error_code, error.request_id) == ("x" * 128, "x" * 127 + "…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\nc", "a\\nb\\r\\nc"),
        ("a\tb\x00\x07", "a\\tb\\x00\\x07"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
        ("\ud800x\udfff", "\\ud800x\\udfff"),
        ("\U000e0041", "\\U000e0041"),
        ("é漢🙂", "é漢🙂"),
        ("%s %(x)s {x}", "%s %(x)s {x}"),
    ],
    ids=ascii,
)
def test_control_characters(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert words(409, {"detail": text}) == f"{HEAD}: {shown}"
    assert words(422, [{"loc": [text], "msg": text, "type": text}]).split("\n")[1:] == [f"  {shown}: {shown} [{shown}]"]
    error = error_from_reply(make(409, {"error_code": text, "request_id": text}))
    assert (error.error_code, error.request_id) == (shown, shown)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["detail", "loc", "msg", "a"]), inner),
            max_leaves=12,
        ).map(lambda value: json.dumps({"detail": value}).encode()),
    ),
    st.sampled_from([200, 302, 401, 404, 409, 422, 429, 500]),
    st.sampled_from(["", "text/plain", "application/json", "text/html", "x/\x1b"]),
)
def test_any_body_gives_a_clean_text(body: bytes, status: int, kind: str) -> None:
    text = str(error_from_reply(make(status, body, Content_Type=kind), secret=KEY))

    lines = text.split("\n")
    assert lines[0].startswith(f"HTTP {status}: ")
    assert len(lines) <= ITEMS + 3
    assert all(line.isprintable() and len(line) < ITEM_CHARACTERS + 400 for line in lines)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"detail":' * 6_000,
        b'{"detail": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"detail": {"a": ' + b'{"a": ' * 800 + b"1" + b"}" * 802,
        b'{"detail": ' + b"9" * 4_000 + b"}",
        b'{"detail": ' + b"9" * 10_000 + b"}",
        b'{"detail": -' + b"9" * 4_000 + b"}",
        b'{"detail": 1e999999}',
        b'{"detail": [' + b"1," * 30_000 + b"1]}",
        b'[{"loc": [' + b'"a",' * 10_000 + b'"a"], "msg": "x"}]',
        b'[{"loc": [' + b"9" * 4_000 + b'], "msg": "x"}]',
        b'{"detail": "\\ud800"}',
        b'{"detail": "\\u0000"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"\x00" * 100,
        b'{"detail": {"a": 1, "a": 2}}',
    ],
    ids=lambda body: repr(body[:25]),
)
@pytest.mark.parametrize("status", [409, 422])
def test_hostile_bodies(body: bytes, status: int) -> None:
    text = words(status, body)

    assert text.startswith(f"HTTP {status}: ")
    assert len(text) < 7000
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    ("kind", "body", "cut", "expected"),
    [
        ("text/html; charset=utf-8", b"x", False, "the body is an HTML page, as a gateway or proxy sends it"),
        ("application/xhtml+xml", b"x", False, "the body is an HTML page, as a gateway or proxy sends it"),
        ("application/json", b"{", False, "the body is application/json that cannot be read"),
        ("image/png", b"\x89PNG", False, "the body is image/png that cannot be read"),
        ("text/plain", b"words", False, "words"),
        ("text/plain; charset=utf-8", b"words", False, "words"),
        ("x" * 61, b"words", False, f"the body is {'x' * 59}… that cannot be read"),
        ("text/plain", b"words", True, "the body is text/plain that cannot be read"),
        ("", b"words", True, "the body is text that cannot be read"),
        ("", b"words", False, "words"),
        (f"x/{KEY}", b"words", False, "the body is x/*** that cannot be read"),
    ],
)
def test_bodies_that_are_not_json(kind: str, body: bytes, cut: bool, expected: str) -> None:
    error = error_from_reply(make(409, body, cut=cut, Content_Type=kind), secret=KEY)
    assert str(error).replace("\n  ", ": ") == f"{HEAD}: {expected}"


@pytest.mark.parametrize("secret", [KEY, 'af_"quoted"\\key', "a" * 8])
def test_the_key_is_struck_out(secret: str) -> None:
    body = {
        "detail": [secret, {"loc": [secret], "msg": f"x{secret}y", "type": secret}, {"a": {"b": [secret]}}, [secret]],
        "error_code": secret,
        "request_id": f"r {secret}",
    }
    error = error_from_reply(make(403, body, X_API_Version=secret), secret=secret)

    spelled = json.dumps(secret)[1:-1]
    assert clean(f"{secret} {spelled}", secret) == "*** ***"
    for text in (str(error), repr(error), repr(vars(error))):
        assert secret not in text
        assert spelled not in text
    assert (error.error_code, error.request_id) == ("***", "r ***")


def test_a_key_at_the_cut_is_struck_out_whole() -> None:
    shown = clean("x" * (ITEM_CHARACTERS - 5) + KEY, KEY)
    assert KEY[:4] not in shown


@pytest.mark.parametrize(
    ("text", "found"), [(KEY, True), (f"a{KEY}b", True), (KEY[:-1], False), ("", False), (KEY.upper(), False)]
)
def test_repeats(text: str, found: bool) -> None:
    assert repeats(text, KEY) is found
    assert repeats(text, "") is False


def test_repeats_in_jsons_spelling() -> None:
    assert repeats('{"a": "af_\\"x\\\\y"}', 'af_"x\\y')


@pytest.mark.parametrize(
    ("status", "kind", "fate_unknown", "phrase"),
    [
        (200, AnyformatClientError, True, "not the answer that this call is documented to give"),
        (299, AnyformatClientError, True, "not the answer that this call is documented to give"),
        (300, AnyformatClientError, True, "a redirect"),
        (302, AnyformatClientError, True, "a redirect, which is never followed; check the host"),
        (399, AnyformatClientError, True, "a redirect"),
        (400, AnyformatClientError, False, "Bad Request"),
        (401, AnyformatAuthenticationError, False, "does not accept the API key"),
        (402, AnyformatClientError, False, "out of credit"),
        (403, AnyformatPermissionError, False, "not allowed"),
        (404, AnyformatNotFoundError, False, "no such thing for this key"),
        (408, AnyformatServerError, False, "Request Timeout"),
        (409, AnyformatClientError, False, "Conflict"),
        (412, AnyformatClientError, False, "the results are not ready"),
        (422, AnyformatValidationError, False, "anyformat refused the request's values"),
        (425, AnyformatServerError, False, "Too Early"),
        (429, AnyformatRateLimitError, False, "rate limit"),
        (451, AnyformatClientError, False, "Unavailable For Legal Reasons"),
        (499, AnyformatClientError, False, "no standard"),
        (500, AnyformatServerError, True, "Internal Server Error"),
        (503, AnyformatServerError, True, "Service Unavailable"),
        (799, AnyformatServerError, True, "no standard"),
    ],
)
def test_each_status_has_a_sentence(status: int, kind: type, fate_unknown: bool, phrase: str) -> None:
    error = error_from_reply(make(status, X_API_Version="2", Date=DATE))
    assert (type(error), error.fate_unknown) == (kind, fate_unknown)
    assert str(error).startswith(f"HTTP {status}: ")
    assert phrase in str(error)
    assert (error.status_code, error.server_date) == (status, DATE)


def test_a_404_that_is_not_anyformats_own_is_the_gateways() -> None:
    error = error_from_reply(make(404, b"<html>"))
    assert isinstance(error, AnyformatServerError)
    assert str(error).startswith("HTTP 404: the answer is not anyformat's own but a gateway's")


@pytest.mark.parametrize("status", [100, 199])
def test_interim_answers_are_the_servers_fault(status: int) -> None:
    error = error_from_reply(make(status))
    assert isinstance(error, AnyformatServerError)
    assert error.fate_unknown


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422])
def test_final_errors_have_no_wait(status: int) -> None:
    assert error_from_reply(make(status, X_API_Version="2", Retry_After="5")).retry_after is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_retryable_errors_know_the_wait(status: int) -> None:
    assert error_from_reply(make(status, Retry_After="5")).retry_after == 5.0
    assert error_from_reply(make(status)).retry_after is None


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("61", 61.0),
        ("0.5", 0.5),
        ("007", 7.0),
        (" 5 ", 5.0),
        ("5, 30", 30.0),
        ("30 ,5", 30.0),
        ("1.5,1", 1.5),
        ("100000000", 1e8),
        ("100000001", 1e8),
        ("9" * 400, 1e8),
        ("9" * 10_000, 1e8),
        (http_date(0), 0.0),
        (http_date(30), 30.0),
        (http_date(-30), 0.0),
        ("Tuesday, 24-Nov-26 10:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:30 +0100", 30.0),
        ("Tue, 24 Nov 2026 10:00:30 -0000", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e8),
        ("", None),
        ("   ", None),
        ("-1", None),
        ("-10", None),
        ("+5", None),
        ("5s", None),
        ("5 s", None),
        ("1e3", None),
        ("0x10", None),
        ("5.", None),
        (".5", None),
        ("5,", None),
        (",5", None),
        ("5, soon", None),
        ("5\n6", None),
        ("\u0665", None),
        ("\xb2", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Tue, 99 Nov 2026 10:00:00 GMT", None),
        ("Tue, 24 Nov 99999 10:00:00 GMT", None),
        ("Tue, 24 Nov 2026 99:99:99 GMT", None),
        ("Tue, 24 Nov", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert read_retry_after(CaseInsensitiveDict({"retry-after": text, "Date": DATE})) == seconds


def test_retry_after_is_missing() -> None:
    assert read_retry_after(CaseInsensitiveDict({"Date": DATE})) is None


@pytest.mark.parametrize("date", ["", "junk", "Tue, 99 Nov 2026 10:00:00 GMT"])
def test_retry_after_without_the_servers_clock(date: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    seconds = read_retry_after(CaseInsensitiveDict({"Retry-After": moment, "Date": date}))
    assert seconds is not None
    assert 90 < seconds <= 100


def test_http_dates_are_aware() -> None:
    assert read_http_date(DATE) == NOW
    for text in (DATE, "Tue, 24 Nov 2026 10:00:00 -0000", "Tue, 24 Nov 2026 10:00:00"):
        moment = read_http_date(text)
        assert moment is not None
        assert moment.utcoffset() == timedelta(0)
    assert read_http_date("junk") is None


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        (DATE, True),
        ("", False),
        (f"{DATE} {KEY}", False),
        (KEY, False),
        ("Tue, 24 Nov 2026 10:00:00 +0100", False),
        ("x" * 10_000, False),
        (DATE + "\n", False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_servers_date_is_one_or_none(date: str, kept: bool) -> None:
    assert make(204, Date=date).server_date == (date if kept else None)
    assert make(204).server_date is None


@pytest.mark.parametrize(
    ("body", "headers", "own"),
    [
        (b"", {"X_API_Version": "2"}, True),
        (b"<html>", {"x_api_version": ""}, True),
        ({"error_code": None}, {}, True),
        ({"error": "x", "detail": None}, {}, True),
        ({"error": "x"}, {}, False),
        ({"detail": "Not Found"}, {}, False),
        ({}, {}, False),
        ([], {}, False),
        (["error_code"], {}, False),
        ("error_code", {}, False),
        (b"", {}, False),
        (b"{", {}, False),
    ],
)
def test_is_own(body: Any, headers: dict[str, Any], own: bool) -> None:
    assert is_own(make(404, body, **headers)) is own


@pytest.mark.parametrize(
    ("reply", "impossible"),
    [
        (make(204), False),
        (make(204, Content_Length="0"), False),
        (make(204, Content_Length=" 0 "), False),
        (make(204, Content_Length="1"), True),
        (make(204, Content_Length=""), True),
        (make(204, Transfer_Encoding="chunked"), True),
        (Reply(204, {}, surplus=True), True),
        (Reply(200, {}, surplus=True), False),
        (make(100), True),
        (make(103), True),
        (make(199), True),
        (make(200, Content_Length="5"), False),
        (make(304, Content_Length="5"), False),
    ],
)
def test_is_impossible(reply: Reply, impossible: bool) -> None:
    assert is_impossible(reply) is impossible


@pytest.mark.parametrize(
    ("body", "decoded"),
    [(b"{}", {}), (b'{"a": 1}', {"a": 1}), (b"[]", None), (b"null", None), (b"", None), (b"{", None)],
)
def test_json_object(body: bytes, decoded: Any) -> None:
    assert make(200, body).json_object() == decoded


def test_json_that_is_none() -> None:
    for body in (b"", b"{", b"[" * 100_000, b"\xff", b"1" * 10_000):
        with pytest.raises(ValueError, match=r"."):
            make(200, body).json()


def test_a_reply_shows_neither_headers_nor_body() -> None:
    assert KEY not in repr(make(200, KEY.encode(), Echo=KEY))


def test_a_reply_is_whole_unless_told_otherwise() -> None:
    reply = Reply(204, {})
    assert (reply.body, reply.cut, reply.surplus, is_impossible(reply)) == (b"", False, False, False)


@pytest.mark.parametrize(
    ("body", "said"),
    [({"detail": ["A", "B"]}, "A; B"), (b"words", "words"), (b"", ""), ({"detail": KEY}, "***")],
    ids=repr,
)
def test_explain(body: Any, said: str) -> None:
    assert explain(make(422, body), KEY) == said


def test_outcomes_are_text_and_survive_copying() -> None:
    outcome = DeleteOutcome(
        "already_gone", http_status=404, error_code="NOT_FOUND", request_id="r", attempts=3, server_date=DATE
    )

    assert DeleteOutcome("deleted", http_status=204).attempts == 1
    assert outcome == "already_gone"
    assert json.dumps(outcome) == '"already_gone"'
    for other in (pickle.loads(pickle.dumps(outcome)), copy.copy(outcome), copy.deepcopy(outcome)):
        assert (type(other), other) == (DeleteOutcome, "already_gone")
        assert (other.http_status, other.error_code, other.request_id) == (404, "NOT_FOUND", "r")
        assert (other.attempts, other.server_date) == (3, DATE)
