"""Triggers: waiting for collections on the event loop of a triggerer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

if AIRFLOW_V_3_0_PLUS:
    from airflow_provider_anyformat._airflow import BaseEventTrigger
else:
    BaseEventTrigger = BaseTrigger

__all__ = ["FileCollectionTrigger", "FileCollectionsTrigger", "WorkflowTrigger"]

log = logging.getLogger(__name__)


async def _connect(anyformat_conn_id: str) -> AnyformatHook:
    """
    Connect, which blocks, because a connection is read over the network.

    Airflow 3.1 reads it over the triggerer's own stream, on its event loop: out of a thread of ``asyncio.to_thread``
    it would read between others' answers, and the triggerer dies of it. ``sync_to_async`` hands it back to that loop.
    """
    from asgiref.sync import sync_to_async

    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

    def connect() -> AnyformatHook:
        hook = AnyformatHook(anyformat_conn_id)
        hook.get_conn()
        return hook

    hook: AnyformatHook = await sync_to_async(connect)()
    return hook


async def _cancel(anyformat_conn_id: str, collection_ids: list[str]) -> None:
    hook = await _connect(anyformat_conn_id)
    await asyncio.to_thread(hook.cancel, collection_ids)


def _serialized(trigger: Any, *names: str) -> tuple[str, dict[str, Any]]:
    kind = type(trigger)
    return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(trigger, name) for name in names}


class FileCollectionTrigger(BaseTrigger):
    """
    Wait until the processing of a collection has ended; yield a single event that says how.

    The event is a dictionary of ``status`` (``processed``, ``error``, ``cancelled``, ``timeout`` or ``failed``),
    ``workflow_id``, ``collection_id``, ``detail`` (why, in words), ``retryable`` and ``retry_after``.

    :param workflow_id: the workflow.
    :param collection_id: the collection.
    :param poll_interval: seconds between two looks; more where the rate limit wants it.
    :param deadline: when the wait is over, in seconds since the epoch.
    :param anyformat_conn_id: id of the connection. Default ``anyformat_default``.
    :param cancel_on_kill: whether the collection is deleted, and its processing thereby cancelled, when a user ends the
        deferred task; Airflow before 3.3 does not tell a trigger so. Default ``False``.
    """

    def __init__(
        self,
        workflow_id: str,
        collection_id: str,
        poll_interval: float,
        deadline: float,
        anyformat_conn_id: str = "anyformat_default",
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()
        self.workflow_id = workflow_id
        self.collection_id = collection_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.anyformat_conn_id = anyformat_conn_id
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class and parameters; there is no key among them."""
        return _serialized(
            self, "workflow_id", "collection_id", "poll_interval", "deadline", "anyformat_conn_id", "cancel_on_kill"
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        from airflow_provider_anyformat.api.runs import RunState
        from airflow_provider_anyformat.api.waits import Wait, as_event
        from airflow_provider_anyformat.exceptions import AnyformatError

        wait = Wait(self.workflow_id, self.collection_id, self.poll_interval, self.deadline)
        seen: RunState | AnyformatError
        try:
            waits = (await _connect(self.anyformat_conn_id)).shared_waits()
            seen = await waits.wait_for_end(wait)
        except AnyformatError as error:
            seen = error
        yield TriggerEvent(as_event(wait, seen))

    async def on_kill(self) -> None:
        """Delete the collection if that was asked for: a user ended the task while it was deferred."""
        if self.cancel_on_kill:
            await _cancel(self.anyformat_conn_id, [self.collection_id])


class FileCollectionsTrigger(BaseTrigger):
    """
    Wait until the processing of many collections has ended; yield a single event.

    The event is a dictionary of ``status`` (``done`` or ``failed``), ``began``, ``detail``, ``retryable`` and
    ``retry_after``; how each ended, the resumed task sees for itself.

    :param workflow_id: the workflow.
    :param collection_ids: the collections.
    :param poll_interval: seconds between two looks; more where the rate limit wants it.
    :param deadline: when the wait is over, in seconds since the epoch.
    :param began: when the try of the task began, likewise.
    :param anyformat_conn_id: id of the connection. Default ``anyformat_default``.
    :param cancel_on_kill: see :class:`FileCollectionTrigger`. Default ``False``.
    """

    def __init__(
        self,
        workflow_id: str,
        collection_ids: list[str],
        poll_interval: float,
        deadline: float,
        began: float,
        anyformat_conn_id: str = "anyformat_default",
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()
        self.workflow_id = workflow_id
        self.collection_ids = collection_ids
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.began = began
        self.anyformat_conn_id = anyformat_conn_id
        self.cancel_on_kill = cancel_on_kill
        self._waiting = set(collection_ids)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class and parameters; there is no key among them."""
        names = ("workflow_id", "collection_ids", "poll_interval", "deadline", "began")
        return _serialized(self, *names, "anyformat_conn_id", "cancel_on_kill")

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        from airflow_provider_anyformat.exceptions import AnyformatError

        event: dict[str, Any] = {"status": "done", "began": self.began}
        try:
            waits = (await _connect(self.anyformat_conn_id)).shared_waits()
            await waits.wait_for_all(self.workflow_id, self._waiting, self.poll_interval, self.deadline)
        except AnyformatError as error:
            event |= {"status": "failed", "detail": str(error)}
            event |= {"retryable": error.retryable, "retry_after": error.retry_after}
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Delete those still being processed, if that was asked for: the results of the others are yet to be stored."""
        if self.cancel_on_kill:
            await _cancel(self.anyformat_conn_id, sorted(self._waiting))


class WorkflowTrigger(BaseEventTrigger):
    """
    Yield an event for each collection of a workflow that became ``processed``: for an ``AssetWatcher``, Airflow 3.0 on.

    The event's payload is ``{"collection_id", "workflow_id", "processed_at"}``. What was processed before the first
    look ever gives no event. From Airflow 3.3 on, where it stands outlives a restart of the triggerer; before, what
    became processed while no triggerer ran gives no event.

    .. note::
        Each look reads the whole listing, for which anyformat has no filter: 100 collections a request.

    :param workflow_id: the workflow.
    :param poll_interval: seconds between two looks, at least 0.5. Default 60.
    :param anyformat_conn_id: id of the connection. Default ``anyformat_default``.
    """

    def __init__(
        self, workflow_id: str, poll_interval: float = 60.0, anyformat_conn_id: str = "anyformat_default"
    ) -> None:
        super().__init__()
        self.workflow_id = workflow_id
        self.poll_interval = poll_interval
        self.anyformat_conn_id = anyformat_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class and parameters; there is no key among them."""
        return _serialized(self, "workflow_id", "poll_interval", "anyformat_conn_id")

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the triggerer ends it; yield the events."""
        from airflow_provider_anyformat.api.news import News
        from airflow_provider_anyformat.exceptions import AnyformatError

        store, key = self._store(), f"anyformat_{self.workflow_id}"
        news = News(self.workflow_id, None if store is None else await store.aget(key))
        while True:
            try:
                waits = (await _connect(self.anyformat_conn_id)).shared_waits()
                payloads = news.of(await asyncio.to_thread(self._processed, waits.client))
            except AnyformatError as error:
                log.warning("Workflow %s could not be looked at: %s", self.workflow_id, error)
            else:
                for payload in payloads:
                    yield TriggerEvent(payload)
                if store is not None:
                    await store.aset(key, news.cursor)
            await asyncio.sleep(max(0.5, self.poll_interval))

    def _processed(self, client: AnyformatClient) -> list[tuple[str, datetime | None]]:
        """Return id and time of each processed collection; it blocks."""
        rows = client.iter_file_collections(self.workflow_id)
        return [(row.id, row.updated_at) for row in rows if row.status == "processed"]

    def _store(self) -> Any:
        """Return what outlives a restart: the store of the one watched asset, Airflow 3.3 on."""
        return getattr(self, "asset_state_store", None)
