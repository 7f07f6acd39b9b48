"""Sensors on anyformat's file collections."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import BaseSensorOperator, conf
from airflow_provider_anyformat.operators._task import Checked, CheckedPartial, final_errors
from airflow_provider_anyformat.parameters import one_workflow, read_parameters
from airflow_provider_anyformat.retry_policies import with_default

if TYPE_CHECKING:
    from airflow_provider_anyformat._airflow import Context
    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

# What a task needs to run is imported when it runs.

DEFERRABLE: bool = conf.getboolean("operators", "default_deferrable", fallback=False)


class FileCollectionSensor(CheckedPartial, BaseSensorOperator, metaclass=Checked):
    """
    Wait until a collection is processed; fail if its processing ends otherwise.

    Errors that pass never fail it while time is left. It works in the modes ``poke`` and ``reschedule``, and deferred.

    :param workflow_id: the workflow's id. (templated)
    :param collection_id: the collection's id. (templated)
    :param deferrable: whether a triggerer waits, and no worker. Default: Airflow's
        ``[operators] default_deferrable``. (templated)
    :param retry_policy: Airflow's, from 3.3 on. Default: the DAG's, else
        :class:`~airflow_provider_anyformat.retry_policies.AnyformatRetryPolicy`.
    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``. (templated)
    :return: nothing. ``poke_interval``, ``timeout``, ``mode`` and ``soft_fail`` are those of every sensor.
    :raises AirflowFailException: a parameter or the connection cannot be used, anyformat refused, or the processing
        ended in an error or was cancelled.
    :raises AirflowSensorTimeout: it had not ended in time.
    """

    template_fields: Sequence[str] = ("workflow_id", "collection_id", "deferrable", "anyformat_conn_id")
    ui_color = "#f6d5d5"

    _hook: AnyformatHook | None = None

    def __init__(
        self,
        *,
        workflow_id: str,
        collection_id: str,
        deferrable: bool | str = DEFERRABLE,
        retry_policy: Any = None,
        anyformat_conn_id: str = "anyformat_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_default(retry_policy), **kwargs)
        self.workflow_id = workflow_id
        self.collection_id = collection_id
        self.deferrable = deferrable
        self.anyformat_conn_id = anyformat_conn_id

    def execute(self, context: Context) -> None:
        """Wait in the worker, or let a triggerer wait."""
        with final_errors():
            given = self._read()
        if not given["deferrable"]:
            super().execute(context)
            return
        from airflow_provider_anyformat.triggers.files import FileCollectionTrigger

        self.defer(
            trigger=FileCollectionTrigger(
                given["workflow_id"],
                given["collection_id"],
                poll_interval=max(0.5, float(self.poke_interval)),
                deadline=time.time() + float(self.timeout),
                anyformat_conn_id=given["anyformat_conn_id"],
            ),
            method_name="execute_complete",
        )

    def poke(self, context: Context) -> bool:  # noqa: ARG002 - Airflow's signature
        """Look once."""
        from airflow_provider_anyformat.api.waits import ends_a_wait
        from airflow_provider_anyformat.bulk.submitting import check_processed
        from airflow_provider_anyformat.exceptions import AnyformatError
        from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

        with final_errors():
            given = self._read()
            if self._hook is None:
                self._hook = AnyformatHook(given["anyformat_conn_id"])
            self._hook.get_conn()
            try:
                state = self._hook.get_state(given["workflow_id"], given["collection_id"])
            except AnyformatError as error:
                if ends_a_wait(error):
                    raise
                self.log.info("%s; looking again later", str(error).partition("\n")[0])
                return False
            self.log.info("Collection %s: %s", given["collection_id"], state.status)
            if not state.finished:
                return False
            check_processed(given["workflow_id"], given["collection_id"], state)
        return True

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take what the trigger saw."""
        from airflow_provider_anyformat._airflow import AirflowSensorTimeout, AirflowSkipException
        from airflow_provider_anyformat.api.waits import from_event
        from airflow_provider_anyformat.bulk.submitting import check_processed
        from airflow_provider_anyformat.exceptions import AnyformatTimeoutError

        try:
            with final_errors():
                check_processed(event["workflow_id"], event["collection_id"], from_event(event))
        except AnyformatTimeoutError as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from None
            raise AirflowSensorTimeout(str(error)) from None

    def on_kill(self) -> None:
        """End a look that is in flight within two seconds."""
        if self._hook is not None:
            self._hook.get_conn().stop()

    def _read(self) -> dict[str, Any]:
        given = read_parameters({name: getattr(self, name) for name in FileCollectionSensor.template_fields})
        return given | {"workflow_id": one_workflow(given["workflow_id"])}
