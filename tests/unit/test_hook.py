"""The hook: how each field of a connection is read, refused and never shown."""

from __future__ import annotations

import copy
import json
import pickle
import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatValueError
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

KEY = "af_unit-test-key-0123456789"
EXTRAS = ("timeout", "max_attempts", "backoff", "max_backoff", "min_retention")
DEFAULTS: dict[str, Any] = {
    "timeout": 30.0,
    "max_attempts": 5,
    "backoff": 1.0,
    "max_backoff": 120.0,
    "min_retention": timedelta(days=1),
}


@pytest.fixture
def connect(monkeypatch):
    """Declare the default connection as the environment's JSON form; ``raw`` is any other text."""

    def declare(raw=None, **fields):
        given = {"conn_type": "anyformat", "password": KEY, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", raw if raw is not None else json.dumps(given))
        return AnyformatHook()

    return declare


def numbers(hook):
    return {name: getattr(hook.settings, name) for name in EXTRAS}


def refusal(hook):
    """Give what the hook says, both when asked for its settings and when asked for a client."""
    with pytest.raises(AnyformatValueError) as caught:
        _ = hook.settings
    with pytest.raises(AnyformatValueError) as again:
        hook.get_conn()
    assert str(caught.value) == str(again.value)
    assert not caught.value.retryable
    assert caught.value.attempts == 0
    # The text that could not be read, which may hold the key, hangs on to a chained exception.
    assert caught.value.__cause__ is None
    assert KEY not in repr(caught.value.__context__)
    assert KEY not in str(caught.value)
    return str(caught.value)


class TestDefaults:
    def test_a_key_alone_is_enough(self, connect):
        hook = connect()
        assert numbers(hook) == DEFAULTS
        assert hook.settings.base_url == "https://api.anyformat.ai"
        assert hook.settings.api_key == KEY

    @pytest.mark.parametrize("extra", [None, "", "{}", {}], ids=["null", "empty", "{}", "object"])
    def test_an_extra_that_says_nothing(self, connect, extra):
        assert numbers(connect(extra=extra)) == DEFAULTS

    @pytest.mark.parametrize("name", EXTRAS)
    @pytest.mark.parametrize("value", [None, "", " ", "\t\n"], ids=["null", "empty", "blank", "whitespace"])
    def test_an_empty_value_counts_as_unset(self, connect, name, value):
        assert numbers(connect(extra={name: value})) == DEFAULTS

    def test_null_in_every_field_but_the_key(self, connect):
        hook = connect(host=None, port=None, schema=None, login=None, extra=None)
        assert hook.settings.base_url == "https://api.anyformat.ai"


class TestExtras:
    @pytest.mark.parametrize("name", EXTRAS)
    @pytest.mark.parametrize(
        ("value", "number"),
        [(7, 7), ("7", 7), (" 7 ", 7), (7.0, 7), ("7.0", 7), ("1e1", 10), (1, 1)],
        ids=["int", "text", "padded text", "float", "float text", "exponent", "one"],
    )
    def test_a_number_or_its_text(self, connect, name, value, number):
        expected = timedelta(days=number) if name == "min_retention" else number
        assert numbers(connect(extra={name: value})) == {**DEFAULTS, name: expected}

    @pytest.mark.parametrize("name", ["timeout", "backoff", "max_backoff"])
    @pytest.mark.parametrize("value", [0.25, "0.25"], ids=["float", "text"])
    def test_fractions_of_a_second(self, connect, name, value):
        assert numbers(connect(extra={name: value}))[name] == 0.25

    def test_fractions_of_a_day(self, connect):
        assert numbers(connect(extra={"min_retention": "0.5"}))["min_retention"] == timedelta(hours=12)

    def test_whole_attempts_are_an_int(self, connect):
        assert type(connect(extra={"max_attempts": "3"}).settings.max_attempts) is int

    @pytest.mark.parametrize(
        ("name", "literal"),
        [
            *(("timeout", literal) for literal in (
                '"30s"', '"1,5"', "0", '"0"', '"-0.5"', "true", "false", '"True"', "[]", "[30]", "{}", "Infinity",
                '"inf"', "-Infinity", "NaN", '"nan"', "1e309", "1e9", "1" + "0" * 400, '"None"', '"{{ x }}"',
            )),
            *((name, literal) for name in EXTRAS for literal in ('"thirty"', "-1")),
        ],
    )  # fmt: skip
    def test_anything_else_is_refused_by_name(self, connect, name, literal):
        raw = f'{{"conn_type": "anyformat", "password": "{KEY}", "extra": {{"{name}": {literal}}}}}'
        text = refusal(connect(raw))
        default = {"backoff": "1.0"}.get(name, str(numbers_default(name)))
        assert text.startswith(f"extra {name}: ")
        assert text.endswith(f"give one, or leave it empty for {default}")
        if len(literal) < 100:
            assert ascii(json.loads(literal)) in text

    @pytest.mark.parametrize("value", [None, "", " ", "v2", "v3", " v3 "])
    def test_a_version_of_the_api(self, connect, value):
        assert connect(extra={"api_version": value}).settings.api_version == ((value or "").strip() or "v2")

    @pytest.mark.parametrize("value", ["2", 2, "V2", "v4", True, [], "None", "v2/"])
    def test_another_version_is_refused_by_name(self, connect, value):
        text = refusal(connect(extra={"api_version": value}))
        assert text.startswith(f"extra api_version: {value!r} is not a version")
        assert "v2 or v3" in text

    @pytest.mark.parametrize("value", [2.5, "2.5", 0.5], ids=str)
    def test_attempts_are_whole(self, connect, value):
        assert "is not a whole number" in refusal(connect(extra={"max_attempts": value}))

    def test_an_unknown_key_changes_nothing(self, connect):
        assert numbers(connect(extra={"tiemout": 5, "timeout": 6})) == {**DEFAULTS, "timeout": 6.0}


def numbers_default(name):
    value = DEFAULTS[name]
    return value.days if isinstance(value, timedelta) else int(value)


class FakeConnection:
    """What Airflow hands over for a connection whose extra is no JSON; the environment cannot hold one on each line."""

    conn_type, password, host, port, schema = "anyformat", KEY, "", None, ""

    def __init__(self, extra):
        self.extra = extra


@pytest.mark.parametrize("extra", [None, "", " ", "\n"], ids=["none", "empty", "blank", "line break"])
def test_a_blank_extra_says_nothing(monkeypatch, extra):
    monkeypatch.setattr(AnyformatHook, "get_connection", classmethod(lambda cls, conn_id: FakeConnection(extra)))
    assert numbers(AnyformatHook()) == DEFAULTS


@pytest.mark.parametrize(
    "extra",
    ['{"timeout": 5', "timeout=5", "[1, 2]", '"text"', "5", "null", "true", "{'timeout': 5}", "[" * 100_000, "\x00"],
    ids=["cut", "words", "list", "text", "number", "null", "bool", "python", "nested", "nul"],
)
def test_an_extra_that_is_no_json_object_is_refused_and_not_shown(monkeypatch, extra):
    monkeypatch.setattr(AnyformatHook, "get_connection", classmethod(lambda cls, conn_id: FakeConnection(extra)))
    text = refusal(AnyformatHook())
    assert text.startswith("extra: ")
    assert '{"timeout": 30}' in text
    assert len(text) < 300
    assert "timeout=5" not in text


class TestKey:
    @pytest.mark.parametrize(
        "password",
        [
            "", " ", "\n", f"{KEY}\n", f" {KEY}", f"{KEY} ", "af_with a blank", "af_line\nbreak", "af_tab\tinside",
            "af_sécret-0123", "af_кириллица", "af_\x7f0123456", "af_\x000123456", "short", "7-chars",
        ],
    )  # fmt: skip
    def test_what_is_no_key_is_refused_and_not_shown(self, connect, password):
        text = refusal(connect(password=password))
        assert text.startswith("password: ")
        assert ("there is no API key" in text) == (not password.strip())
        if password.strip():
            assert password.strip() not in text
            assert "copy it again" in text
        else:
            assert "put the key from anyformat's settings page into the password" in text

    def test_another_type_of_connection_is_refused(self, connect):
        """Named by mistake, it would have its own secret sent to anyformat."""
        text = refusal(connect(conn_type="http"))
        assert "'anyformat_default'" in text
        assert "'http'" in text

    @pytest.mark.parametrize("fields", [{"conn_type": ""}, {}], ids=["empty", "left out"])
    def test_a_connection_without_a_type_is_taken(self, connect, fields):
        assert connect(json.dumps({"password": KEY, **fields})).settings.api_key == KEY

    def test_no_password_at_all(self, connect):
        assert refusal(connect(json.dumps({"conn_type": "anyformat"}))).startswith("password: there is no API key")

    def test_it_is_no_part_of_what_can_be_shown(self, connect):
        hook = connect()
        client = hook.get_conn()
        for thing in (hook, client, hook.settings, vars(hook), [hook.settings]):
            assert KEY not in repr(thing)
            assert KEY not in str(thing)

    def test_it_is_masked_from_the_moment_it_was_read(self, connect, monkeypatch):
        masked: list[object] = []
        monkeypatch.setattr("airflow_provider_anyformat.hooks.anyformat.mask_secret", masked.append)
        assert connect().settings.api_key == KEY
        assert masked == [KEY]

    def test_one_that_is_refused_is_masked_too(self, connect, monkeypatch):
        masked: list[object] = []
        monkeypatch.setattr("airflow_provider_anyformat.hooks.anyformat.mask_secret", masked.append)
        refusal(connect(password="af_with a blank"))
        assert masked == ["af_with a blank"] * 2


class TestAddress:
    @pytest.mark.parametrize(
        ("fields", "url"),
        [
            ({}, "https://api.anyformat.ai"),
            ({"host": ""}, "https://api.anyformat.ai"),
            ({"host": "  "}, "https://api.anyformat.ai"),
            ({"host": "api.anyformat.ai"}, "https://api.anyformat.ai"),
            ({"host": "https://api.anyformat.ai/"}, "https://api.anyformat.ai"),
            ({"host": "https://api.anyformat.ai/v2"}, "https://api.anyformat.ai"),
            ({"host": "https://api.anyformat.ai/v2/"}, "https://api.anyformat.ai"),
            ({"host": "api.anyformat.ai/v2", "schema": "https"}, "https://api.anyformat.ai"),
            ({"host": "proxy.example.org", "port": 8443}, "https://proxy.example.org:8443"),
            ({"host": "proxy.example.org:8443"}, "https://proxy.example.org:8443"),
            ({"host": "localhost", "schema": "http", "port": 8080}, "http://localhost:8080"),
            ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
            ({"host": "http://127.9.9.9"}, "http://127.9.9.9"),
            ({"host": "http://[::1]:8080"}, "http://[::1]:8080"),
            ({"host": "::1", "schema": "http", "port": 80}, "http://[::1]:80"),
        ],
        ids=str,
    )
    def test_accepted(self, connect, fields, url):
        hook = connect(**fields)
        assert hook.settings.base_url == url
        assert hook.get_conn().base_url == url

    @pytest.mark.parametrize(
        ("fields", "field", "value"),
        [
            ({"host": "http://api.anyformat.ai"}, "host", "'api.anyformat.ai'"),
            ({"host": "api.anyformat.ai", "schema": "http"}, "host", "'api.anyformat.ai'"),
            ({"schema": "http"}, "host", "'api.anyformat.ai'"),
            ({"host": "http://127.0.0.1.example.org"}, "host", "'127.0.0.1.example.org'"),
            ({"host": "http://127.0.0.1@example.org"}, "host", "example.org"),
            ({"host": "127.0.0.1@example.org", "schema": "http"}, "host", "example.org"),
            ({"host": "http://localhost.example.org"}, "host", "'localhost.example.org'"),
            ({"host": "http://0.0.0.0"}, "host", "'0.0.0.0'"),
            ({"host": "http://192.168.1.5:8080"}, "host", "'192.168.1.5'"),
            ({"host": "https://user:hunter22@api.anyformat.ai"}, "host", "api.anyformat.ai"),
            ({"host": "https://api.anyformat.ai/v4"}, "host", "'/v4'"),
            ({"host": "https://api.anyformat.ai/v2/files"}, "host", "'/v2/files'"),
            ({"host": "api.anyformat.ai?key=1"}, "host", "api.anyformat.ai"),
            ({"host": "api.anyformat.ai#top"}, "host", "api.anyformat.ai"),
            ({"host": "api.anyformat.ai\n"}, None, None),
            ({"host": "api anyformat.ai"}, "host", "'api anyformat.ai'"),
            ({"host": "api.anyfõrmat.ai"}, "host", "anyf"),
            ({"host": "ftp://api.anyformat.ai"}, "schema", "'ftp'"),
            ({"host": "api.anyformat.ai", "schema": "ftp"}, "schema", "'ftp'"),
            ({"host": "https://api.anyformat.ai", "schema": "http"}, "schema", "'http'"),
            ({"host": "-"}, "host", "'-'"),
            ({"host": "api.anyformat.ai", "port": 65536}, "port", "'65536'"),
            ({"host": "api.anyformat.ai", "port": -1}, "port", "'-1'"),
            ({"host": "api.anyformat.ai:443", "port": 8443}, "port", "8443"),
        ],
        ids=str,
    )  # fmt: skip
    def test_refused_by_name(self, connect, fields, field, value):
        hook = connect(**fields)
        if field is None:  # a line break that a secrets file ends in is no part of the host
            assert hook.settings.base_url == "https://api.anyformat.ai"
            return
        text = refusal(hook)
        assert text.startswith(f"{field}: ")
        assert value in text
        assert "hunter22" not in text
        assert re.search(r"; (give|use|leave)|but ", text), "no way out"


class TestForms:
    @pytest.mark.parametrize(
        ("uri", "url", "timeout"),
        [
            (f"anyformat://:{KEY}@", "https://api.anyformat.ai", 30),
            (f"anyformat://:{KEY}@/", "https://api.anyformat.ai", 30),
            (f"anyformat://:{KEY}@/?timeout=5", "https://api.anyformat.ai", 5),
            (f"anyformat://:{KEY}@api.anyformat.ai/https", "https://api.anyformat.ai", 30),
            (f"anyformat://:{KEY}@127.0.0.1:8080/http?timeout=5&max_attempts=7", "http://127.0.0.1:8080", 5),
            (f"anyformat://:{KEY}@/?__extra__={quote(json.dumps({'timeout': 2.5}))}", "https://api.anyformat.ai", 2.5),
        ],
    )
    def test_uri(self, connect, uri, url, timeout):
        settings = connect(uri).settings
        assert (settings.api_key, settings.base_url, settings.timeout) == (KEY, url, timeout)

    def test_a_key_with_characters_that_mean_something_in_a_uri(self, connect):
        key = "af_a/b+c@d:e%f?g#h"
        assert connect(f"anyformat://:{quote(key, safe='')}@").settings.api_key == key

    def test_a_key_in_the_place_of_the_user_is_no_key(self, connect):
        assert refusal(connect(f"anyformat://{KEY}@api.anyformat.ai")).startswith("password: there is no API key")


class TestHook:
    def test_names(self):
        assert AnyformatHook.conn_type == "anyformat"
        assert AnyformatHook.conn_name_attr == "anyformat_conn_id"
        assert AnyformatHook.default_conn_name == "anyformat_default"
        assert AnyformatHook().anyformat_conn_id == "anyformat_default"
        assert AnyformatHook("other").anyformat_conn_id == "other"

    def test_nothing_is_read_before_it_is_needed_and_then_once(self, connect, monkeypatch):
        reads: list[str] = []
        real = AnyformatHook.get_connection
        monkeypatch.setattr(
            AnyformatHook, "get_connection", classmethod(lambda cls, conn_id: (reads.append(conn_id), real(conn_id))[1])
        )
        hook = connect()
        assert reads == []
        client = hook.get_conn()
        assert hook.get_conn() is client
        _ = hook.settings
        assert reads == ["anyformat_default"]

    def test_the_settings_reach_the_client(self, connect):
        client = connect(extra={"timeout": 1.5, "max_attempts": 2, "backoff": 0.25, "max_backoff": 9}).get_conn()
        assert (client.timeout, client.max_attempts, client.backoff, client.max_backoff) == (1.5, 2, 0.25, 9)

    def test_another_connection_id(self, connect, monkeypatch):
        connect()
        monkeypatch.setenv("AIRFLOW_CONN_SECOND", json.dumps({"conn_type": "anyformat", "password": "af_second-key"}))
        assert AnyformatHook("second").settings.api_key == "af_second-key"
        assert AnyformatHook().settings.api_key == KEY

    def test_the_delete_and_the_list_check_the_id_first(self, connect):
        hook = connect()
        with pytest.raises(AnyformatValueError, match=r"^collection_id: 'a/b'"):
            hook.delete_file_collection("a/b")
        with pytest.raises(AnyformatValueError, match=r"^workflow_id: None"):
            hook.list_file_collections(None)

    def test_test_connection_never_raises_what_the_user_can_mend(self, connect):
        assert connect(password="short").test_connection()[0] is False
        ok, text = connect(extra={"timeout": "soon"}).test_connection()
        assert (ok, text.partition(":")[0]) == (False, "extra timeout")

    def test_errors_survive_a_pickle_without_the_key(self, connect):
        with pytest.raises(AnyformatError) as caught:
            _ = connect(host="http://example.org").settings
        for made in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
            assert type(made) is AnyformatValueError
            assert str(made) == str(caught.value)
        assert KEY.encode() not in pickle.dumps(caught.value)
