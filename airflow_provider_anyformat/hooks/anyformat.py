"""The hook: an Airflow connection becomes a client."""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from airflow_provider_anyformat._airflow import AirflowNotFoundException, BaseHook, mask_secret
from airflow_provider_anyformat.api.address import check_api_key, check_base_url
from airflow_provider_anyformat.api.client import VERSIONS, AnyformatClient, DeleteOutcome
from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.api.runs import Document, RunState
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.api.waits import RESERVE, SharedWaits, Wait, wait_for_end
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatValueError
from airflow_provider_anyformat.get_provider_info import CONN_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING

# Beyond these a value is a mistake of unit, and some of them overflow a timer or a date.
_LARGEST = {"timeout": 86_400, "max_attempts": 1_000, "backoff": 86_400, "max_backoff": 86_400, "min_retention": 36_500}


# Seconds that a killed task has for the delete that cancels.
_CANCEL_WITHIN = 3.0


@dataclass(frozen=True)
class ConnectionSettings:
    """
    What an anyformat connection says, checked.

    :param api_key: the key; not part of the ``repr``.
    :param base_url: ``scheme://host[:port]``.
    :param timeout: seconds for connecting and for each wait on the answer.
    :param max_attempts: tries of one request, the first included.
    :param backoff: seconds before the second try.
    :param max_backoff: seconds, the longest single wait.
    :param min_retention: no purge may ask for a shorter age.
    :param api_version: ``"v2"`` or ``"v3"``.
    """

    api_key: str = field(repr=False)
    base_url: str
    timeout: float
    max_attempts: int
    backoff: float
    max_backoff: float
    min_retention: timedelta
    api_version: str


# Of each connection's settings: a changed connection has waits of its own.
_WAITS: WeakValueDictionary[ConnectionSettings, SharedWaits] = WeakValueDictionary()
_LOCK = threading.Lock()


