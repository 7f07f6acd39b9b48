"""What the operators share: whom a failure is told to, what Airflow says of the task's try, and how a task ends."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import AirflowFailException
from airflow_provider_anyformat.exceptions import AnyformatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_anyformat._airflow import BaseOperator

# A second SIGTERM is common: of the supervisor's group, then of the supervisor.
_MORE_SIGNALS = 5

log = logging.getLogger(__name__)


@contextmanager
def final_errors() -> Iterator[None]:
    """
    Turn an error that no retry can mend into ``AirflowFailException``, so that Airflow does not try again.

    A retryable one passes as it is: callbacks and retry policies see its type.
    """
    try:
        yield
    except AnyformatError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from None


def is_automatic_retry(context: Mapping[str, Any], task: BaseOperator) -> bool:
    """
    Say whether an earlier try of this task may have sent deletes.

    Airflow raises ``max_tries`` when a finished task is cleared, which tells a person's second thoughts from a retry.
    """
    instance = context.get("ti")
    return instance is not None and instance.try_number > 1 and instance.max_tries == task.retries


def to_the_end(step: Callable[[], None]) -> None:
    """
    Do what has to be done when a task ends, also if more signals come meanwhile: each may raise in the main thread.

    :param step: goes on where it stood when it is called again.
    """
    for _ in range(_MORE_SIGNALS):
        try:
            step()
        except Exception:
            raise
        except BaseException as signal:  # noqa: BLE001 - the first one is under way already
            log.warning("%s while the task was ending: that goes on", type(signal).__name__)
        else:
            return
    step()
