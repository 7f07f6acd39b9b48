"""Which keys, hosts, schemes and ports are accepted, and what the others are told."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL, check_api_key, check_base_url, is_loopback
from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.exceptions import AnyformatValueError

GOOD: list[tuple[Any, Any, Any, str]] = [
    # host, schema, port, base URL
    ("", "", None, "https://api.anyformat.ai"),
    (None, None, None, "https://api.anyformat.ai"),
    ("  ", " ", "", "https://api.anyformat.ai"),
    ("", "https", None, "https://api.anyformat.ai"),
    ("", "", 8443, "https://api.anyformat.ai:8443"),
    ("api.anyformat.ai", "", None, "https://api.anyformat.ai"),
    (" api.anyformat.ai\n", "", None, "https://api.anyformat.ai"),
    ("API.Anyformat.AI", "", None, "https://api.anyformat.ai"),
    ("api.anyformat.ai/", "", None, "https://api.anyformat.ai"),
    ("api.anyformat.ai/v2", "", None, "https://api.anyformat.ai"),
    ("api.anyformat.ai/v2/", "", None, "https://api.anyformat.ai"),
    ("https://api.anyformat.ai", "", None, "https://api.anyformat.ai"),
    ("https://api.anyformat.ai/", "", None, "https://api.anyformat.ai"),
    ("https://api.anyformat.ai/v2", "", None, "https://api.anyformat.ai"),
    ("https://api.anyformat.ai/v2/", "https", None, "https://api.anyformat.ai"),
    ("HTTPS://api.anyformat.ai", "HTTPS", None, "https://api.anyformat.ai"),
    ("api.anyformat.ai:8443", "", None, "https://api.anyformat.ai:8443"),
    ("https://api.anyformat.ai:8443/v2/", "", 8443, "https://api.anyformat.ai:8443"),
    ("api.anyformat.ai:8443", "", "8443", "https://api.anyformat.ai:8443"),
    ("api.anyformat.ai", "", "443", "https://api.anyformat.ai:443"),
    ("anyformat", "", None, "https://anyformat"),
    ("any_format", "", None, "https://any_format"),
    ("xn--fiq228c.example", "", None, "https://xn--fiq228c.example"),
    ("10.0.0.1", "", None, "https://10.0.0.1"),
    ("2001:db8::1", "", None, "https://[2001:db8::1]"),
    ("[2001:db8::1]:8443", "", None, "https://[2001:db8::1]:8443"),
    ("localhost", "http", 8080, "http://localhost:8080"),
    ("LOCALHOST", "http", None, "http://localhost"),
    ("http://localhost:8080/v2/", "", None, "http://localhost:8080"),
    ("http://localhost:8080", "http", 8080, "http://localhost:8080"),
    ("http://127.0.0.1", "", 65535, "http://127.0.0.1:65535"),
    ("127.0.0.1", "http", 1, "http://127.0.0.1:1"),
    ("127.255.255.254", "http", None, "http://127.255.255.254"),
    ("::1", "http", None, "http://[::1]"),
    ("[::1]", "http", None, "http://[::1]"),
    ("http://[::1]:8080/", "", None, "http://[::1]:8080"),
    ("a" * 63 + "." + "b" * 63, "", None, "https://" + "a" * 63 + "." + "b" * 63),
]


@pytest.mark.parametrize(("host", "schema", "port", "url"), GOOD, ids=repr)
def test_accepted(host: Any, schema: Any, port: Any, url: str) -> None:
    assert check_base_url(host, schema=schema, port=port) == url
    # What came out goes in again: the client checks it, too.
    assert check_base_url(url) == url


LOOKS_LIKE_LOOPBACK = [
    "127.0.0.1.example.org",
    "localhost.example.org",
    "localhost.localdomain",
    "notlocalhost",
    "localhost-1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.256",
    "0.0.0.0",
    "0",
    "::",
    "::2",
    "128.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "fe80::1",
    "::ffff:10.0.0.1",
    "api.anyformat.ai",
    "ip6-localhost",
]


@pytest.mark.parametrize("host", LOOKS_LIKE_LOOPBACK)
@pytest.mark.parametrize("form", ["apart", "url"])
def test_http_is_for_loopback_alone(host: str, form: str) -> None:
    given: dict[str, Any] = {"host": host, "schema": "http", "port": 8080}
    if form == "url":
        given = {"host": f"http://{f'[{host}]' if ':' in host else host}:8080/v2"}
    with pytest.raises(AnyformatValueError, match=r"^host: http:// to .* would send the API key in clear; use https"):
        check_base_url(**given)


def test_http_to_the_real_service() -> None:
    with pytest.raises(AnyformatValueError, match="in clear"):
        check_base_url("", schema="http")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1@example.org",
        "http://127.0.0.1@example.org",
        "http://localhost:80@example.org/",
        "http://example.org@127.0.0.1",
        "user:password@localhost",
        "@localhost",
        "localhost?x=1",
        "localhost#x",
        "localhost?",
        "localhost#",
        "localhost\\@example.org",
        "localhost\\",
        "local host",
        "localhost\tx",
        "localhost\nx",
        "localhost\x00",
        "localhost\x7f",
        "lоcalhost",  # noqa: RUF001
        "ⓛocalhost",
        "１２７.0.0.1",  # noqa: RUF001
        "127.0.0.1。",
        "exämple.org",
        "api%2eanyformat.ai",
        "[::1%25lo]",
        "[fe80::1%lo]",
    ],
)
@pytest.mark.parametrize("schema", ["http", "https", ""])
def test_what_no_host_has(host: str, schema: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^host: .* has user info, a query, a fragment, a blank or a char"):
        check_base_url(host, schema="" if "://" in host else schema)


@pytest.mark.parametrize(
    "host",
    [
        "https://af_secret-key-1@api.anyformat.ai",
        "https://user:af_secret-key-1@api.anyformat.ai",
        "https://a@b:af_secret-key-1@api.anyformat.ai",
        "user:af_secret-key-1@api.anyformat.ai",
        "af_secret-key-1@api.anyformat.ai",
        "https://api.anyformat.ai?key=af_secret-key-1",
        "https://api.anyformat.ai#af_secret-key-1",
        "https://user:af_secret-key-1/@api.anyformat.ai",
        "https://user:af_secret-key-1\n@api.anyformat.ai?x",
    ],
)
def test_a_key_in_the_host_is_not_shown(host: str) -> None:
    with pytest.raises(AnyformatValueError, match="put the key into the password") as caught:
        check_base_url(host)
    assert "secret" not in str(caught.value)
    assert "api.anyformat.ai" in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "api.anyformat.ai/v4",
        "api.anyformat.ai/v2/files",
        "api.anyformat.ai/v22",
        "api.anyformat.ai/V2",
        "api.anyformat.ai/v2/../v3",
        "api.anyformat.ai//v2",
        "https://api.anyformat.ai/api/v2/",
        "https://https://api.anyformat.ai",
        "http:/localhost",
        "//localhost",
        "/v4",
    ],
)
def test_paths(host: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^host: .* has the path .*; give the host without a path"):
        check_base_url(host)


@pytest.mark.parametrize(
    "host",
    [
        "https://",
        "https:///",
        "/",
        "/v2",
        ".",
        "..",
        "-",
        "localhost.",
        ".localhost",
        "a..b",
        "-a.b",
        "a-.b",
        "a.b-",
        "_a.b",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "[::1",
        "::1]",
        "[]",
        "[localhost]",
        "[127.0.0.1]",
        "[::1]x",
        "[::g]",
        "1::2::3",
        "a:b:c",
        "127.0.0.1:80:80",
        ":8080",
        "a,b",
        "a;b",
        "a*b",
        "http://localhost.",
    ],
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^host: .* is not a host; give a name or an address"):
        check_base_url(host)


@pytest.mark.parametrize("schema", ["ftp", "file", "httpss", "ws", "http+unix", "https:", "https://", "h"])
@pytest.mark.parametrize("host", ["", "localhost"])
def test_unknown_schemes(schema: str, host: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^schema: .* is not a scheme of this API; use https"):
        check_base_url(host, schema=schema)


@pytest.mark.parametrize("host", ["ftp://localhost", "file:///etc/passwd", "httpss://localhost", "://localhost"])
def test_unknown_schemes_in_the_host(host: str) -> None:
    if host.startswith(":"):
        # No scheme at all is the default one.
        assert check_base_url(host) == "https://localhost"
        return
    with pytest.raises(AnyformatValueError, match="is not a scheme of this API"):
        check_base_url(host)


@pytest.mark.parametrize(("host", "schema"), [("https://localhost", "http"), ("http://localhost", "https")])
def test_two_schemes(host: str, schema: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^schema: .* contradicts the host .*; give the scheme once"):
        check_base_url(host, schema=schema)


@pytest.mark.parametrize("port", [0, -1, 65536, 99999, 123456, "x", "80x", " ", "8 0", 80.0, True, "٨٠", "0x50", [80]])
def test_what_is_no_port(port: Any) -> None:
    with pytest.raises(AnyformatValueError, match=r"^port: .* is not a port; give a number from 1 to 65535"):
        check_base_url("localhost", port=port)


@pytest.mark.parametrize("port", ["0", "65536", "123456", "x", "-1", "+80", "8_0"])
def test_what_is_no_port_in_the_host(port: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^port: .* is not a port"):
        check_base_url(f"localhost:{port}")


@pytest.mark.parametrize(("host", "port"), [("localhost:80", 81), ("https://localhost:80/v2", "81"), ("[::1]:80", 81)])
def test_two_ports(host: str, port: Any) -> None:
    with pytest.raises(AnyformatValueError, match=r"^port: .* contradicts the port 80 in the host; give it once"):
        check_base_url(host, port=port)


@pytest.mark.parametrize("value", [5, b"localhost", ["localhost"], True, {}], ids=repr)
@pytest.mark.parametrize("field", ["host", "schema"])
def test_what_is_no_text(value: Any, field: str) -> None:
    with pytest.raises(AnyformatValueError, match=rf"^{field}: .* is not text"):
        check_base_url(**{"host": "localhost", field: value})


@pytest.mark.parametrize("key", ["af_12345", "12345678", "!" * 8, "~" * 8, "a" * 5000, 'af_"\\/?#@:'])
def test_keys(key: str) -> None:
    assert check_api_key(key) == key


@pytest.mark.parametrize("key", [None, "", " ", "\n", "\t \r\n"], ids=repr)
def test_no_key(key: Any) -> None:
    with pytest.raises(AnyformatValueError, match=r"^password: there is no API key; put the key"):
        check_api_key(key, "password")


@pytest.mark.parametrize(
    "key",
    [
        "SECRET7",
        "SECRET-key\n",
        "\nSECRET-key",
        "SECRET-key\r\nX: y",
        "SECRET key",
        " SECRET-key",
        "SECRET-key\t",
        "SECRET-kéy",
        "SECRET-key\u200b",
        "SECRET-key\x00",
        "SECRET-key\x7f",
        "“SECRET-key”",
        b"SECRET-key",
        ["SECRET-key"],
        12345678,
    ],
    ids=ascii,
)
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(AnyformatValueError, match=r"^password: the API key \(not shown\) is not valid") as caught:
        check_api_key(key, "password")
    assert "SECRET" not in str(caught.value)
    with pytest.raises(AnyformatValueError, match=r"^api_key: "):
        AnyformatClient(key)


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("LocalHost", True), ("127.9.9.9", True), ("::1", True), ("x", False)]
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_client_checks_its_base_url() -> None:
    assert AnyformatClient("af_12345678").base_url == DEFAULT_BASE_URL == "https://api.anyformat.ai"
    assert AnyformatClient("af_12345678", "http://localhost:8080/v2/").base_url == "http://localhost:8080"
    with pytest.raises(AnyformatValueError, match="in clear"):
        AnyformatClient("af_12345678", "http://api.anyformat.ai")
