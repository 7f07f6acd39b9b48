"""Whether a ledger is whole: every hash, count and link of it computed again."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.retention.evidence import (
    Run,
    add_outcomes,
    as_object,
    find_runs,
    in_order,
    no_progress,
    planned_ids,
    reading,
)
from airflow_provider_anyformat.retention.ledger import OUTCOMES
from airflow_provider_anyformat.retention.plan import PLAN_FILE, ROWS_FILE, SUMMARY_FILE, canonical, digest_of
from airflow_provider_anyformat.retention.reasons import KEPT_AFTER_ALL
from airflow_provider_anyformat.retention.signing import SIGNATURE_FILE, PublicKey

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder

# A ledger that is being written is looked at this often before what does not fit together is believed.
_LOOKS = 3
_SIGNATURE_BYTES = 64
_NAMED = 5
# dag / task / map index / run / try / random digits: what a copied ledger keeps of its place.
_DEPTH = 6
# Counts of a summary, and the outcomes that are counted there.
_COUNTED = {
    "deleted": ("deleted",),
    "already_gone": ("already_gone", "gone_unconfirmed"),
    "failed": ("failed", "unknown"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something that is not as it was written.

    :param run: the folder below the ledger's; empty for a problem of the ledger as a whole.
    :param problem: which kind.
    :param detail: a sentence.
    """

    run: str
    problem: str
    detail: str


@dataclass(slots=True)
class Report:
    """
    What :func:`verify` found.

    :param runs: how many runs planned something.
    :param collections: of how many different ids an outcome is on record.
    :param heads: the hashes of the summaries that no other run names.
    :param not_chained: how many closed runs name no earlier one because they are of a release that did not.
    :param problems: what is not as it was written.
    """

    runs: int = 0
    collections: int = 0
    heads: list[str] = field(default_factory=list)
    not_chained: int = 0
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        return {
            "ok": not self.problems,
            "runs": self.runs,
            "collections": self.collections,
            "heads": self.heads,
            "not_chained": self.not_chained,
            "problems": [{"run": each.run, "problem": each.problem, "detail": each.detail} for each in self.problems],
        }


def verify(
    folder: Folder,
    heads: Sequence[str] = (),
    public_key: PublicKey | None = None,
    progress: Callable[[int, int], None] = no_progress,
) -> Report:
    """
    Compute everything in a ledger again.

    :param folder: the ledger.
    :param heads: hashes of summaries that must be in it.
    :param public_key: the key that signed its summaries.
    :param progress: told how many of how many runs are done.
    :raises AnyformatValueError: there is no ledger, or it cannot be read.
    """
    with reading(folder):
        for look in range(1, _LOOKS + 1):
            runs = find_runs(folder)
            listed = {name: list(run.files) for name, run in runs.items()}
            report = _Verification(folder, runs, public_key).report(heads, progress)
            # Files that came while it was read explain what does not fit together.
            if not report.problems or look == _LOOKS:
                break
            if listed == {name: run.files for name, run in find_runs(folder).items()}:
                break
    return report


