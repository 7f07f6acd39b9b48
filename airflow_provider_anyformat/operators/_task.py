"""What the operators share: reading parameters and Airflow's context, opening folders, and how a task ends."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat._airflow import BaseOperator
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatValueError
from airflow_provider_anyformat.links import AnyformatLink
from airflow_provider_anyformat.parameters import NOT_GIVEN, PARAMETERS, one_workflow, read_parameters
from airflow_provider_anyformat.retry_policies import with_default
from airflow_provider_anyformat.storage import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.bulk import RunOptions
    from airflow_provider_anyformat.bulk.results import ResultsFolder
    from airflow_provider_anyformat.bulk.submitting import Try
    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook, ConnectionSettings
    from airflow_provider_anyformat.retention.earlier import Store
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.holds import Hold
    from airflow_provider_anyformat.retention.plan import Guards, Origin
    from airflow_provider_anyformat.retention.policy import MinRetention, RetentionPolicy
    from airflow_provider_anyformat.retention.signing import Signer

# What a task needs to run is imported when it runs: a DAG file is parsed every half minute, and never deletes.

_PACKAGE = f"{__name__.partition('.')[0]}."
# What the event of an asset tells of a run: every viewer may read it, so there are no ids, globs or names.
EVENT_KEYS = (
    *("due", "deleted", "already_gone", "failed", "not_attempted", "kept"),
    *("forecast", "ledger", "plan_digest", "summary_sha256"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """
    One try of a task that is connected.

    :param hook: the connection's hook.
    :param client: speaks to the connection's server; the hook's.
    :param settings: what the connection says.
    :param given: the task's parameters, read.
    :param context: Airflow's.
    :param operator: the task itself.
    """

    hook: AnyformatHook
    client: AnyformatClient
    settings: ConnectionSettings
    given: Mapping[str, Any]
    context: Mapping[str, Any]
    operator: _AnyformatOperator

    def policy(self, **changes: Any) -> RetentionPolicy:
        """
        Return the policy that was given; age counts from the run's ``data_interval_end`` unless that was given, too.

        :param changes: fields that are others than what was given.
        """
        from airflow_provider_anyformat.retention.policy import RetentionPolicy

        now = datetime.now(UTC)
        # A run that an asset or a person started may have no data interval.
        left_out = {"reference_time": self.context.get("data_interval_end") or now, "include_names": ()}
        values = {each.name: self.given[each.name] for each in fields(RetentionPolicy) if each.name in self.given}
        values |= {"holds": self.holds} | changes
        values |= {name: value for name, value in left_out.items() if values[name] is NOT_GIVEN}
        return RetentionPolicy(**values | {"reference_time": min(values["reference_time"], now)})

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The holds with a case, read now: they may have changed since the DAG file was parsed."""
        path = self.given.get("holds", NOT_GIVEN)
        if path is NOT_GIVEN:
            return ()
        from airflow_provider_anyformat.rules.reading import load_holds

        return load_holds(Path(path))

    @property
    def workflow_id(self) -> str:
        """The one workflow that was given."""
        return one_workflow(self.given["workflow_id"])

    @property
    def results(self) -> ResultsFolder | None:
        """The folder for results; ``None`` where none was given."""
        from airflow_provider_anyformat.bulk.results import ResultsFolder

        path = self.given["results_path"]
        return None if path is NOT_GIVEN else ResultsFolder(open_folder(path, "results_path"))

    @property
    def guards(self) -> Guards:
        """The guards that were given."""
        from airflow_provider_anyformat.retention.plan import Guards

        names = [each.name for each in fields(Guards)]
        return Guards(**{name: self.given[name] for name in names if self.given.get(name, NOT_GIVEN) is not NOT_GIVEN})

    @property
    def origin(self) -> Origin:
        """Which run this is."""
        from airflow_provider_anyformat.retention.plan import Origin

        origin, instance = Origin(self.client.base_url, provider_version=__version__), self.context.get("ti")
        basis = self.given.get("basis", NOT_GIVEN)
        if basis is not NOT_GIVEN:
            origin = replace(origin, basis=basis, owner=self.operator.owner)
        if instance is None:
            return origin
        names = ("dag_id", "task_id", "map_index", "run_id", "try_number")
        return replace(origin, **{name: getattr(instance, name) for name in names})

    @property
    def options(self) -> RunOptions:
        """How to delete, and where to keep what."""
        from airflow_provider_anyformat.bulk import RunOptions

        return RunOptions(
            origin=self.origin,
            max_workers=self.given["max_workers"],
            quota_reserve=self.given["quota_reserve"],
            ledger=self.folder("ledger_path"),
            signer=self.signer,
            archive=self.folder("archive_path"),
            store=self.store,
            push=self.push,
        )

    @property
    def signer(self) -> Signer | None:
        """What signs the ledger's summary."""
        conn_id = self.given.get("signing_conn_id", NOT_GIVEN)
        if conn_id is NOT_GIVEN:
            return None
        from airflow_provider_anyformat.hooks.anyformat import read_connection
        from airflow_provider_anyformat.retention.signing import Signer

        way_out = "create it with an Ed25519 private key as its password"
        return Signer(read_connection(conn_id, "signing_conn_id", way_out).password)

    @property
    def is_retry(self) -> bool:
        """
        Whether an earlier try of this task may have sent deletes.

        Airflow raises ``max_tries`` when a finished task is cleared, which tells a person's second thoughts from a
        retry.
        """
        instance = self.context.get("ti")
        return instance is not None and instance.try_number > instance.max_tries - self.operator.retries + 1

    @property
    def attempt(self) -> Try:
        """Which try this is, and what it knows of those before."""
        from airflow_provider_anyformat.bulk.submitting import Try

        instance, run = self.context.get("ti"), self.context.get("dag_run")
        return Try(
            self.origin,
            life=0 if instance is None else max(0, instance.max_tries - self.operator.retries),
            is_retry=self.is_retry,
            run_started=None if run is None else run.start_date,
            store=self.store,
        )

    @property
    def store(self) -> Store | None:
        """What outlives a try, from Airflow 3.3 on."""
        return self.context.get("task_state_store")

    @property
    def min_retention(self) -> MinRetention:
        """The longer of the connection's and the organisation's shortest age."""
        from airflow_provider_anyformat.organisation import min_retention

        return min_retention(self.settings.min_retention)

    def folder(self, name: str) -> Folder | None:
        """Open the folder that a parameter, or for the ledger Airflow's configuration, names; ``None`` for neither."""
        path, field = self.given.get(name, NOT_GIVEN), name
        if path is NOT_GIVEN and name == "ledger_path":
            from airflow_provider_anyformat.organisation import ledger_path

            path, field = ledger_path(), f"[anyformat] {name}"
        return None if path is NOT_GIVEN else open_folder(path, field)

    def push(self, key: str, value: Any) -> None:
        """Keep a value as XCom; the summary also where lists of task instances, links and lineage find it."""
        if key == "summary":
            self.operator.keep_summary(value)
        instance = self.context.get("ti")
        if instance is not None:
            instance.xcom_push(key=key, value=value)


