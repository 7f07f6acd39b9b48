"""What a reply means: it becomes an outcome, or an exception with a readable sentence whatever its body holds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

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

if TYPE_CHECKING:
    from collections.abc import Mapping

# An error's text comes from outside and ends in task logs: this much of it is enough to act on.
ITEM_CHARACTERS = 500
ITEMS = 10

# RFC 9110 section 15.5.9, RFC 8470 section 5.2: the server did not work on the request; the same one may succeed.
_TRY_AGAIN_STATUSES = frozenset({408, 425})
# A gateway may add its own to the server's: "5, 30".
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?(\s*,\s*[0-9]+(\.[0-9]+)?)*")
# Stands for any wait that is longer still; three years, which is more than any task waits.
_LONGEST_WAIT = 1e8
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
# A message shows no more levels of a nested body, which also may be nested as deep as the interpreter bears.
_LEVELS = 6

# What a log page shows of a line beside the call's name, which a message begins with.
_LINE = 80

_NO_WORKFLOW = (
    "anyformat has no workflow of this id for this key",
    "it was deleted, or it is another organisation's; check workflow_id",
)
_ADVICE = {
    401: (
        "anyformat does not accept the API key of the connection",
        "it is mistyped, or was revoked when a new one was made",
    ),
    402: ("the organisation is out of credit",),
    403: ("the API key is not allowed to do this",),
    404: (
        "anyformat has no such thing for this key",
        "it was deleted before, is another organisation's, or is a file_id where a collection_id is needed",
    ),
    412: ("the results are not ready",),
    422: ("anyformat refused the request's values",),
    429: ("the rate limit of the API key is used up",),
}
_CLASSES: dict[int, type[AnyformatError]] = {
    401: AnyformatAuthenticationError,
    403: AnyformatPermissionError,
    404: AnyformatNotFoundError,
    422: AnyformatValidationError,
    429: AnyformatRateLimitError,
}


class DeleteOutcome(str):
    """
    How a delete ended: the text ``"deleted"`` or ``"already_gone"``, with the particulars for a record of it.

    :param value: ``deleted`` (HTTP 204), or ``already_gone``: HTTP 404 after a try that may have taken effect.
    :param http_status: status of the last answer.
    :param error_code: ``error_code`` of its envelope, or ``None``.
    :param request_id: ``request_id`` of its envelope, or ``None``.
    :param attempts: how often the request was tried.
    :param server_date: the last answer's ``Date`` header as sent, or ``None``.
    """

    __slots__ = ("attempts", "error_code", "http_status", "request_id", "server_date")

    http_status: int
    error_code: str | None
    request_id: str | None
    attempts: int
    server_date: str | None

    def __new__(
        cls,
        value: str,
        *,
        http_status: int,
        error_code: str | None = None,
        request_id: str | None = None,
        attempts: int = 1,
        server_date: str | None = None,
    ) -> Self:
        outcome = super().__new__(cls, value)
        outcome.http_status = http_status
        outcome.error_code = error_code
        outcome.request_id = request_id
        outcome.attempts = attempts
        outcome.server_date = server_date
        return outcome

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (str(self),), {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A reply, read as far as it is needed.

    :param status: HTTP status code.
    :param headers: the reply's headers, names without case.
    :param body: the body, or its beginning where ``cut`` is set.
    :param cut: whether the body was longer than what is read of such a body, or broke off.
    :param surplus: whether more bytes came than the reply has by its own account.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    cut: bool = False
    surplus: bool = False

    @property
    def server_date(self) -> str | None:
        """The ``Date`` header as sent, if it is one: it goes into records, where the server's text has no place."""
        date = self.headers.get("Date", "")
        return date if _HTTP_DATE.fullmatch(date) else None

    def json(self) -> Any:
        """
        Decode the body.

        :raises ValueError: it is not JSON, or nested too deeply.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None

    def json_object(self) -> dict[str, Any] | None:
        """Decode the body; ``None`` where it is not a JSON object."""
        body = _decoded(self)
        return body if isinstance(body, dict) else None


def is_impossible(reply: Reply) -> bool:
    """Say whether it is an interim answer (RFC 9110 section 15.2) or a 204 with a body (15.3.5)."""
    if reply.status == 204:
        length = reply.headers.get("Content-Length", "0").strip()
        return reply.surplus or length != "0" or "Transfer-Encoding" in reply.headers
    return reply.status < 200


def is_own(reply: Reply) -> bool:
    """Say whether anyformat itself answered, and not a gateway before it: by ``X-API-Version`` or the envelope."""
    if "X-API-Version" in reply.headers:
        return True
    body = _decoded(reply)
    return isinstance(body, dict) and ("error_code" in body or ("error" in body and "detail" in body))


def error_from_reply(
    reply: Reply,
    *,
    secret: str = "",
    kind: type[AnyformatError] | None = None,
    of_workflow: bool = False,
) -> AnyformatError:
    """
    Turn a reply that is not a success into an exception.

    :param reply: the reply; its body may hold anything.
    :param secret: the API key, which the server's text might repeat; it is struck out before anything else.
    :param kind: the exception's class; default: what the status says.
    :param of_workflow: whether an HTTP 404 is about a workflow, and not about a collection. Default ``False``.
    """
    body = _decoded(reply)
    status = reply.status
    own: dict[str, Any] = body if isinstance(body, dict) else {}
    error_code = _label(own.get("error_code"), secret)
    request_id = _label(own.get("request_id"), secret)
    if status == 404 and not is_own(reply):
        kind = kind or AnyformatServerError
        advice: tuple[str, ...] = ("the answer is not anyformat's own but a gateway's",)
    else:
        kind = kind or _kind(status)
        advice = _NO_WORKFLOW if status == 404 and of_workflow else _ADVICE.get(status) or (_phrase(status),)
    head, *more = advice
    more += _items(body, secret) if body is not None else _raw_text(reply, secret)
    head = f"HTTP {status}: {head}" + (f" ({error_code})" if error_code else "")
    error = kind(
        _in_lines(head, more, request_id, always=status == 422),
        status_code=status,
        error_code=error_code,
        request_id=request_id,
        fate_unknown=status < 400 or (kind is AnyformatServerError and status not in _TRY_AGAIN_STATUSES),
        server_date=reply.server_date,
    )
    if error.retryable:
        error.retry_after = read_retry_after(reply.headers)
    return error


def _in_lines(head: str, more: list[str], request_id: str | None, *, always: bool) -> str:
    """Put a message together, in one line if that is a short one."""
    short = ": ".join([head, *more]) + (f" [request_id {request_id}]" if request_id else "")
    if len(more) <= 1 and len(short) <= _LINE and not (always and more):
        return short
    below = more + ([f"request_id {request_id}"] if request_id else [])
    return head + "".join(f"\n  {line}" for line in below)


def explain(reply: Reply, secret: str = "") -> str:
    """Return the server's own words in a reply's body."""
    body = _decoded(reply)
    return "; ".join(_items(body, secret) if body is not None else _raw_text(reply, secret))


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """
    Read ``Retry-After``: seconds, or a date (RFC 9110 section 10.2.3).

    A date is held against the reply's own ``Date`` where that can be read, because the worker's clock may be wrong.

    :return: seconds, at most 1e8, 0.0 for a date in the past; ``None`` for a header that is missing or makes no sense.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return min(max(float(part) for part in text.split(",")), _LONGEST_WAIT)
    moment = read_http_date(text)
    if moment is None:
        return None
    now = read_http_date(headers.get("Date", "")) or datetime.now(UTC)
    return min(max(0.0, (moment - now).total_seconds()), _LONGEST_WAIT)


