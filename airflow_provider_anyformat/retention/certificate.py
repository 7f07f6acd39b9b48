"""What became of one collection, or in one run, put together for whoever was not there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.retention.evidence import Run, in_order, load_run, open_ledger, reading, rows_of
from airflow_provider_anyformat.retention.plan import HELD_FILE, PLAN_FILE, ROWS_FILE, SUMMARY_FILE, utc_text
from airflow_provider_anyformat.retention.signing import SIGNATURE_FILE
from airflow_provider_anyformat.retention.stored_plan import duration_of

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.verification import Report

_COUNTS = ("listed", "due", "deleted", "already_gone", "failed", "not_attempted", "kept")
_PLAN = (
    "service",
    "workflows",
    "policy",
    "cutoff",
    "guards",
    "owner",
    "basis",
    "holds",
    "approved_by",
    "applied_plan",
    "made_at",
)
# A row of held.jsonl has less to say than one of an outcome.
_RECORD = dict.fromkeys(
    ("workflow_id", "http_status", "error_code", "request_id", "deleted_at", "server_date", "case")
) | {"outcome": "held", "attempts": 0}
_ORIGIN = ("dag", "task", "run", "try", "provider_version")


def certify_run(folder: Folder, name: str, report: Report) -> dict[str, Any] | None:
    """
    Return the certificate of a run.

    :param folder: the ledger.
    :param name: the run's folder below it, or its address.
    :param report: what verifying the ledger found.
    :return: ``None`` where there is no such run.
    """
    runs = open_ledger(folder)
    wanted = name.rstrip("/").removeprefix(f"{folder.url}/")
    if wanted not in runs:
        return None
    return _certificate(folder, runs[wanted], report, collection=None)


def certify_collection(folder: Folder, collection_id: str, report: Report) -> dict[str, Any] | None:
    """
    Return the certificate of a collection: of the run that deleted it, otherwise of the last that has a record of it.

    :param folder: the ledger.
    :param collection_id: its id, as a run recorded it.
    :param report: what verifying the ledger found.
    :return: ``None`` where no run has a record of it.
    """
    runs = open_ledger(folder)
    records: list[tuple[Run, dict[str, Any]]] = []
    with reading(folder):
        ordered = in_order(runs)
        # As it is written as a rule first: only where that is nowhere has each row to be read.
        for every_row in (False, True):
            for run in () if records else ordered:
                records += [(run, record) for record in _records(folder, run, collection_id, every_row)]
        if not records:
            return None
        deleted = [each for each in records if each[1]["outcome"] == "deleted"]
        run, record = (deleted or records)[-1]
        collection = record | {"planned": _row(folder, run, ROWS_FILE, record["collection_id"])}
    others = [{"run": each.name, "outcome": other["outcome"]} for each, other in records if other is not record]
    return _certificate(folder, run, report, collection | {"other_records": others})


def _records(folder: Folder, run: Run, collection_id: str, every_row: bool) -> Iterator[dict[str, Any]]:
    for file in (HELD_FILE, *run.parts):
        row = _row(folder, run, file, collection_id, every_row)
        if row is not None:
            yield _RECORD | row | {"file": file}


def _row(folder: Folder, run: Run, file: str, collection_id: str, every_row: bool = False) -> dict[str, Any] | None:
    """Return the last row of a file that is of one collection."""
    data = folder.read(f"{run.name}/{file}") if file in run.files else b""
    # A ledger may have a million rows, and one of them is wanted.
    if not every_row and not any(each in data for each in _spellings(collection_id)):
        return None
    wanted = canonical_id(collection_id)
    found = [row for row in rows_of(data) if canonical_id(row["collection_id"]) == wanted]
    return found[-1] if found else None


def _spellings(collection_id: str) -> set[bytes]:
    """Return how an id is written as a rule; another spelling is found only by reading each row."""
    canonical = canonical_id(collection_id)
    forms = (canonical, canonical.replace("-", ""))
    return {collection_id.encode()} | {each.encode() for form in forms for each in (form, form.upper())}


def _certificate(folder: Folder, run: Run, report: Report, collection: dict[str, Any] | None) -> dict[str, Any]:
    with reading(folder):
        load_run(folder, run)
        files = {name: hashlib.sha256(folder.read(f"{run.name}/{name}")).hexdigest() for name in run.files}
    problems = report.as_json()["problems"]
    signed_by = run.summary.get("signed_by")
    return {
        "certificate": "run" if collection is None else "collection",
        "made_at": utc_text(datetime.now(UTC).replace(microsecond=0)),
        "made_by": f"airflow-provider-anyformat {__version__}",
        "ledger": folder.url,
        "whole": whole(report, run.name),
        "problems": problems,
        "heads": report.heads,
        "collection": collection,
        "run": {
            "folder": run.name,
            "closed": run.closed,
            **{key: run.plan.get(key) for key in _ORIGIN},
        },
        "plan": {key: run.plan.get(key) for key in _PLAN}
        | {"digest": run.plan.get("digest"), "policy_in_words": policy_words(run.plan.get("policy"))},
        "counts": {key: run.summary.get(key) for key in _COUNTS} if run.closed else None,
        "hashes": {
            "summary_sha256": run.summary_sha256 or None,
            "previous": run.summary.get("previous"),
            "files": files,
        },
        "signature": None if signed_by is None else {"signed_by": signed_by, "file": SIGNATURE_FILE},
        "proves": _proves(run, collection),
        "does_not_prove": _does_not_prove(signed_by),
    }


def whole(report: Report, run: str) -> bool:
    """Say whether a ledger is as it was written; a run that did not end speaks against itself alone."""
    return all(each.problem == "unclosed" and each.run != run for each in report.problems)


def policy_words(policy: dict[str, Any] | None) -> str:
    """Say a policy, as ``plan.json`` has it, in a sentence."""
    if policy is None:
        return "the ids that the task was given"
    statuses, older_than = " or ".join(policy["statuses"]), _age(policy["older_than"])
    words = [f"{statuses} collections older than {older_than} by {policy['age_by']} on {policy['reference_time']}"]
    if policy["include_names"]:
        words.append(f"whose names match one of {policy['include_names']} patterns")
    if policy["exclude_names"]:
        words.append(f"but not those whose names match one of {policy['exclude_names']} patterns")
    if policy["keep_last"]:
        words.append(f"except the newest {policy['keep_last']} of each workflow")
    if policy["exclude_collection_ids"]:
        number = len(policy["exclude_collection_ids"])
        words.append(f"except {number} id{'' if number == 1 else 's'} on hold")
    return ", ".join(words)


def _age(older_than: str) -> str:
    age = duration_of(older_than)
    if age % timedelta(days=1):
        return f"{age / timedelta(hours=1):g} hours"
    return f"{age.days} day{'' if age.days == 1 else 's'}"


def _proves(run: Run, collection: dict[str, Any] | None) -> list[str]:
    task, dag = run.plan.get("task"), run.plan.get("dag")
    said = [f"The task {task} of the DAG {dag} wrote its plan, whose digest stands above, before it deleted anything."]
    if collection is None:
        said.append("The counts are those of the outcomes that the run wrote as they happened.")
    elif collection["outcome"] == "deleted":
        said.append(
            "anyformat answered this collection's delete with HTTP 204 at the time stated above: it is deleted."
        )
    elif collection["outcome"] == "held":
        said.append(f"The collection was kept, because it was on hold for the case {collection['case']}.")
    elif collection["outcome"] in ("already_gone", "gone_unconfirmed"):
        said.append("The collection was no longer there when the run came to it; this run did not delete it.")
    else:
        said.append("This run did not delete the collection, or does not know that it did.")
    if run.summary.get("previous") is not None:
        said.append("The run names the runs of its task before it by their hashes, so that removing one is noticed.")
    return said


def _does_not_prove(signed_by: str | None) -> list[str]:
    said = ["What anyformat does behind its answer, and what became of backups there."]
    if signed_by is None:
        said.append(
            "That the record was not rewritten: it is self-attested. There is no signature, and whoever may write to"
            f" the folder may write all of it. Compare the hash of {SUMMARY_FILE} with the one in the task log."
        )
    else:
        said.append(
            f"Whose key the signature is: compare the SHA-256 of the public key, and check {SIGNATURE_FILE} with"
            " anyformat-retention verify --public-key."
        )
    said.append(
        f"That clocks were right: the times in {PLAN_FILE} and of deletes are the worker's; the Date is anyformat's."
    )
    return said
