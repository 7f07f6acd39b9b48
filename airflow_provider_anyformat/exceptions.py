"""
What can go wrong between a DAG and anyformat.

::

    AnyformatError
    ├── AnyformatValueError           refused before anything was sent        final
    ├── AnyformatClientError          an answer that no retry can change      final
    │   ├── AnyformatNotFoundError        HTTP 404
    │   ├── AnyformatValidationError      HTTP 422
    │   ├── AnyformatAuthenticationError  HTTP 401
    │   ├── AnyformatPermissionError      HTTP 403
    │   ├── AnyformatNotReadyError        the processing has not ended        retryable
    │   ├── AnyformatNoResultsError       there will be no results
    │   └── AnyformatTooLongError         an answer longer than is read
    ├── AnyformatRateLimitError       HTTP 429                                retryable
    ├── AnyformatServerError          HTTP 408, 425, 5xx, a gateway's 404     retryable
    ├── AnyformatConnectionError      no answer, or an unreadable one         retryable
    ├── AnyformatLostReplyError       a submit that may be billed             final
    ├── AnyformatTimeoutError         not processed by the deadline           retryable
    ├── AnyformatListingError         a listing that may have a gap           retryable
    ├── AnyformatStoppedError         the task was told to end                retryable
    ├── AnyformatLedgerError          no record or evidence can be kept       retryable
    ├── AnyformatStorageError         an archive or a plan was out of reach   retryable
    └── AnyformatBulkError            some of many were not deleted           as the failures are

None of these is an ``AirflowException``, because the client and the retention rules do not know Airflow. The operators
turn what no retry can fix (``retryable`` is ``False``) into ``AirflowFailException`` and let the rest through as it is.
"""

from __future__ import annotations


class AnyformatError(Exception):
    """
    Base of every error of this provider.

    No instance carries the API key, a header or a request object, so that it can be logged and pickled as it is.

    :param message: one readable sentence or more; for a reply of the server it names the HTTP status.
    :param status_code: HTTP status of the reply, or ``None`` where there was none.
    :param error_code: ``error_code`` of anyformat's error envelope, if it had one.
    :param request_id: ``request_id`` of the envelope, for a question to anyformat's support.
    :param retryable: whether the same call may succeed later; default: what the class says.
    :param fate_unknown: whether the request may have taken effect all the same; default ``False``.
    :param attempts: how often the request was tried; default 0, because nothing was sent.
    :param server_date: the ``Date`` header of the reply, as sent; default ``None``.
    :param retry_after: seconds the server asked to wait, or ``None`` where it named no sensible number.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        fate_unknown: bool = False,
        attempts: int = 0,
        server_date: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.error_code = error_code
        self.request_id = request_id
        if retryable is not None:
            self.retryable = retryable
        self.fate_unknown = fate_unknown
        self.attempts = attempts
        self.server_date = server_date
        self.retry_after = retry_after


class AnyformatValueError(AnyformatError, ValueError):
    """An argument, an id or a field of the connection was refused before anything was sent. Final."""


class AnyformatClientError(AnyformatError):
    """The server refused the request, or gave an answer that this call does not define. Final."""


class AnyformatNotFoundError(AnyformatClientError):
    """HTTP 404 from anyformat itself: there is no such thing, or it is another organisation's. Final."""


class AnyformatValidationError(AnyformatClientError):
    """HTTP 422: the message has one line for each item of the ``HTTPValidationError``. Final."""


class AnyformatAuthenticationError(AnyformatClientError):
    """HTTP 401: the API key is wrong or was revoked. Final."""


class AnyformatPermissionError(AnyformatClientError):
    """HTTP 403: no key, a scope is missing, or terms are not accepted. Final."""


class AnyformatRateLimitError(AnyformatError):
    """HTTP 429 to the end, or one that asks to wait longer than the connection's ``max_backoff``. Retryable."""

    retryable = True


class AnyformatServerError(AnyformatError):
    """HTTP 408, 425 or 5xx to the end, a gateway's 404, or an answer that HTTP does not allow. Retryable."""

    retryable = True


class AnyformatConnectionError(AnyformatError):
    """No answer, or an unreadable one: DNS, connect, TLS, proxy, reset, time-out, to the end. Retryable."""

    retryable = True


class AnyformatNotReadyError(AnyformatClientError):
    """The results are not ready: the processing has not ended. Retryable."""

    retryable = True


class AnyformatNoResultsError(AnyformatClientError):
    """The processing ended in an error or was cancelled: there will be no results. Final."""


class AnyformatTooLongError(AnyformatClientError):
    """The answer is longer than what is read of such an answer. Final."""


class AnyformatLostReplyError(AnyformatError):
    """The reply to a submit was lost: a collection may exist, and be billed, whose id is unknown. Final."""


class AnyformatTimeoutError(AnyformatError):
    """The processing had not ended by the deadline; the collection stays, and a retry goes on waiting. Retryable."""

    retryable = True


class AnyformatListingError(AnyformatError):
    """A listing that is not complete or not consistent; nothing may be deleted because of it. Retryable."""

    retryable = True


class AnyformatStoppedError(AnyformatError):
    """The task was told to end (SIGTERM) while it waited or was about to send. Retryable."""

    retryable = True


class AnyformatLedgerError(AnyformatError):
    """
    The ledger could not be written or read, or Airflow's ``task_state_store``, so nothing more is deleted. Retryable.

    Disks are emptied, rights granted, and servers come back.
    """

    retryable = True


class AnyformatStorageError(AnyformatError):
    """Results could not be archived safely, and their collection stays; or a plan could not be read. Retryable."""

    retryable = True


class AnyformatBulkError(AnyformatError):
    """Some of many collections may not have been deleted; the message names the first of them."""