def read_http_date(text: str) -> datetime | None:
    """Read an HTTP date (RFC 9110 section 5.6.7); ``None`` for anything else."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def clean(text: str, secret: str = "", limit: int = ITEM_CHARACTERS) -> str:
    """Make the server's text fit for a log line: no key, no control characters, ``limit`` characters at most."""
    for spelling in _spellings(secret):
        text = text.replace(spelling, "***")
    shortened = text[: limit + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shortened)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def repeats(text: str, secret: str) -> bool:
    """Say whether ``text`` holds the key, as it is or as JSON spells it."""
    return any(spelling in text for spelling in _spellings(secret))


def _spellings(secret: str) -> tuple[str, ...]:
    return (secret, json.dumps(secret)[1:-1]) if secret else ()


def _kind(status: int) -> type[AnyformatError]:
    if status in _TRY_AGAIN_STATUSES or status >= 500 or status < 200:
        return AnyformatServerError
    return _CLASSES.get(status, AnyformatClientError)


def _phrase(status: int) -> str:
    if 200 <= status < 300:
        return "this is not the answer that this call is documented to give; whether it took effect is unknown"
    if 300 <= status < 400:
        return (
            "a redirect, which is never followed; check the host of the connection. Whether it took effect is unknown"
        )
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "a status that no standard defines"


def _decoded(reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _label(value: object, secret: str) -> str | None:
    return clean(value, secret, 128) if isinstance(value, str) and value else None


def _items(body: Any, secret: str) -> list[str]:
    """List what the decoded body says, one line per item; ``input`` and ``ctx`` repeat the user's data and stay out."""
    detail = body
    if isinstance(body, dict):
        detail = body.get("detail")
        if not detail:
            detail = body.get("error") or body.get("message")
    if detail is None or detail == "" or detail == []:
        return []
    if not isinstance(detail, list):
        return [_item(detail, secret)]
    lines = [_item(item, secret) for item in detail[:ITEMS]]
    if len(detail) > ITEMS:
        lines.append(f"… and {len(detail) - ITEMS} more")
    return lines


def _item(item: Any, secret: str) -> str:
    if isinstance(item, str):
        return clean(item, secret)
    if isinstance(item, dict) and ("msg" in item or "loc" in item):
        loc = item.get("loc")
        parts = loc if isinstance(loc, list) else [] if loc is None else [loc]
        where = ".".join(str(part) for part in parts if isinstance(part, str | int))
        text = f"{where}: {_text(item.get('msg'))}" if where else _text(item.get("msg"))
        kind = item.get("type")
        return clean(f"{text} [{kind}]" if isinstance(kind, str) and kind else text, secret)
    return clean(_text(item), secret)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "no message" if value is None else json.dumps(_pruned(value), ensure_ascii=False)


def _pruned(value: Any, level: int = 0) -> Any:
    if level == _LEVELS and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {key: _pruned(inner, level + 1) for key, inner in value.items() if key not in ("input", "ctx")}
    return [_pruned(inner, level + 1) for inner in value] if isinstance(value, list) else value


def _raw_text(reply: Reply, secret: str) -> list[str]:
    """Say what can be said of a body that is not JSON."""
    if not reply.body:
        return []
    kind = clean(reply.headers.get("Content-Type", "").partition(";")[0].strip(), secret, 60)
    if "html" in kind.lower() or reply.body.lstrip()[:1] == b"<":
        return ["the body is an HTML page, as a gateway or proxy sends it"]
    if reply.cut or kind not in ("", "text/plain"):
        return [f"the body is {kind or 'text'} that cannot be read"]
    return [clean(reply.body.decode("utf-8", "replace"), secret)]
