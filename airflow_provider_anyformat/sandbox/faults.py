"""Which request goes wrong, and how: the faults a sandbox can be told to play."""

from __future__ import annotations

import json
import random
import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.sandbox.answers import JSON, Answer, envelope, gateway_page, json_answer, phrase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Body = str | bytes | dict[str, Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One way to go wrong: what is done with the request, what is answered, and how the answer is sent.

    :param kind: the name it is asked for and logged by.
    :param manner: how the answer is sent; ``plain`` is as an honest server does.
    :param applied: whether the request is served in earnest first, so that a delete takes effect.
    :param status: the status answered in place of the real one; ``None`` for the real one.
    :param headers: set on the answer, in place of those of the same name.
    :param body: the answer's body; ``None`` for what goes with the status.
    :param html: whether the answer is a gateway's page, without ``X-API-Version``.
    :param delay: seconds before the answer; where it is dripped, between two pieces.
    :param error_code: the one in the envelope; ``None`` for what goes with the status.
    :param size: bytes of the body of ``huge``.
    """

    kind: str
    manner: str = "plain"
    applied: bool = False
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = None
    html: bool = False
    delay: float = 0.0
    error_code: str | None = None
    size: int = 200_000_000

    def written(self, status: int) -> Answer:
        """Return the answer that this fault puts in place of the real one."""
        if self.html and self.body is None:
            return gateway_page(status)
        if status < 200 or status in (204, 304):
            return Answer(status)
        if self.body is None and status >= 400:
            return envelope(status, error_code=self.error_code)
        if self.body is None:
            return json_answer(status, {"message": phrase(status)})
        body = as_bytes(self.body)
        content_type = ("Content-Type", "text/html") if self.html else JSON
        return Answer(status, [content_type, ("Content-Length", str(len(body)))], body)


def as_bytes(body: Body) -> bytes:
    """Return a body as bytes: text encoded, anything else but bytes as JSON."""
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


_BY_KIND = {
    fault.kind: fault
    for fault in (
        Fault("status", status=503),
        Fault("html", status=502, html=True),
        Fault("gateway_404", status=404, html=True),
        # A client that follows it asks for the list of workflows, gets 200, and nothing was deleted.
        Fault("redirect", status=302, headers=(("Location", "/v2/workflows/"),)),
        Fault("reset_before", "reset"),
        Fault("reset_after", "reset", applied=True),
        Fault("close_before", "close"),
        Fault("close_after", "close", applied=True),
        Fault("slow", applied=True, delay=0.5),
        Fault("drip_head", "drip_head", applied=True, delay=0.005),
        Fault("drip_body", "drip_body", applied=True, delay=0.005),
        Fault("truncated", "truncated", applied=True),
        Fault("huge", "huge", status=500),
        Fault("early_hints", "early_hints", applied=True),
        Fault("stray_body", "stray_body", applied=True),
        Fault("garbage", "garbage", applied=True),
    )
}

#: Every kind by name.
KINDS = tuple(_BY_KIND)
#: Statuses that a client should try again after, for :meth:`FaultBook.rate`.
_PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
#: What passes by itself: every kind but the redirect, and the statuses worth another try.
TRANSIENT: tuple[str | int, ...] = (
    *(kind for kind in KINDS if kind not in ("status", "redirect")),
    *_PASSING_STATUSES,
)


@dataclass(slots=True)
class _Entry:
    method: str | None
    path: re.Pattern[str] | None
    left: int | None
    fraction: float
    faults: tuple[Fault, ...]
    deck: list[Fault]
    dice: random.Random

    def matches(self, method: str, path: str) -> bool:
        return (self.method is None or self.method == method) and (self.path is None or bool(self.path.search(path)))

    def draw(self) -> Fault:
        # From a shuffled deck, so that each kind comes up as often as any other.
        if not self.deck:
            self.deck = self.dice.sample(self.faults, len(self.faults))
        return self.deck.pop()


class FaultBook:
    """The faults that are to come. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def next(self, k: int, kind: str | int, *, method: str | None, path: str | None, **changes: Any) -> None:
        """Let the next ``k`` requests that match go wrong; these come before all others that were asked for later."""
        if k < 1:
            raise ValueError(f"k: {k} is no number of requests; give 1 or more")
        self._add(method, path, k, 1.0, (make_fault(kind, **changes),), 0)

    def rate(
        self,
        fraction: float,
        kinds: Sequence[str | int],
        *,
        seed: int,
        method: str | None,
        path: str | None,
        **changes: Any,
    ) -> None:
        """Let a share of the requests that match go wrong until the book is cleared, in one of ``kinds`` by turns."""
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction: {fraction} is no share of the requests; give more than 0 and at most 1")
        if not kinds:
            raise ValueError("kinds: it is empty; name at least one")
        self._add(method, path, None, fraction, tuple(make_fault(kind, **changes) for kind in kinds), seed)

    def _add(
        self,
        method: str | None,
        path: str | None,
        left: int | None,
        fraction: float,
        faults: tuple[Fault, ...],
        seed: int,
    ) -> None:
        entry = _Entry(
            method and method.upper(),
            re.compile(path) if path else None,
            left,
            fraction,
            faults,
            [],
            random.Random(seed),  # noqa: S311 - dice, no secrets
        )
        with self._lock:
            # A counted fault is for the very next requests; a rate is for what is left of them.
            at = len(self._entries) if left is None else sum(one.left is not None for one in self._entries)
            self._entries.insert(at, entry)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._entries.clear()

    def pick(self, method: str, path: str) -> Fault | None:
        """Return how this request goes wrong, or ``None`` where it does not."""
        with self._lock:
            for entry in self._entries:
                if not entry.matches(method, path) or (entry.fraction < 1 and entry.dice.random() >= entry.fraction):
                    continue
                if entry.left is not None:
                    entry.left -= 1
                    if not entry.left:
                        self._entries.remove(entry)
                return entry.draw()
        return None


def make_fault(
    kind: str | int,
    *,
    status: int | None = None,
    headers: Mapping[str, str | None] | None = None,
    body: Body = None,
    html: bool | None = None,
    applied: bool | None = None,
    delay: float | None = None,
    error_code: str | None = None,
    size: int | None = None,
) -> Fault:
    """
    Return the fault of a kind, with what differs from its defaults; ``None`` leaves a default as it is.

    :param kind: one of :data:`KINDS`, or a number, which is short for ``status`` with that status.
    :raises ValueError: there is no such kind.
    """
    name = "status" if isinstance(kind, int) else kind
    if isinstance(kind, int) and status is None:
        status = kind
    if name not in _BY_KIND:
        raise ValueError(f"kind: {kind!r} is not known; the kinds are {', '.join(KINDS)}, or a status as a number")
    changes: dict[str, Any] = {
        "status": status,
        "body": body,
        "html": html,
        "applied": applied,
        "delay": delay,
        "error_code": error_code,
        "size": size,
    }
    fault = replace(_BY_KIND[name], **{key: value for key, value in changes.items() if value is not None})
    named = dict(fault.headers)
    if fault.kind == "status":
        if fault.status == 429:
            named["Retry-After"] = "1"
        elif 300 <= (fault.status or 0) < 400 and fault.status != 304:
            named["Location"] = "/v2/workflows/"
    for name, value in (headers or {}).items():
        named = {kept: text for kept, text in named.items() if kept.lower() != name.lower()}
        if value is not None:
            named[name] = value
    return replace(fault, headers=tuple(named.items()))
