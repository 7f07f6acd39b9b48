"""What the reply to a delete, or the error it raised, means for the record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.exceptions import (
    AnyformatError,
    AnyformatNotFoundError,
    AnyformatRateLimitError,
    AnyformatStoppedError,
)
from airflow_provider_anyformat.retention.ledger import Outcome
from airflow_provider_anyformat.retention.plan import utc_text

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.replies import DeleteOutcome
    from airflow_provider_anyformat.retention.policy import PlannedRow

# A killed worker loses the record of at most this many deletes, those in flight included.
MOST_UNRECORDED = 200
# Wrong or revoked key, no credit, no permission: the answer to every other request too.
_FATAL_STATUSES = frozenset({401, 402, 403})


def of_row(row: PlannedRow, outcome: str, **facts: Any) -> Outcome:
    """Return what became of a planned collection; ``facts`` are further fields of an outcome."""
    return Outcome(row.collection_id, row.workflow_id, outcome, **facts)


def of_delete(row: PlannedRow, reply: DeleteOutcome, archived: str | None = None) -> Outcome:
    """
    Return what a delete that succeeded means.

    :param archived: ``"none"`` where the server said that there are no results to archive.
    """
    deleted_at = utc_text(datetime.now(UTC)) if reply == "deleted" else None
    facts = _facts(reply)
    return of_row(row, str(reply), http_status=reply.http_status, deleted_at=deleted_at, archived=archived, **facts)


def of_error(row: PlannedRow, error: AnyformatError, max_backoff: float) -> Outcome:
    """
    Return what an error means; an HTTP 404 is ``missing``, until it is known whether that is a failure.

    :param max_backoff: seconds; a server that asks for a longer wait than this would ask every other request, too.
    """
    if isinstance(error, AnyformatNotFoundError):
        outcome = "missing"
    elif error.fate_unknown:
        outcome = "unknown"
    else:
        # A rate limit that is known to be used up for too long ends a call before it is sent.
        unsent = isinstance(error, AnyformatRateLimitError) and not error.attempts
        outcome = "not_attempted" if unsent or isinstance(error, AnyformatStoppedError) else "failed"
    wait = error.retry_after
    return of_row(
        row,
        outcome,
        http_status=error.status_code,
        message=str(error),
        retryable=error.retryable,
        fatal=error.status_code in _FATAL_STATUSES or (wait is not None and wait > max_backoff),
        retry_after=wait,
        **_facts(error),
    )


def _facts(source: DeleteOutcome | AnyformatError) -> dict[str, Any]:
    return {name: getattr(source, name) for name in ("error_code", "request_id", "attempts", "server_date")}
