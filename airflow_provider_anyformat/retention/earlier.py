"""What earlier tries of the same DAG run may have deleted: evidence for a 404, and part of what limits count."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.exceptions import AnyformatLedgerError, AnyformatStoppedError
from airflow_provider_anyformat.retention.evidence import Run, outcomes_of, planned_ids
from airflow_provider_anyformat.retention.ledger import encoded, task_folder
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.plan import Origin

# After these outcomes a 404 may be our own doing; a delete that certainly never left is "failed".
MAYBE_DELETED = frozenset({"deleted", "already_gone", "unknown"})
STORE_KEY = "anyformat_maybe_deleted"
# Characters: Airflow warns of values of more than 65,535 bytes. These are 1,500 UUIDs.
_LARGEST = 60_000
_TOO_MANY = "too many to name"

log = logging.getLogger(__name__)


class Store(Protocol):
    """What Airflow keeps for the later tries of a task: ``task_state_store``, from 3.3 on."""

    def get(self, key: str) -> Any:
        """Return what was kept, or ``None``."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value of JSON."""

    def delete(self, key: str) -> None:
        """Forget it."""


class Earlier:
    """
    What earlier tries of a DAG run may have deleted, and what the next one is to know of this one.

    A ledger says it by itself. Without one, or where the task may not list it, the store does: before the first delete
    it is told what may be deleted, and at the end what may have been.

    :param root: the ledger; ``None`` for a task without one.
    :param store: ``None`` where Airflow has none.
    :param origin: the try that asks.
    :raises AnyformatLedgerError: neither may be trusted, because one could not be read.
    """

    def __init__(self, root: Folder | None, store: Store | None, origin: Origin) -> None:
        ids = maybe_deleted(root, origin)
        self._store = store if ids is None else None
        self._kept: Any = None
        if self._store is not None:
            try:
                self._kept = self._store.get(STORE_KEY)
                ids = frozenset(self._kept if isinstance(self._kept, list) else ())
            except Exception as error:
                raise _out_of_reach("read", error) from error
        # Whether anything tells what earlier tries did, and whether it names each id.
        self.is_known = ids is not None
        self.names_all = self.is_known and (self._kept is None or isinstance(self._kept, list))
        self.ids = ids or frozenset[str]()

    @property
    def sent_nothing(self) -> bool:
        """Whether it is known that no delete of an earlier try can have taken effect."""
        return self.names_all and not self.ids

    def may_have_deleted(self, collection_id: str) -> bool:
        """Say whether an earlier try may have deleted a collection; if that is unknown, it may."""
        return not self.names_all or canonical_id(collection_id) in self.ids

    def before(self, ids: Iterable[str]) -> None:
        """
        Keep for the next try that these may be deleted from now on.

        :raises AnyformatLedgerError: it could not be kept: nothing may be deleted.
        """
        try:
            self._keep(ids)
        except Exception as error:
            raise _out_of_reach("written", error) from error

    def after(self, ids: Iterable[str]) -> None:
        """Keep for the next try that these, of those before, may have been deleted, and no others."""
        try:
            self._keep(ids)
        except Exception as error:  # noqa: BLE001 - what stands there says too much, and not too little
            log.warning("task_state_store could not be written: %s; a retry will think that more was deleted", error)

    def _keep(self, ids: Iterable[str]) -> None:
        if self._store is None:
            return
        all_ids = sorted(self.ids.union(map(canonical_id, ids)))
        is_short = self.names_all and sum(map(len, all_ids)) + 4 * len(all_ids) <= _LARGEST
        value = (all_ids or None) if is_short else _TOO_MANY
        if value == self._kept:
            return
        if value is None:
            self._store.delete(STORE_KEY)
        else:
            self._store.set(STORE_KEY, value)
        self._kept = value


def _out_of_reach(done: str, error: Exception) -> AnyformatLedgerError:
    return AnyformatLedgerError(
        f"task_state_store: what tries of this task may have deleted could not be {done}: {type(error).__name__}:"
        f" {error}. Nothing was deleted; a retry starts over"
    )


def maybe_deleted(root: Folder | None, origin: Origin) -> frozenset[str] | None:
    """
    Return the ids, in canonical form, that earlier tries of this DAG run may have deleted.

    :param root: the ledger; ``None`` for a task without one.
    :param origin: the try that asks.
    :return: ``None`` where that is unknown: there is no ledger, no task instance, or the task may not list it.
    :raises AnyformatLedgerError: the earlier tries could not be read.
    """
    if root is None or not origin.try_number:
        return None
    folder = root.folder(f"{task_folder(origin)}/{origin.map_index}/{encoded(origin.run_id)}")
    runs: dict[str, Run] = {}
    ids: set[str] = set()
    try:
        for name in folder.files():
            run, _, file = name.rpartition("/")
            number = run.partition("/")[0]
            if number.isdecimal() and int(number) < origin.try_number:
                runs.setdefault(run, Run(run)).files.append(file)
        for each_run in runs.values():
            outcomes = outcomes_of(folder, each_run)
            ids.update(each for each, outcome in outcomes.items() if outcome in MAYBE_DELETED)
            if not each_run.closed and PLAN_FILE in each_run.files:
                # It was killed, and may have deleted what it planned and has no outcome of.
                ids.update(set(planned_ids(folder.read(f"{each_run.name}/{ROWS_FILE}"))) - outcomes.keys())
    except PermissionError:
        return None
    except AnyformatStoppedError:
        raise
    except Exception as error:
        # Each object store has exceptions of its own.
        raise AnyformatLedgerError(
            f"ledger_path: the earlier tries in {folder.url} could not be read: {type(error).__name__}: {error}."
            " Nothing was deleted; see that the task may list and read its ledger"
        ) from error
    return frozenset(map(canonical_id, ids))
