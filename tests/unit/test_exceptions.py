"""The errors: whose children they are, what they say of a retry, and that they survive copying."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from airflow_provider_anyformat import exceptions
from airflow_provider_anyformat.exceptions import AnyformatClientError, AnyformatError, AnyformatValueError

FINAL = {
    "AnyformatError",
    "AnyformatValueError",
    "AnyformatClientError",
    "AnyformatNotFoundError",
    "AnyformatValidationError",
    "AnyformatAuthenticationError",
    "AnyformatPermissionError",
    "AnyformatNoResultsError",
    "AnyformatTooLongError",
    "AnyformatLostReplyError",
    # What failed inside decides, and is said where it is made.
    "AnyformatBulkError",
}
RETRYABLE = {
    "AnyformatRateLimitError",
    "AnyformatServerError",
    "AnyformatConnectionError",
    "AnyformatListingError",
    "AnyformatNotReadyError",
    "AnyformatTimeoutError",
    "AnyformatStoppedError",
    "AnyformatLedgerError",
    "AnyformatStorageError",
}
ALL: list[Any] = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass)]


def test_the_family_is_known() -> None:
    assert {kind.__name__ for kind in ALL} == FINAL | RETRYABLE


def test_none_is_an_airflow_exception() -> None:
    from airflow.exceptions import AirflowException

    for kind in ALL:
        assert issubclass(kind, AnyformatError)
        assert not issubclass(kind, AirflowException)
        assert {base.__module__ for base in kind.__mro__} <= {exceptions.__name__, "builtins"}


def test_what_a_retry_can_mend() -> None:
    for kind in ALL:
        assert kind("x").retryable is (kind.__name__ in RETRYABLE)
        assert kind("x", retryable=True).retryable is True
        assert kind("x", retryable=False).retryable is False


def test_nothing_is_known_unless_said() -> None:
    for kind in ALL:
        error = kind("words")

        assert str(error) == "words"
        assert error.args == ("words",)
        assert (error.status_code, error.error_code, error.request_id, error.server_date) == (None, None, None, None)
        assert (error.fate_unknown, error.attempts, error.retry_after) == (False, 0, None)


def test_copies_are_equal() -> None:
    for kind in ALL:
        error = kind(
            "first words",
            status_code=503,
            error_code="CODE",
            request_id="req_1",
            retryable=True,
            fate_unknown=True,
            attempts=4,
            server_date="Tue, 24 Nov 2026 10:00:00 GMT",
            retry_after=7.5,
        )
        error.args = ("words",)
        error.add_note("a note")

        pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        for other in (*pickled, copy.copy(error), copy.deepcopy(error)):
            assert type(other) is kind
            assert str(other) == "words"
            assert vars(other) == vars(error)
            assert (other.status_code, other.retryable, other.retry_after, other.attempts) == (503, True, 7.5, 4)


def test_a_refused_value_is_a_value_error() -> None:
    assert issubclass(AnyformatValueError, ValueError)
    assert not issubclass(AnyformatClientError, ValueError)


def test_particulars_are_named() -> None:
    with pytest.raises(TypeError):
        AnyformatError("words", 404)  # type: ignore[call-arg]
