"""What earlier tries of the same DAG run may have deleted, as the ledger has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyformat.api.models import canonical_id
from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.evidence import Run, outcomes_of, planned_ids
from airflow_provider_anyformat.retention.ledger import encoded, task_folder
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.plan import Origin

# Outcomes of which a delete was sent that may have taken effect; a refused connection is "failed".
_SENT = frozenset({"deleted", "unknown"})


def maybe_deleted(root: Folder | None, origin: Origin) -> frozenset[str] | None:
    """
    Return the ids, in canonical form, that earlier tries of this DAG run may have deleted.

    :param root: the ledger; ``None`` for a task without one.
    :param origin: the try that asks.
    :return: ``None`` where nobody knows: there is no ledger, no task instance, or the task may not list it.
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
            ids.update(each for each, outcome in outcomes.items() if outcome in _SENT)
            if not each_run.closed and PLAN_FILE in each_run.files:
                # It was killed, and may have deleted what it planned and has no outcome of.
                ids.update(set(planned_ids(folder.read(f"{each_run.name}/{ROWS_FILE}"))) - outcomes.keys())
    except PermissionError:
        return None
    except Exception as error:
        # Each object store has exceptions of its own.
        raise AnyformatLedgerError(
            f"ledger_path: the earlier tries in {folder.url} could not be read: {type(error).__name__}: {error}."
            " Nothing was deleted; see that the task may list and read its ledger"
        ) from error
    return frozenset(map(canonical_id, ids))