class AnyformatHook(BaseHook):
    """
    Connect to anyformat with the API key and the settings of an Airflow connection.

    The connection is read once, by the first call that needs it, and checked before anything is sent. In a task, call
    :meth:`get_conn` in the main thread: other threads cannot ask Airflow for a connection.

    :param anyformat_conn_id: id of the connection, of type ``anyformat``. Default ``anyformat_default``.
    """

    conn_name_attr = "anyformat_conn_id"
    default_conn_name = "anyformat_default"
    conn_type = "anyformat"
    hook_name = "anyformat"

    def __init__(self, anyformat_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.anyformat_conn_id = anyformat_conn_id
        self._settings: ConnectionSettings | None = None
        self._client: AnyformatClient | None = None

    @property
    def settings(self) -> ConnectionSettings:
        """
        What the connection says.

        :raises AnyformatValueError: there is no such connection, or a field of it cannot be used.
        """
        if self._settings is None:
            self._settings = self._read_connection()
        return self._settings

    def get_conn(self) -> AnyformatClient:
        """
        Return the client for the connection; the same one each time.

        :raises AnyformatValueError: there is no such connection, or a field of it cannot be used.
        """
        if self._client is None:
            settings = self.settings
            self._client = AnyformatClient(
                settings.api_key,
                settings.base_url,
                timeout=settings.timeout,
                max_attempts=settings.max_attempts,
                backoff=settings.backoff,
                max_backoff=settings.max_backoff,
                api_version=settings.api_version,
            )
        return self._client

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        """
        Delete one file collection permanently.

        :param collection_id: the ``id`` that the upload or the run returned.
        :return: ``"deleted"``, or ``"already_gone"`` when an earlier try of this very call must have deleted it.
        :raises AnyformatError: it was not deleted, or it is not known whether it was (``fate_unknown``).
        """
        return self.get_conn().delete_file_collection(collection_id)

    def list_file_collections(self, workflow_id: str) -> list[FileCollection]:
        """
        Return all file collections of a workflow, each once.

        :param workflow_id: the workflow.
        :raises AnyformatListingError: the listing was not complete.
        :raises AnyformatError: the server refused, or did not answer.
        """
        return list(self.get_conn().iter_file_collections(workflow_id))

    def run_workflow(
        self,
        workflow_id: str,
        document_name: str,
        content: bytes,
        *,
        idempotency_key: str | None = None,
        resubmit: bool = False,
    ) -> str:
        """
        Submit a document for processing, once.

        :param workflow_id: the workflow.
        :param document_name: the file name that anyformat shows.
        :param content: 1 byte to 20 MiB.
        :param idempotency_key: says on version 3 of the API that a repeated call is the same one. Default: a new one.
        :param resubmit: whether, on version 2, a lost reply may be answered by a second submit, which may be billed
            twice. Default ``False``.
        :return: the collection's id.
        :raises AnyformatLostReplyError: a collection may exist whose id is unknown.
        :raises AnyformatError: it was refused, or could not be sent.
        """
        key = idempotency_key or secrets.token_hex(32)
        return self.get_conn().run_workflow(workflow_id, Document(document_name, content), key, resubmit=resubmit)

    def get_state(self, workflow_id: str, collection_id: str) -> RunState:
        """
        Ask once how the processing of a collection stands.

        :param workflow_id: the workflow.
        :param collection_id: the collection.
        :raises AnyformatError: the answer does not say.
        """
        return self.get_conn().look(workflow_id, collection_id)

    def wait_for_end(
        self, workflow_id: str, collection_id: str, *, poll_interval: float = 15.0, timeout: timedelta
    ) -> RunState:
        """
        Wait in this thread until the processing of a collection has ended.

        :param workflow_id: the workflow.
        :param collection_id: the collection.
        :param poll_interval: seconds between two polls. Default 15.
        :param timeout: how long.
        :return: how it ended; ``status`` is ``processed``, ``error`` or ``cancelled``.
        :raises AnyformatTimeoutError: it did not end in time.
        :raises AnyformatError: the server's final word, such as HTTP 401; errors that pass do not end the wait.
        """
        wait = Wait(workflow_id, collection_id, poll_interval, time.time() + timeout.total_seconds())
        return wait_for_end(self.get_conn().paced(RESERVE), wait)

    def get_results(self, workflow_id: str, collection_id: str) -> bytes:
        """
        Return the results of a collection, as received.

        :param workflow_id: the workflow.
        :param collection_id: the collection.
        :raises AnyformatNotReadyError: the processing has not ended yet.
        :raises AnyformatNoResultsError: there will be none.
        """
        return self.get_conn().get_results(workflow_id, collection_id)

    def cancel(self, collection_ids: Sequence[str]) -> None:
        """
        Delete collections within three seconds, which cancels their processing; tell the log of what fails.

        It is for a task that is being killed, whose client sends nothing more.
        """
        with self.get_conn().again(timeout=2.0, max_attempts=2, backoff=0.1) as client:
            timer = threading.Timer(_CANCEL_WITHIN, client.stop, kwargs={"grace": 0.0})
            timer.start()

            def cancel(collection_id: str) -> None:
                try:
                    outcome = client.delete_file_collection(collection_id)
                    self.log.info("Collection %s: %s, which cancels its processing", collection_id, outcome)
                except AnyformatError as error:
                    self.log.warning("Collection %s may go on: %s", collection_id, error)

            try:
                with ThreadPoolExecutor(8) as pool:
                    list(pool.map(cancel, collection_ids))
            finally:
                timer.cancel()

    def shared_waits(self) -> SharedWaits:
        """Return what all deferred waits on this connection share in this process."""
        with _LOCK:
            waits = _WAITS.get(self.settings)
            if waits is None:
                waits = _WAITS[self.settings] = SharedWaits(self.get_conn())
            return waits

    def test_connection(self) -> tuple[bool, str]:
        """
        Ask the server for one workflow, which takes a valid key.

        :return: whether it answered as it should, and a sentence for the person who pressed the button.
        """
        try:
            client = self.get_conn()
            client.check_key()
        except AnyformatError as error:
            return False, str(error)
        return True, f"{client.base_url} accepts the API key"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the standard fields' labels for Airflow before 3.2; later ones read provider info."""
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra's fields for Airflow before 3.2; later ones read provider info."""
        # Only what asks for the form has these, and Airflow 3.1 puts stand-ins in their place while it asks.
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import IntegerField, StringField
        from wtforms.validators import Optional

        widgets = {}
        for name, entry in CONN_FIELDS.items():
            default = entry["schema"]["default"]
            whole = "integer" in entry["schema"]["type"]
            widgets[name] = (IntegerField if whole else StringField)(
                lazy_gettext(entry["label"]),
                validators=[Optional()],
                description=entry["description"],
                default=default if whole else str(default),
                widget=BS3TextFieldWidget(),
            )
        return widgets

    def _read_connection(self) -> ConnectionSettings:
        connection = read_connection(
            self.anyformat_conn_id, "anyformat_conn_id", "create it with type anyformat and the API key as its password"
        )
        if connection.conn_type and connection.conn_type != self.conn_type:
            # Its password is another service's secret, and would be sent to this one.
            raise AnyformatValueError(
                f"anyformat_conn_id: the connection {shown(self.anyformat_conn_id)} is of type"
                f" {shown(connection.conn_type)}; name one of type anyformat"
            )
        extra = self._read_extra(connection.extra)
        return ConnectionSettings(
            api_key=check_api_key(connection.password, "password"),
            base_url=check_base_url(connection.host, schema=connection.schema, port=connection.port),
            timeout=_number(extra, "timeout"),
            max_attempts=int(_number(extra, "max_attempts", whole=True)),
            backoff=_number(extra, "backoff"),
            max_backoff=_number(extra, "max_backoff"),
            min_retention=timedelta(days=_number(extra, "min_retention")),
            api_version=_api_version(extra),
        )

    def _read_extra(self, text: str | None) -> dict[str, Any]:
        if text is None or not text.strip():
            return {}
        try:
            extra = json.loads(text)
        except (ValueError, RecursionError):
            extra = None
        if not isinstance(extra, dict):
            raise AnyformatValueError(
                "extra: it is not a JSON object (its text is not shown, it might hold a secret); write it as"
                ' {"timeout": 30}, or leave it empty'
            )
        for name in sorted(set(extra) - set(CONN_FIELDS)):
            self.log.warning(
                "Connection %s: extra has the unknown key %s, which is ignored; known are %s",
                self.anyformat_conn_id,
                shown(name, 60),
                ", ".join(CONN_FIELDS),
            )
        return extra


def _api_version(extra: Mapping[str, Any]) -> str:
    value = extra.get("api_version")
    if value is None or (isinstance(value, str) and not value.strip()):
        return str(CONN_FIELDS["api_version"]["schema"]["default"])
    version = value.strip() if isinstance(value, str) else value
    if not isinstance(version, str) or version not in VERSIONS:
        raise AnyformatValueError(
            f"extra api_version: {shown(value)} is not a version of the API; give {' or '.join(VERSIONS)}, or leave it"
            " empty for v2"
        )
    return version


def read_connection(conn_id: str, field: str, way_out: str) -> Any:
    """
    Read a connection, and hide its password from every log.

    :param conn_id: its id.
    :param field: the parameter that names it, for the message.
    :param way_out: how to make one, for the message.
    :raises AnyformatValueError: there is no such connection.
    """
    try:
        connection = AnyformatHook.get_connection(conn_id)
    except AirflowNotFoundException:
        connection = None
    if connection is None:
        raise AnyformatValueError(
            f"{field}: there is no connection {shown(conn_id)} that Airflow can read; {way_out}, or name another one",
            # A secrets backend that fails for a moment looks the same.
            retryable=True,
        )
    if connection.password:
        mask_secret(connection.password)
    return connection


def _number(extra: Mapping[str, Any], name: str, *, whole: bool = False) -> float:
    value = extra.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return float(CONN_FIELDS[name]["schema"]["default"])
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= _LARGEST[name] or (whole and number != int(number)):
        raise AnyformatValueError(
            f"extra {name}: {shown(value)} is not a {'whole ' if whole else ''}number above 0 and up to"
            f" {_LARGEST[name]}; give one, or leave it empty for {CONN_FIELDS[name]['schema']['default']}"
        )
    return number