_OperatorMeta: Any = type(BaseOperator)


class Checked(_OperatorMeta):
    """Checks, as soon as an operator is made, all that no template makes later: a mistake is the DAG's import error."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with final_errors():
            _check_names(kwargs)
            made = super().__call__(*args, **kwargs)
            _check_literals(self, lambda name: getattr(made, name, NOT_GIVEN))
        return made


class CheckedPartial:
    """Checks what ``partial`` is given in the same way; what is mapped over is checked when the task runs."""

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as every operator's ``partial`` does."""
        with final_errors():
            _check_names(kwargs)
            _check_literals(cls, lambda name: kwargs.get(name, NOT_GIVEN))
        return super().partial(**kwargs)  # type: ignore[misc]


def _check_names(given: Mapping[str, Any]) -> None:
    if "dry_run" in given:
        raise AnyformatValueError("dry_run: there is no such parameter; write plan_only=True")


def _check_literals(operator: type, value_of: Callable[[str], object]) -> None:
    # A subclass of a user's may template other fields, and need not have called our constructor.
    own: Any = next(each for each in operator.__mro__ if each.__module__.startswith(_PACKAGE))
    values = {name: value_of(name) for name in own.template_fields}
    read_parameters({name: value for name, value in values.items() if not _comes_later(value)})


