"""Faults that a sandbox can be told to play, and the requests that they hit."""

from __future__ import annotations

import json
import random
import re
import threading
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.sandbox.answers import JSON, Answer, envelope, gateway_page, json_answer, phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

Body = str | bytes | dict[str, Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One kind of failure: whether the request takes effect, the answer, and how the answer is sent.

    :param kind: the name it is asked for and logged by.
    :param manner: how the answer is sent; ``plain`` is how any server does.
    :param applied: whether the request takes effect first; default: by the kind, ``False`` for ``status``.
    :param status: answered in place of the real one: from 100 to 599; ``None`` for the real one.
    :param headers: set on the answer, in place of those of the same name; a default, such as ``Retry-After`` on a
        429, goes with ``None``.
    :param body: text and bytes as they are, anything else as JSON; ``None`` for what goes with the status.
    :param html: as from a gateway: a page, and no ``X-API-Version``.
    :param delay: seconds before the answer; for the dripping kinds, between two bytes.
    :param error_code: the one in the error envelope; ``None`` for what goes with the status.
    :param size: bytes of the body of ``huge``, default 200 MB.
    """

    kind: str
    manner: str = "plain"
    applied: bool = False
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: Body = None
    html: bool = False
    delay: float = 0.0
    error_code: str | None = None
    size: int = 200_000_000

    @property
    def shown_headers(self) -> list[tuple[str, str]]:
        """The headers that are set on the answer: those that go with the status, unless ``headers`` says otherwise."""
        named: dict[str, str | None] = {}
        if self.kind == "status" and self.status == 429:
            named["Retry-After"] = "1"
        elif self.kind == "redirect" or (self.kind == "status" and _leads_away(self.status)):
            # A client that follows it asks for the list of workflows, gets 200, and nothing was deleted.
            named["Location"] = "/v2/workflows/"
        given = {name.lower() for name in self.headers}
        named = {name: text for name, text in named.items() if name.lower() not in given} | self.headers
        return [(name, text) for name, text in named.items() if text is not None]

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


def _leads_away(status: int | None) -> bool:
    return status is not None and 300 <= status < 400 and status != 304


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
        Fault("redirect", status=302),
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

#: The fields of a kind that can be changed.
CHANGES = tuple(each.name for each in fields(Fault) if each.name not in ("kind", "manner"))
#: Every kind by name.
KINDS = tuple(_BY_KIND)
#: Statuses that a client should retry.
_PASSING_STATUSES = (408, 425, 429, 500, 502, 503, 504)
#: The faults that pass by themselves: every kind but the redirect, and the statuses worth a retry.
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
        """Let the next ``k`` requests that match go wrong; these come before any that are asked for later."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
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
            raise ValueError(f"fraction must be above 0 and at most 1, not {fraction}")
        if not kinds:
            raise ValueError("kinds is empty; name at least one")
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
        """Remove all faults."""
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


def make_fault(kind: str | int, **changes: Any) -> Fault:
    """
    Return the fault of a kind.

    :param kind: one of :data:`KINDS`, or a number, which is short for ``status`` with that status.
    :param changes: what differs from the kind's defaults, by the fields of :class:`Fault`.
    :raises ValueError: there is no such kind or field.
    """
    if isinstance(kind, int):
        kind, changes = "status", {"status": kind, **changes}
    if kind not in _BY_KIND:
        raise ValueError(f"kind: {kind!r} is not known; the kinds are {', '.join(KINDS)}, or a status as a number")
    unknown = next((name for name in changes if name not in CHANGES), None)
    if unknown is not None:
        raise ValueError(f"{unknown}: a fault has no such field; give one of {', '.join(CHANGES)}")
    return replace(_BY_KIND[kind], **changes)
