"""The server's address and the key: checked before anything is sent."""

from __future__ import annotations

import ipaddress
import re

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError

DEFAULT_BASE_URL = "https://api.anyformat.ai"

_KEY = re.compile(r"[\x21-\x7e]{8,}")
# RFC 1035 section 2.3.4: a longer name cannot be looked up. Underscores occur in the names of containers.
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([\w-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([\w-]{0,61}[A-Za-z0-9])?)*", re.ASCII
)
_NO_PART_OF_A_HOST = re.compile(r"[^\x21-\x7e]|[\\@?#%]")
_NETLOC = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]*))(:(?P<port>.*))?")
_PORT = re.compile(r"[0-9]{1,5}")


def check_api_key(value: object, field: str = "api_key") -> str:
    """
    Return the API key if it can be sent; the message of a refusal never shows it.

    :param value: the key: printable ASCII without blanks, at least 8 characters.
    :param field: what to call it in a message; default ``api_key``.
    :raises AnyformatValueError: it is missing or has a character that no key has.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise AnyformatValueError(
            f"{field}: there is no API key; put the key from anyformat's settings page into the password of the"
            " connection"
        )
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise AnyformatValueError(
            f"{field}: the API key (not shown) is not valid: it needs at least 8 printable ASCII characters without"
            " blanks or line breaks; copy it again, without the line break that a secrets file may end in"
        )
    return value


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is this machine by its own spelling: ``localhost`` or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(host: object, *, schema: object = None, port: object = None) -> str:
    """
    Return the server's base URL, ``scheme://host[:port]``, out of what a connection holds.

    :param host: empty for the real service, or a host, ``host:port``, or a base URL; a trailing ``/``, ``/v2`` or
        ``/v3`` is dropped.
    :param schema: ``https`` (default) or ``http``, which is for loopback only: the key never travels in clear.
    :param port: 1 to 65535; default: the scheme's.
    :raises AnyformatValueError: one of them is not valid, they contradict each other, or ``http`` would leave this
        machine.
    """
    text = _text("host", host) or DEFAULT_BASE_URL
    if _NO_PART_OF_A_HOST.search(text):
        raise AnyformatValueError(
            f"host: {shown(_without_secrets(text))} has user info, a query, a fragment, a blank or a character outside"
            " ASCII; give the bare host name, such as api.anyformat.ai, and put the key into the password"
        )
    own_scheme, separator, rest = text.partition("://")
    if not separator:
        own_scheme, rest = "", text
    wanted = _text("schema", schema).lower()
    if host and own_scheme and wanted and own_scheme.lower() != wanted:
        raise AnyformatValueError(f"schema: {shown(wanted)} contradicts the host {shown(text)}; give the scheme once")
    scheme = wanted or own_scheme.lower() or "https"
    if scheme not in ("https", "http"):
        raise AnyformatValueError(f"schema: {shown(scheme)} is not a scheme of this API; use https, or leave it empty")
    name, own_port = _host_and_port(text, rest)
    number = _port(port, own_port)
    if scheme == "http" and not is_loopback(name):
        raise AnyformatValueError(
            f"host: http:// to {shown(name)} would send the API key in clear; use https (plain http is only for"
            " localhost or a loopback address such as 127.0.0.1)"
        )
    return f"{scheme}://{f'[{name}]' if ':' in name else name}{number}"


def _without_secrets(text: str) -> str:
    """Hide what may be a key: user info and all that follows the host."""
    return re.sub(r"([?#]).*", r"\1***", re.sub(r"(^|//).*@", r"\1***@", text, flags=re.DOTALL), flags=re.DOTALL)


def _text(field: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AnyformatValueError(f"{field}: {shown(value)} is not text; leave it empty for the real service")
    return value.strip()


def _host_and_port(text: str, rest: str) -> tuple[str, str]:
    netloc, _, path = rest.partition("/")
    if path.rstrip("/") not in ("", "v2", "v3"):
        raise AnyformatValueError(f"host: {shown(text)} has the path {shown('/' + path)}; give the host without a path")
    if netloc.count(":") > 1 and not netloc.startswith("["):
        netloc = f"[{netloc}]"
    parts = _NETLOC.fullmatch(netloc)
    if parts is None or not _is_host(parts["name"], parts["v6"]):
        raise AnyformatValueError(
            f"host: {shown(text)} is not a host; give a name or an address, or leave it empty for {DEFAULT_BASE_URL}"
        )
    return (parts["name"] or parts["v6"]).lower(), parts["port"] or ""


def _is_host(name: str | None, v6: str | None) -> bool:
    if v6 is None:
        return _HOST_NAME.fullmatch(name or "") is not None
    try:
        ipaddress.IPv6Address(v6)
    except ValueError:
        return False
    return True


def _port(field: object, own: str) -> str:
    given = "" if field is None or field == "" else str(field)
    if given and own and given != own:
        raise AnyformatValueError(f"port: {shown(field)} contradicts the port {own} in the host; give it once")
    port = given or own
    if not port:
        return ""
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise AnyformatValueError(
            f"port: {shown(port)} is not a port; give a number from 1 to 65535, or leave it empty"
        )
    return f":{int(port)}"