def _comes_later(value: object) -> bool:
    """Say whether Airflow puts another value in its place when the task runs."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, Mapping):
        return any(map(_comes_later, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(_comes_later, value))
    # An XComArg, a DagParam; or a function of the context.
    return hasattr(value, "iter_references") or callable(value)


class _AnyformatOperator(CheckedPartial, BaseOperator, metaclass=Checked):
    """What the operators share: reading what was given, the client while the task runs, and ending it."""

    ui_color = "#f6d5d5"
    operator_extra_links: Sequence[Any] = (AnyformatLink(),)
    template_fields: Sequence[str] = ()

    # What the run came to, once it is known.
    summary: Mapping[str, Any] | None = None
    _client: AnyformatClient | None = None
    _killed = False

    # Named here, so that Airflow puts the DAG's default_args in before the default is ours.
    def __init__(self, *, retry_policy: Any = None, **kwargs: Any) -> None:
        super().__init__(**with_default(retry_policy), **kwargs)

    def keep_summary(self, summary: Mapping[str, Any]) -> None:
        """Show it among the rendered fields: of all that a task leaves, Airflow's REST API lists these alone."""
        self.summary = summary
        self.template_fields = (*type(self).template_fields, "summary")
        self.overwrite_rtif_after_execution = True

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Say what the run read and left, for OpenLineage, which asks for it after a failure, too."""
        from airflow_provider_anyformat.lineage import lineage_of

        return lineage_of(self)

    def on_kill(self) -> None:
        """Send nothing more, end every wait now, and what is in flight within two seconds."""
        # In Airflow 3 execute() goes on after this; it is a signal handler, so it sets values and no more.
        self._killed = True
        if self._client is not None:
            self._client.stop()

    @contextmanager
    def _task(self, context: Mapping[str, Any], operator: type[_AnyformatOperator]) -> Iterator[Task]:
        """
        Read the parameters, connect, and end as a task should: red if it was told to stop.

        :param operator: our class, whose parameters are read: a subclass of a user's may template other fields.
        """
        from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

        with final_errors():
            given = read_parameters({name: self._given(name, operator) for name in operator.template_fields})
            hook = AnyformatHook(given["anyformat_conn_id"])
            client = self._client = hook.get_conn()
            try:
                if self._killed:
                    client.stop()
                yield Task(hook, client, hook.settings, given, context, self)
                # Whatever execute() did by then: a task that was killed is not green.
                client.check_stopped("the task")
                self._tell_assets(context)
            except AnyformatError as error:
                if error.status_code == 401:
                    error.args = (f"{error}\n  connection {shown(given['anyformat_conn_id'])}",)
                raise
            finally:
                client.close()
                self._client = None
                self._killed = False

    def _tell_assets(self, context: Mapping[str, Any]) -> None:
        """Put the run's numbers into the event of each asset that the task updates."""
        from airflow_provider_anyformat._airflow import Asset

        if self.summary is None:
            return
        extra = {key: self.summary[key] for key in EVENT_KEYS if key in self.summary}
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = dict(extra)

    def _given(self, name: str, operator: type[_AnyformatOperator]) -> object:
        value = getattr(self, name)
        if value is NOT_GIVEN:
            value = inspect.signature(operator.__init__).parameters[name].default
            if value is inspect.Parameter.empty:
                raise AnyformatValueError(
                    f"{name}: it was not given, and has no default. It takes {PARAMETERS[name].expects}"
                )
        return value


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
        from airflow_provider_anyformat._airflow import AirflowFailException

        raise AirflowFailException(str(error)) from None
