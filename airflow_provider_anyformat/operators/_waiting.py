"""What the operators share that wait for runs."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators._task import _AnyformatOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_anyformat.operators._task import Task


class _WaitingOperator(_AnyformatOperator):
    """What the operators share that wait for runs."""

    _cancel_later: Callable[[], None] | None = None

    @contextmanager
    def _cancelling(self, task: Task, collection_ids: Callable[[], list[str]]) -> Iterator[None]:
        """Delete the collections if the task is killed meanwhile, and that was asked for."""
        cancels = task.given["cancel_on_kill"]
        try:
            yield
        except BaseException:
            if cancels and self._killed:
                from airflow_provider_anyformat.bulk.signals import finish_despite_signals

                finish_despite_signals(partial(task.hook.cancel, collection_ids()))
            elif cancels:
                # Airflow calls on_kill() for an execution_timeout when execute() has ended.
                self._cancel_later = partial(task.hook.cancel, collection_ids())
            raise

    def on_kill(self) -> None:
        """End every wait now, and what is in flight within two seconds; cancel if that was asked for."""
        super().on_kill()
        if self._client is None and self._cancel_later is not None:
            self._cancel_later()

    @staticmethod
    def _check_times(task: Task) -> None:
        timeout, poll_interval = task.given["timeout"], task.given["poll_interval"]
        if timeout.total_seconds() <= poll_interval:
            raise AnyformatValueError(
                f"timeout: {timeout} is not longer than poll_interval, {poll_interval:g} s; give a longer one"
            )
