"""Settings of a sandbox; each default is the published behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class RequestRecord:
    """
    One request as it arrived.

    :param method: such as ``DELETE``.
    :param path: the path as it came over the wire, still percent-encoded, without the query.
    :param query: the part after the ``?``; empty if there is none.
    :param headers: those of ``authorization``, ``user-agent``, ``cookie``, ``content-type``, ``accept``, ``host`` and
        ``idempotency-key`` that came, by lower-case name.
    :param body_length: bytes of the request's body, as its ``Content-Length`` said or as were read.
    :param time: when it arrived, as ``time.time()``.
    :param client_port: the port it came from; requests of one connection share it.
    :param status: the status that was sent; ``None`` before that, and if no readable status was sent at all.
    :param fault: name of the fault that was played; ``None`` if the request was served normally.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body_length: int
    time: float
    client_port: int
    status: int | None = None
    fault: str | None = None


@dataclass(kw_only=True)
class Settings:
    """
    Set when a sandbox is created, or changed while it runs: each is an attribute of the same name.

    :param key: the API key it accepts, default ``af_sandbox``. Setting another one makes the old one invalid.
    :param latency: minimum seconds for every answer, default 0.
    :param processing_seconds: seconds until a run is over, default 0.5: for the first half of them it is ``queued``,
        then ``in_progress``, and at the end ``processed``, or what ``fail_document()`` said.
    :param order: order of listings in version 2 by ``created_at``: ``newest`` first (default), ``oldest`` first or
        ``shuffled``, which is without order but the same for each page. Version 3 always shows the newest first.
    :param page_size_cap: the largest page it gives, default 100; a larger ``page_size`` is silently reduced.
    :param file_ids: whether rows that were added without a ``file_id`` show one of their own; default ``True``.
    :param uuid_ids: whether a delete accepts UUIDs only and answers 422 to other ids; default ``True``.
    :param second_delete_status: the status for a delete of an id that was deleted before, default 404.
    :param submit_body: the answer to a run in version 2: the ``full`` row with ``workflow_id`` (default) or the bare
        ``id``.
    :param failure_status: the status for results that will never exist: 422 with
        ``EXTRACTION_FAILED`` or ``EXTRACTION_CANCELLED`` (default), or 412 with ``retryable: false``.
    :param inline_limit: bytes up to which results in version 3 come within the run, default 1,000,000; larger ones by
        ``results_url``, as all do with 0.
    :param rate_limit: requests a window, default 600; ``None`` for no limit and no headers.
    :param submission_limit: the same for run and upload, which are counted apart; default 60.
    :param window: seconds of a window, default 60.
    :param window_anchor: whether a window begins with the ``first`` request after the last one (default) or at each
        multiple of its length by the ``clock``.
    :param refusals_extend: whether a 429 starts the window anew, so that only silence ends it; default ``False``.
    :param limit_per: whether each ``key`` has its own count (default) or the ``organisation`` one for all of them.
    :param omit_rate_headers: leave out ``x-ratelimit-*``; default ``False``.
    :param clock_offset: by how much the server's clock (``Date``, ``created_at``, ``updated_at``) is ahead; default
        0.
    :param mangle_page: gets the page's number and a listing's answer as a ``dict`` and returns what is sent in its
        place; default ``None``.
    :param mangle_results: gets the results as a ``dict`` and returns what is sent in their place; default ``None``.
    :param on_request: functions that get the :class:`RequestRecord` of each request before it is served. They,
        ``mangle_page`` and ``mangle_results`` run in the server's thread, may use the sandbox, and must return soon.
    :param log_size: how many requests are remembered, default 100,000; the oldest are forgotten. Read once, when the
        sandbox is made.
    """

    key: str = field(default="af_sandbox", repr=False)
    latency: float = 0.0
    processing_seconds: float = 0.5
    order: Literal["newest", "oldest", "shuffled"] = "newest"
    page_size_cap: int = 100
    file_ids: bool = True
    uuid_ids: bool = True
    second_delete_status: int = 404
    submit_body: Literal["full", "id"] = "full"
    failure_status: Literal[412, 422] = 422
    inline_limit: int = 1_000_000
    rate_limit: int | None = 600
    submission_limit: int | None = 60
    window: float = 60.0
    window_anchor: Literal["first", "clock"] = "first"
    refusals_extend: bool = False
    limit_per: Literal["key", "organisation"] = "key"
    omit_rate_headers: bool = False
    clock_offset: timedelta = timedelta()
    mangle_page: Callable[[int, dict[str, Any]], Any] | None = None
    mangle_results: Callable[[dict[str, Any]], Any] | None = None
    on_request: list[Callable[[RequestRecord], None]] = field(default_factory=list)
    log_size: int = 100_000
