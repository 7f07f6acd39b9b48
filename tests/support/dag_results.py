"""What real DAG runs leave behind: states, XComs, rendered fields, and the log of each try."""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import airflow

AIRFLOW_VERSION: tuple[int, ...] = tuple(int(part) for part in airflow.__version__.split(".")[:2])
AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)


@dataclass(frozen=True)
class Attempt:
    """One try of a task instance: its number, the state it ended in, what it raised and what it logged."""

    try_number: int
    state: str | None
    exception: BaseException | None
    log: str


@dataclass(frozen=True)
class TaskResult:
    """
    What a task instance left behind.

    :param rendered: templated fields as Airflow stored them for its UI (it turns most values into text).
    :param xcoms: every XCom by key, ``return_value`` among them.
    :param log: what all tries logged and printed, masked as in the task's log file.
    """

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    xcoms: dict[str, Any]
    rendered: dict[str, Any]
    attempts: list[Attempt]
    log: str

    @property
    def return_value(self) -> Any:
        """Give what ``execute`` returned, or ``None`` where it pushed nothing."""
        return self.xcoms.get("return_value")

    @property
    def exception(self) -> BaseException | None:
        """Give what the last try raised."""
        return self.attempts[-1].exception if self.attempts else None


@dataclass(frozen=True)
class RunResult:
    """
    What a DAG run left behind; ``result["task"]`` or ``result["task", 2]`` is one task instance.

    :param serialized: the DAG as JSON, as the database keeps it.
    :param log: everything that was logged or printed during the run, the scheduling loop included.
    """

    dag_id: str
    run_id: str
    state: str
    tasks: dict[tuple[str, int], TaskResult]
    serialized: str
    log: str
    dag: Any = field(repr=False)

    def __getitem__(self, key: str | tuple[str, int]) -> TaskResult:
        return self.tasks[(key, -1) if isinstance(key, str) else key]

    def mapped(self, task_id: str) -> list[TaskResult]:
        """Give the mapped instances of a task, by index."""
        return [task for (name, index), task in sorted(self.tasks.items()) if name == task_id and index >= 0]


def _bare_exceptions() -> tuple[type[BaseException], ...]:
    if AIRFLOW_3:
        return ()
    from airflow.exceptions import AirflowTaskTerminated, AirflowTaskTimeout

    return AirflowTaskTerminated, AirflowTaskTimeout


# On 2.11 these end the task as a worker would see it, but are no Exception, and would end DAG.test() as well.
_BARE = _bare_exceptions()


class Alarm:
    """
    The alarm clock that the time-out of a test runs on.

    A process has one, and Airflow takes it for its own time-outs, of parsing and of execution, and leaves it off.
    """

    def __init__(self) -> None:
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        self._deadline = time.monotonic() + left if left else None
        self._handler = signal.getsignal(signal.SIGALRM)

    def set(self) -> None:
        """Set it as it was, less the time that has passed."""
        signal.signal(signal.SIGALRM, self._handler)
        if self._deadline is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self._deadline - time.monotonic(), 0.1))


class Record(io.TextIOBase):
    """A text stream that keeps all that is written, and a part of it for each try of a task instance."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.whole = io.StringIO()
        self.part: io.StringIO | None = None
        self.attempts: dict[tuple[str, int], list[Attempt]] = {}
        self.alarm = Alarm()

    def write(self, text: str) -> int:
        if self.part is not None:
            self.part.write(text)
        return self.whole.write(text)

    def writable(self) -> bool:
        return True

    def follow(self, run_task: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap Airflow's ``_run_task`` so that each try is told apart from the others."""

        def recorded(*, ti: Any, **kwargs: Any) -> Any:
            self.part, error = io.StringIO(), None
            on_term = signal.getsignal(signal.SIGTERM)
            try:
                outcome = run_task(ti=ti, **kwargs)
                error = getattr(outcome, "error", None)
                return outcome
            except BaseException as raised:
                error = raised
                if not isinstance(raised, _BARE):
                    raise
                return None
            finally:
                attempt = Attempt(ti.try_number, as_text(ti.state), error, self.part.getvalue())
                self.attempts.setdefault((ti.task_id, ti.map_index), []).append(attempt)
                self.part = None
                self.alarm.set()
                signal.signal(signal.SIGTERM, on_term)  # in a process of its own Airflow need not give it back

        return recorded


class RecordHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes each record once, though both the root logger and Airflow's task logger hand it over."""

    _last: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record is not self._last:
            self._last = record
            super().emit(record)


def as_text(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def dag_module() -> types.ModuleType:
    if AIRFLOW_3:
        from airflow.sdk.definitions import dag
    else:
        from airflow.models import dag
    return dag  # type: ignore[no-any-return]


@contextlib.contextmanager
def logs_to(record: Record) -> Iterator[None]:
    """Send all logging and printing to the record, through the secrets masker as a worker does."""
    root, task_logger = logging.getLogger(), logging.getLogger("airflow.task")
    before = [(logger, list(logger.handlers), logger.level) for logger in (root, task_logger)]
    restore: Callable[[], None] = lambda: None  # noqa: E731
    if AIRFLOW_3:
        import structlog
        from airflow.sdk.log import configure_logging

        structlog_before = structlog.get_config()
        configure_logging.__wrapped__(output=record)  # the function without its cache: each run has its own record
        restore = lambda: structlog.configure(**structlog_before)  # noqa: E731
    else:
        from airflow.utils.log.secrets_masker import _secrets_masker

        handler = RecordHandler(record)
        handler.setFormatter(logging.Formatter("[%(asctime)s] {%(filename)s:%(lineno)d} %(levelname)s - %(message)s"))
        handler.addFilter(_secrets_masker())
        root.handlers, task_logger.handlers = [handler], [handler]
        root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(record), contextlib.redirect_stderr(record):
            yield
    finally:
        restore()
        for logger, handlers, level in before:
            logger.handlers = handlers
            logger.setLevel(level)


def serialized(dag: Any) -> Any:
    if AIRFLOW_VERSION >= (3, 2):
        from airflow.serialization.serialized_objects import DagSerialization

        return DagSerialization.serialize_dag(dag), DagSerialization.deserialize_dag
    from airflow.serialization.serialized_objects import SerializedDAG

    return SerializedDAG.serialize_dag(dag), SerializedDAG.deserialize_dag
