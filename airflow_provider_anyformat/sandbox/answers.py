"""Answers that the sandbox writes itself: the error envelope, a gateway's page, and how they become bytes."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Send

JSON = ("Content-Type", "application/json")

_ENVELOPES = {
    400: ("VALIDATION_ERROR", "The request is not valid."),
    401: ("AUTH_FAILED", "Invalid API key."),
    402: ("PAYMENT_REQUIRED", "The organisation is out of credit."),
    403: ("ACCESS_DENIED", "Access denied."),
    404: ("NOT_FOUND", "Not found."),
    405: ("METHOD_NOT_ALLOWED", "Method not allowed."),
    409: ("CONFLICT", "The request conflicts with the state of the resource."),
    410: ("GONE", "Gone."),
    412: ("PRECONDITION_FAILED", "The results are not ready."),
    422: ("VALIDATION_ERROR", "The request is not valid."),
    429: ("RATE_LIMITED", "Rate limit exceeded."),
    504: ("GATEWAY_TIMEOUT", "The server took too long."),
}


@dataclass
class Answer:
    """
    A whole answer.

    :param status: HTTP status.
    :param headers: names and values, in order.
    :param body: the body's bytes, default empty.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def merge(self, headers: Iterable[tuple[str, str]]) -> None:
        """Set headers, each in place of those of the same name."""
        for name, value in headers:
            self.headers = [kept for kept in self.headers if kept[0].lower() != name.lower()]
            self.headers.append((name, value))

    def start(self) -> Message:
        """Return the ASGI message that begins this answer."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    async def send(self, send: Send) -> None:
        """Send it as an ASGI application does."""
        await send(self.start())
        await send({"type": "http.response.body", "body": self.body})

    def head(self) -> bytes:
        """Return the status line and the headers as they go over the wire."""
        lines = [f"HTTP/1.1 {self.status} {phrase(self.status)}", *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def phrase(status: int) -> str:
    """Return the words that go with a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def json_answer(status: int, content: Any) -> Answer:
    """Return ``content`` as a JSON answer."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return Answer(status, [JSON, ("Content-Length", str(len(body)))], body)


def envelope(
    status: int,
    message: str | None = None,
    *,
    error_code: str | None = None,
    detail: Any = None,
    retryable: bool | None = None,
) -> Answer:
    """
    Return anyformat's error envelope.

    :param status: HTTP status.
    :param message: default: what goes with the status.
    :param error_code: likewise.
    :param detail: default ``None``.
    :param retryable: default: what goes with the status.
    """
    code, text = _ENVELOPES.get(status, ("INTERNAL_ERROR", "Something went wrong on the server."))
    return json_answer(
        status,
        {
            "error": message or text,
            "detail": detail,
            "error_code": error_code or code,
            "retryable": status == 429 or status >= 500 if retryable is None else retryable,
            "request_id": f"req_{uuid.uuid4().hex}",
        },
    )


def gateway_page(status: int) -> Answer:
    """Return what a gateway in front of the API says: HTML, and nothing of anyformat's own."""
    title = f"{status} {phrase(status)}"
    body = f"<html>\n<head><title>{title}</title></head>\n<body><center><h1>{title}</h1></center></body>\n</html>\n"
    return Answer(status, [("Content-Type", "text/html"), ("Content-Length", str(len(body)))], body.encode())
