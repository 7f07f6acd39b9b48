"""When a failed task is tried again: as late as anyformat asked for. Retry policies came with Airflow 3.3."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS

if TYPE_CHECKING or AIRFLOW_V_3_3_PLUS:
    from airflow_provider_anyformat._airflow import RetryDecision, RetryPolicy
else:
    # So that a DAG file that names the policy in its default_args can be read: there, older versions ignore it.
    RetryPolicy = object


class AnyformatRetryPolicy(RetryPolicy):
    """
    Try again once the server's ``Retry-After`` has passed, and never sooner than the task's ``retry_delay``.

    An error without such a wait is left to Airflow. Our operators use this policy on Airflow 3.3 and later, unless the
    task or the DAG's ``default_args`` has a ``retry_policy``. Older versions do not know retry policies, and wait
    ``retry_delay`` alone.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Any = None,
    ) -> RetryDecision:
        """
        Say when the next try begins.

        :param exception: what the task failed with; its ``retry_after``, in seconds, counts.
        :param try_number: the try that failed; not used, because Airflow itself counts them.
        :param max_tries: likewise.
        :param context: the task's context, for its ``retry_delay``. Default: that is not known, and ``retry_after``
            counts alone.
        """
        asked = getattr(exception, "retry_after", None)
        if not isinstance(asked, (int, float)) or not 0 < asked < inf:
            return RetryDecision.default()
        delay = timedelta(seconds=asked)
        if context and (task := context.get("task")) is not None:
            delay = max(delay, task.retry_delay)
        return RetryDecision.retry(delay=delay, reason=f"anyformat asked to wait {asked:g} s")


def with_default(given: Any) -> dict[str, Any]:
    """
    Return the ``retry_policy`` argument for ``BaseOperator``, which knows it from Airflow 3.3 on.

    :param given: the task's own policy, or the DAG's, which Airflow puts in where an operator's ``__init__`` names
        ``retry_policy``; ``None`` for neither.
    """
    if AIRFLOW_V_3_3_PLUS:
        return {"retry_policy": AnyformatRetryPolicy() if given is None else given}
    return {}