class _Verification:
    """One look at all runs of a ledger."""

    def __init__(self, folder: Folder, runs: dict[str, Run], public_key: PublicKey | None) -> None:
        self._folder = folder
        self._runs = runs
        self._public_key = public_key
        self._problems: list[Problem] = []
        self._ids = array("q")
        # What a later run says of a run that was killed: the SHA-256 of its files, by run; by which workflows.
        self._settled: dict[str, dict[str, str]] = {}
        self._settled_for: dict[str, set[str]] = {}

    def report(self, heads: Sequence[str], progress: Callable[[int, int], None]) -> Report:
        for run in self._runs.values():
            self._note_settled(run)
        for number, run in enumerate(self._runs.values()):
            progress(number, len(self._runs))
            self._check(run)
        closed = [run for run in self._runs.values() if run.closed]
        hashes = {run.summary_sha256: run for run in closed}
        self._check_chain(closed, hashes)
        if self._public_key is not None:
            self._check_unsigned(hashes)
        for head in heads:
            if head not in hashes:
                self._add("", "unknown_head", f"no run has a summary.json with the SHA-256 {head}: the end is missing")
        named = {each for run in closed for each in run.previous if hashes.get(each) is not run}
        return Report(
            runs=sum(PLAN_FILE in run.files for run in self._runs.values()),
            collections=len(set(self._ids)),
            heads=sorted(set(hashes) - named),
            not_chained=sum("previous" not in run.summary for run in closed),
            problems=self._problems,
        )

    def _add(self, run: str, problem: str, detail: str) -> None:
        self._problems.append(Problem(run, problem, detail))

    def _read(self, run: Run, name: str) -> bytes:
        return self._folder.read(f"{run.name}/{name}")

    def _note_settled(self, run: Run) -> None:
        for mark in run.settled(self._folder):
            name = mark.folder
            if mark.sha256:
                self._settled.setdefault(name, {}).update(mark.sha256)
            self._settled_for.setdefault(name, set()).update(mark.left)
            if name not in self._runs:
                self._add(name, "missing", f"run {run.name} settled it, and the folder is not there")

    def _check(self, run: Run) -> None:
        hashes = self._check_summary(run) if run.closed else self._check_killed(run)
        planned = self._check_plan(run, hashes)
        outcomes = self._check_outcomes(run, hashes)
        for name in run.files:
            if name not in (PLAN_FILE, ROWS_FILE, SUMMARY_FILE, SIGNATURE_FILE) and name not in run.parts:
                self._check_hash(run, name, self._read(run, name), hashes)
        for name in sorted(hashes.keys() - set(run.files)):
            self._add(run.name, "missing", f"{name} is not there")
        self._ids.extend(map(hash, map(canonical_id, outcomes)))
        self._check_ids(run, planned, outcomes)
        if run.closed:
            self._check_counts(run, planned, outcomes)
        # What the other runs need to know of it; a ledger may have many.
        run.plan = {"made_at": run.plan.get("made_at")}
        run.summary = {key: run.summary[key] for key in ("previous", "signed_by") if key in run.summary}

    def _check_summary(self, run: Run) -> dict[str, str]:
        """Check what a summary says of itself; return what it says of the other files."""
        data = self._read(run, SUMMARY_FILE)
        run.summary, run.summary_sha256 = as_object(data), hashlib.sha256(data).hexdigest()
        summary = run.summary
        if not _as_written(summary, data):
            self._add(run.name, "changed", f"{SUMMARY_FILE} is not as it was written")
        elif {"previous", "digest"} & summary.keys() and summary.get("digest") != digest_of(summary):
            self._add(run.name, "changed", f"{SUMMARY_FILE} does not have the digest that it names")
        elif not _same_place(summary.get("ledger"), run.name):
            self._add(run.name, "changed", f"it was written as {summary.get('ledger')}: the folder was moved")
        if "signed_by" in summary:
            self._check_signature(run, data)
        elif SIGNATURE_FILE in run.files:
            self._add(run.name, "changed", f"{SIGNATURE_FILE} is there, and the summary names no key")
        hashes = summary.get("sha256")
        return hashes if isinstance(hashes, dict) else {}

    def _check_killed(self, run: Run) -> dict[str, str]:
        if PLAN_FILE not in run.files and not run.parts:
            # Killed before its plan was whole, or just begun: it deleted nothing.
            return {}
        plan = as_object(self._read(run, PLAN_FILE)) if PLAN_FILE in run.files else {}
        by = self._settled_for.get(run.name, set())
        # A later run settles what it was of its own workflows.
        if not by or not by.issuperset(plan.get("workflows", ())):
            self._add(
                run.name,
                "unclosed",
                f"it has no {SUMMARY_FILE}: it was killed and no later run settled it, or it goes on",
            )
        return self._settled.get(run.name, {})

    def _check_signature(self, run: Run, data: bytes) -> None:
        signed_by = run.summary["signed_by"]
        if SIGNATURE_FILE not in run.files:
            self._add(run.name, "signature", f"it has signed_by, but {SIGNATURE_FILE} is missing")
            return
        signature = self._read(run, SIGNATURE_FILE)
        key = self._public_key
        if key is not None and signed_by != key.sha256:
            self._add(run.name, "signature", f"it is signed by another key: {signed_by}")
        elif len(signature) != _SIGNATURE_BYTES or (key is not None and not key.signed(data, signature)):
            self._add(run.name, "signature", f"{SIGNATURE_FILE} is not a signature of {SUMMARY_FILE}")

    def _check_hash(self, run: Run, name: str, data: bytes, hashes: dict[str, str]) -> None:
        if name not in hashes:
            if run.closed or run.name in self._settled:
                self._add(run.name, "changed", f"{name} is not one of the files that were written")
        elif hashlib.sha256(data).hexdigest() != hashes[name]:
            self._add(run.name, "changed", f"{name} does not have the SHA-256 that it was written with")

    def _check_plan(self, run: Run, hashes: dict[str, str]) -> list[str]:
        """Check a plan against its digest; return the ids in it."""
        if PLAN_FILE not in run.files:
            if (run.closed or run.parts) and PLAN_FILE not in hashes:
                self._add(run.name, "missing", f"{PLAN_FILE} is not there")
            return []
        if ROWS_FILE not in run.files:
            if ROWS_FILE not in hashes:
                self._add(run.name, "missing", f"{ROWS_FILE} is not there")
            return []
        data, rows = self._read(run, PLAN_FILE), self._read(run, ROWS_FILE)
        run.plan = plan = as_object(data)
        self._check_hash(run, PLAN_FILE, data, hashes)
        self._check_hash(run, ROWS_FILE, rows, hashes)
        if not _as_written(plan, data) or digest_of(plan, sorted(rows.splitlines(keepends=True))) != plan.get("digest"):
            self._add(run.name, "plan_digest", "plan.json and plan.jsonl do not give the digest that plan.json names")
        applied = plan.get("applied_plan")
        expected = applied.get("plan_digest") if isinstance(applied, dict) else plan.get("digest")
        if run.closed and run.summary.get("plan_digest") != expected:
            self._add(run.name, "plan_digest", f"{SUMMARY_FILE} names another plan_digest than {PLAN_FILE}")
        try:
            return planned_ids(rows)
        except ValueError as error:
            self._add(run.name, "changed", str(error))
            return []

    def _check_outcomes(self, run: Run, hashes: dict[str, str]) -> dict[str, str]:
        """Return the outcome of each id: a later one outranks an earlier one, ``deleted`` outranks all."""
        outcomes: dict[str, str] = {}
        for name in run.parts:
            data = self._read(run, name)
            self._check_hash(run, name, data, hashes)
            try:
                add_outcomes(outcomes, data)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                self._add(run.name, "changed", f"{name} has a line that is not an outcome: {error}")
        for outcome in sorted(set(outcomes.values()) - OUTCOMES):
            self._add(run.name, "changed", f"{outcome!a} is not an outcome")
        return outcomes

    def _check_ids(self, run: Run, planned: Collection[str], outcomes: dict[str, str]) -> None:
        known = set(planned)
        unplanned = [each for each in outcomes if each not in known]
        if unplanned:
            settled = self._settled_by(run)
            unplanned = [each for each in unplanned if each not in settled]
        if unplanned:
            self._add(run.name, "unplanned_outcome", f"it has an outcome of {_some(unplanned)}, which no plan has")

    def _settled_by(self, run: Run) -> set[str]:
        """Return what the killed runs planned that this one settled."""
        planned: set[str] = set()
        for mark in run.settled(self._folder):
            old = self._runs.get(mark.folder)
            if old is not None and ROWS_FILE in old.files:
                planned.update(planned_ids(self._read(old, ROWS_FILE)))
        return planned

    def _check_counts(self, run: Run, planned: Sequence[str], outcomes: dict[str, str]) -> None:
        summary = run.summary
        kept = summary.get("kept")
        after_all = sum(_number(kept, reason) for reason in KEPT_AFTER_ALL)
        counted = Counter(outcomes[each] for each in planned if each in outcomes)
        for key, kinds in _COUNTED.items():
            number = sum(counted[kind] for kind in kinds)
            if summary.get(key) != number:
                self._add(run.name, "changed", f"it counts {summary.get(key)} as {key}, and has {number} such outcomes")
        not_attempted = _number(summary, "not_attempted") + after_all
        if not_attempted < counted["not_attempted"]:
            detail = f"it counts {not_attempted} as not attempted, and has {counted['not_attempted']} such outcomes"
            self._add(run.name, "changed", detail)
        handled = sum(_number(summary, key) for key in _COUNTED) + not_attempted
        if not handled:
            # It only planned, or a guard stopped it.
            return
        without = [each for each in planned if each not in outcomes]
        # A run that had to end counts what it did not come to.
        if len(without) > not_attempted - counted["not_attempted"]:
            self._add(run.name, "no_outcome", f"it planned and counted {_some(without)}, but has no outcome of it")
        elif handled != len(planned):
            self._add(run.name, "changed", f"it counts {handled} collections, and planned {len(planned)}")

    def _check_chain(self, closed: Sequence[Run], hashes: dict[str, Run]) -> None:
        for run in closed:
            previous = run.summary.get("previous", [])
            if previous != sorted(run.previous):
                self._add(run.name, "changed", "previous is not a sorted list of hashes")
            for each in run.previous:
                if each not in hashes or hashes[each].task != run.task:
                    self._add(
                        run.name, "cut", f"it names an earlier run of its task by the SHA-256 {each}, which no run has"
                    )

    def _check_unsigned(self, hashes: dict[str, Run]) -> None:
        """Find the runs without a signature that came after one with a signature."""
        ordered = [run for run in in_order(self._runs) if run.closed]
        signed = {run.name for run in ordered if "signed_by" in run.summary}
        tasks = {run.task for run in ordered if run.name in signed}
        earlier = {run.name: [hashes[each].name for each in run.previous if each in hashes] for run in ordered}
        after, before = set[str](), set[str]()
        for run in ordered:
            if any(each in signed or each in after for each in earlier[run.name]):
                after.add(run.name)
        for run in reversed(ordered):
            if run.name in signed or run.name in before:
                before.update(earlier[run.name])
        for run in ordered:
            # One that no signed run vouches for may have been put there by anyone.
            if run.name not in signed and run.task in tasks and (run.name in after or run.name not in before):
                self._add(run.name, "signature", "it is not signed, and runs of its task before it are")


def _as_written(content: dict[str, Any], data: bytes) -> bool:
    try:
        return bool(content) and canonical(content) == data
    except ValueError:
        return False


def _same_place(ledger: object, name: str) -> bool:
    parts = name.split("/")[-_DEPTH:]
    return isinstance(ledger, str) and unquote(ledger).endswith(unquote("/".join(parts)))


def _number(counts: object, key: str) -> int:
    value = counts.get(key, 0) if isinstance(counts, dict) else 0
    return value if isinstance(value, int) else 0


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more}"
