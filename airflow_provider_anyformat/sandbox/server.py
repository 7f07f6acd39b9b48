"""The sandbox itself: the routes behind a real socket on loopback, and the handles a test needs."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from airflow_provider_anyformat.sandbox.access import Access
from airflow_provider_anyformat.sandbox.app import create_app
from airflow_provider_anyformat.sandbox.faults import KINDS, TRANSIENT
from airflow_provider_anyformat.sandbox.gate import Gate
from airflow_provider_anyformat.sandbox.rows import NOT_GIVEN, Moment, NotGiven
from airflow_provider_anyformat.sandbox.runner import HOST, Runner
from airflow_provider_anyformat.sandbox.settings import RequestRecord, Settings
from airflow_provider_anyformat.sandbox.state import State
from airflow_provider_anyformat.sandbox.wire import Connections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["KINDS", "TRANSIENT", "RequestRecord", "Sandbox"]


@dataclass(kw_only=True, eq=False, repr=False)
class Sandbox(Settings):
    """
    A local anyformat server with the published behaviour, on loopback only and with nothing on disk.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. It begins empty: :meth:`add_workflow`,
    :meth:`fill` and :meth:`add_collection` put something there. Every method may be called from any thread, and every
    setting (see :class:`~airflow_provider_anyformat.sandbox.settings.Settings`) may be changed by assignment.

    .. code-block:: python

        with Sandbox(rate_limit=None) as sandbox:
            workflow_id = sandbox.add_workflow()
            ids = sandbox.fill(workflow_id, 300)
            sandbox.fail_rate(0.2, method="DELETE")
            ...  # run the DAG with sandbox.conn_env() in its environment
            assert sandbox.deleted == dict.fromkeys(ids, 1)

    :param port: where to listen; default 0, any free port.
    """

    port: int = 0

    def __post_init__(self) -> None:
        self._state = State(self)
        self._runner: Runner | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Sandbox at {self.url}>"

    def start(self) -> Self:
        """
        Listen, and return once requests are answered. After :meth:`stop` it goes on at the same port.

        :raises OSError: the port is taken.
        """
        if self._runner is None:
            connections = Connections()
            gate = Gate(Access(create_app(), self._state), self._state, connections)
            self._runner = Runner(gate, connections, self.port)
            self.port = self._runner.port
        return self

    def stop(self) -> None:
        """Drop every connection, answer nothing more, and return when the port is free. A second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop()

    @property
    def url(self) -> str:
        """The base URL, such as ``http://127.0.0.1:40123``."""
        return f"http://{HOST}:{self.port}"

    def conn_json(self, extra: Mapping[str, Any] | None = None) -> str:
        """
        Return an Airflow connection to this sandbox as JSON.

        :param extra: the connection's extra, such as ``{"timeout": 5}``; default: empty.
        """
        connection: dict[str, Any] = {"conn_type": "anyformat", "host": self.url, "password": self.key}
        if extra:
            connection["extra"] = dict(extra)
        return json.dumps(connection)

    def conn_env(self, extra: Mapping[str, Any] | None = None, conn_id: str = "anyformat_default") -> dict[str, str]:
        """
        Return the environment variable that holds :meth:`conn_json`, for ``os.environ`` or a subprocess.

        :param extra: the connection's extra; default: empty.
        :param conn_id: its id, default ``anyformat_default``.
        """
        return {f"AIRFLOW_CONN_{conn_id.upper()}": self.conn_json(extra)}

    def add_workflow(self, id: str | None = None, name: str = "workflow") -> str:  # noqa: A002 - the API's name
        """
        Add a workflow; return its id.

        :param id: default: a new UUID.
        :param name: default ``workflow``.
        """
        return self._state.add_workflow(id, name)

    def add_collection(
        self,
        workflow_id: str,
        *,
        id: str | None = None,  # noqa: A002 - the API's name
        name: str | None = "document.pdf",
        status: str = "processed",
        created_at: Moment | NotGiven = NOT_GIVEN,
        updated_at: Moment | NotGiven = NOT_GIVEN,
        file_id: str | None = None,
    ) -> str:
        """
        Add one collection; return its id.

        :param workflow_id: where.
        :param id: default: a new UUID.
        :param name: may be ``None``.
        :param status: stays as it is; default ``processed``.
        :param created_at: default now. Text is sent as it is, also where it is not a timestamp, ``None`` as
            ``null``.
        :param updated_at: likewise; default: as ``created_at``.
        :param file_id: default: one of its own, if ``file_ids`` is set.
        """
        return self._state.add(
            workflow_id,
            collection_id=id,
            name=name,
            status=status,
            created_at=created_at,
            updated_at=updated_at,
            file_id=file_id,
        ).id

    def fill(
        self,
        workflow_id: str,
        n: int,
        *,
        status: str = "processed",
        name: str | None = "document-{}.pdf",
        created_at: datetime | None = None,
        step: timedelta = timedelta(),
    ) -> list[str]:
        """
        Add ``n`` collections, fast; return their ids, in the order they were made. A million take some seconds.

        :param workflow_id: where.
        :param n: how many.
        :param status: of each, default ``processed``.
        :param name: of each; ``{}`` becomes its number.
        :param created_at: of the first, default now.
        :param step: by how much each is younger than the one before; default 0.
        """
        return self._state.fill(
            workflow_id, n, status=status, name=name, created_at=created_at or self._state.now(), step=step
        )

    def update_collection(
        self,
        id: str,  # noqa: A002 - the API's name
        *,
        status: str | NotGiven = NOT_GIVEN,
        name: str | NotGiven | None = NOT_GIVEN,
        created_at: Moment | NotGiven = NOT_GIVEN,
        updated_at: Moment | NotGiven = NOT_GIVEN,
    ) -> None:
        """Change only the given fields of a collection; ``KeyError`` if it does not exist."""
        fields = {"status": status, "name": name, "created_at": created_at, "updated_at": updated_at}
        given = {key: value for key, value in fields.items() if not isinstance(value, NotGiven)}
        self._state.update(id, **given)

    def remove_collection(self, id: str) -> None:  # noqa: A002 - the API's name
        """Make a collection vanish as if another user had deleted it; :attr:`deleted` does not count it."""
        self._state.remove(id)

    def collections(self, workflow_id: str) -> list[dict[str, Any]]:
        """Return every collection of a workflow, as its listing would show it."""
        with self._state.lock:
            page = self._state.page(workflow_id, 1, max(self._state.workflow(workflow_id).count, 1))
        rows: list[dict[str, Any]] = page["results"]
        return rows

    def exists(self, id: str) -> bool:  # noqa: A002 - the API's name
        """Say whether a collection is there."""
        return id in self._state.rows

    def __contains__(self, id: object) -> bool:  # noqa: A002 - the API's name
        """Say whether a collection is there."""
        return id in self._state.rows

    @property
    def created(self) -> list[str]:
        """The ids of the collections that were made over the API, in order; what a test put there is left out."""
        with self._state.lock:
            return list(self._state.created)

    @property
    def submitted(self) -> dict[str, int]:
        """How often a document of each name was stored, by the server's own count, whether or not it was run."""
        with self._state.lock:
            return dict(self._state.submitted)

    @property
    def started(self) -> dict[str, int]:
        """How many runs of each collection began, by the server's own count; each of them would be billed."""
        with self._state.lock:
            return dict(self._state.started)

    @property
    def deleted(self) -> dict[str, int]:
        """How often a delete of each id took effect, by the server's own count."""
        with self._state.lock:
            return dict(self._state.deleted)

    @property
    def cancelled(self) -> set[str]:
        """The ids whose processing was cancelled by a delete."""
        with self._state.lock:
            return set(self._state.cancelled)

    def add_key(self, key: str) -> None:
        """Take ``key`` too: another one of the same organisation."""
        self._state.extra_keys.add(key)

    def revoke_key(self, key: str | None = None) -> None:
        """Answer 401 to a key from now on; default: to :attr:`key`."""
        self._state.revoked_keys.add(key or self.key)

    def replace_key(self) -> str:
        """Make a new key and revoke the one before, as anyformat may do; return the new one."""
        self.revoke_key()
        self.key = f"af_{secrets.token_hex(16)}"
        return self.key

    def deny_scope(self, scope: str | None = "files:delete", method: str = "DELETE") -> None:
        """
        Let the key lack a scope: requests of a method get 403 ``insufficient_api_key_scope``.

        :param scope: named in the answer; ``None`` gives it back.
        :param method: default ``DELETE``.
        """
        if scope is None:
            self._state.denied_scopes.pop(method, None)
        else:
            self._state.denied_scopes[method] = scope

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests that arrived, oldest first, without those to ``/_sandbox/``."""
        return list(self._state.log)

    def requests_to(self, method: str | None = None, path: str | None = None) -> list[RequestRecord]:
        """
        Return the requests of a method, or to a path.

        :param method: default: any.
        :param path: a regular expression that is searched in the path; default: any.
        """
        return [
            record
            for record in self.requests
            if (method is None or record.method == method.upper()) and (path is None or re.search(path, record.path))
        ]

    def clear_requests(self) -> None:
        """Forget the requests that arrived."""
        self._state.log.clear()

    def fail_next(
        self,
        k: int = 1,
        kind: str | int = "status",
        *,
        method: str | None = None,
        path: str | None = None,
        **changes: Any,
    ) -> None:
        """
        Let the next ``k`` matching requests go wrong, in the order of the calls.

        Kinds: ``status`` (a number is short for it), ``html`` (a gateway's page), ``gateway_404``, ``redirect``;
        ``reset_before`` and ``reset_after`` the request took effect, ``close_before`` and ``close_after`` likewise
        without a reset; ``slow`` (took effect, then a pause), ``drip_head`` and ``drip_body`` (byte by byte),
        ``truncated`` (half of the body), ``huge`` (a body of 200 MB), ``early_hints`` (103 before the answer),
        ``stray_body`` (bytes behind the answer, such as a body on a 204) and ``garbage`` (not HTTP; ``body`` is sent as
        it is).

        :param k: how many, default 1.
        :param kind: default ``status``, with 503.
        :param method: default: any.
        :param path: a regular expression that is searched in the path; default: any.
        :param changes: fields of :class:`~airflow_provider_anyformat.sandbox.faults.Fault`, such as ``status``,
            ``headers``, ``body`` or ``delay``, where they differ from the kind's defaults.
        :raises ValueError: there is no such kind or field, or ``k`` is below 1.
        """
        self._state.faults.next(k, kind, method=method, path=path, **changes)

    def fail_rate(
        self,
        fraction: float,
        kinds: Sequence[str | int] = TRANSIENT,
        *,
        seed: int = 0,
        method: str | None = None,
        path: str | None = None,
        **changes: Any,
    ) -> None:
        """
        Let a share of the matching requests go wrong, each kind as often as any other, until :meth:`clear_faults`.

        :param fraction: more than 0 and at most 1.
        :param kinds: as in :meth:`fail_next`; default: all but ``redirect``, and the statuses worth another try.
        :param seed: of the dice, default 0.
        :param method: default: any.
        :param path: a regular expression that is searched in the path; default: any.
        :param changes: as in :meth:`fail_next`, of each kind.
        :raises ValueError: there is no such kind or field, or the fraction is not valid.
        """
        self._state.faults.rate(fraction, kinds, seed=seed, method=method, path=path, **changes)

    def fail_document(self, name: str, status: Literal["error", "cancelled"] = "error", detail: str = "") -> None:
        """
        Let every run of a document that begins from now on end badly, until :meth:`clear_faults`.

        :param name: the document's name as it was submitted, or a pattern such as ``scan-*.pdf``.
        :param status: what the run ends as, default ``error``.
        :param detail: the server's words about it; default: a sentence that goes with the status.
        """
        self._state.failing.append((name, status, detail))

    def clear_faults(self) -> None:
        """Remove all faults, of requests and of documents."""
        self._state.faults.clear()
        self._state.failing.clear()
