"""The plan of one run: what it would delete, whether its guards allow that, and a digest of it all."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_anyformat.api.values import canonical_id
from airflow_provider_anyformat.retention.foresight import forecast
from airflow_provider_anyformat.retention.policy import PlannedRow, RetentionPolicy, Selection
from airflow_provider_anyformat.retention.reasons import ANOMALIES

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

PLAN_FILE = "plan.json"
ROWS_FILE = "plan.jsonl"
HELD_FILE = "held.jsonl"
SUMMARY_FILE = "summary.json"
FORGETS_NEWEST = (
    "the plan was made with keep_last and with name globs. Globs are not stored, so which collections are the newest of"
    " those that match cannot be known again. Plan without the one or the other, or let one purge plan and delete"
)

Count = int | Literal["unlimited"]


@dataclass(frozen=True, slots=True)
class Origin:
    """
    Which run makes a plan; the defaults are those of a run without a task instance.

    :param service: base URL of the service that is asked to delete.
    :param dag_id: the DAG; default ``_``.
    :param task_id: the task; default ``_``.
    :param map_index: index of a mapped task; default -1.
    :param run_id: the run; default ``_``.
    :param try_number: the try; default 0.
    :param provider_version: version of this provider; default empty.
    :param owner: who answers for the retention period; default ``None``.
    :param basis: why the period is what it is; default ``None``.
    """

    service: str
    dag_id: str = "_"
    task_id: str = "_"
    map_index: int = -1
    run_id: str = "_"
    try_number: int = 0
    provider_version: str = ""
    owner: str | None = None
    basis: str | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """
    The most that a run may delete.

    :param max_deletions: the most collections, or ``"unlimited"``; default 1000. More fails.
    :param max_deletions_percent: the largest share of the listed that may be due, 0 to 100; default 100. More fails.
    :param limit: how many of the due ones this run takes, oldest first, or ``"unlimited"``, the default. No failure.
    :param max_times_usual: how many times the usual number of deletions; ``None``, the default, for any. More fails.
    """

    max_deletions: Count = 1000
    max_deletions_percent: float = 100
    limit: Count = "unlimited"
    max_times_usual: float | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """
    The earlier plan that a run carries out.

    :param plan_path: where that plan lies.
    :param plan_digest: its digest.
    :param policy: its policy, as its ``plan.json`` has it, with the holds that came since.
    :param approved_by: who approved it; ``None`` if no name is on record.
    """

    plan_path: str
    plan_digest: str
    policy: dict[str, Any]
    approved_by: str | None


@dataclass(frozen=True)
class PurgePlan:
    """
    What one run would delete, before it deletes anything. Make one with :meth:`of_selections` or :meth:`of_ids`.

    :param rows: what this run deletes, oldest first, then by id.
    :param listed: how many collections there are.
    :param due: how many of them are due, those beyond ``limit`` included.
    :param kept: how many are kept, by reason; together with ``rows`` that is ``listed``, or where an earlier plan is
        applied, ``due``.
    :param workflow_ids: the workflows, in the order they were given.
    :param policy: what is due; ``None`` where ids were handed over.
    :param cutoff: what is dated before it is old enough; ``None`` without a policy.
    :param guards: the most that may be deleted.
    :param tripped: a sentence for each guard that does not allow this plan, by its parameter.
    :param unmatched_holds: entries of ``exclude_collection_ids``, in canonical form, that no listed row has.
    :param made_at: when, in UTC.
    :param origin: which run made it.
    :param cases: for each workflow that has any, its id and what is held for a case, by the hold's place in the policy.
    :param applied: the earlier plan whose rows these are; ``None`` for a run with a plan of its own.
    :param forecast: how many more become due within 1, 7, 30, … days, by that number; ``None`` without a policy.
    """

    rows: Sequence[PlannedRow]
    listed: int
    due: int
    kept: dict[str, int]
    workflow_ids: tuple[str, ...]
    policy: RetentionPolicy | None
    cutoff: datetime | None
    guards: Guards
    made_at: datetime
    origin: Origin
    unmatched_holds: tuple[str, ...] = ()
    tripped: dict[str, str] = field(default_factory=dict)
    cases: tuple[tuple[str, Mapping[str, int]], ...] = ()
    applied: Applied | None = None
    forecast: dict[str, int] | None = None

    @classmethod
    def of_selections(
        cls,
        selections: Sequence[Selection],
        *,
        guards: Guards,
        origin: Origin,
        now: datetime,
        earlier: Collection[str] = (),
    ) -> PurgePlan:
        """Make the plan of one run out of its workflows' concluded selections; for ``earlier`` see :meth:`of_ids`."""
        policy = selections[0].policy
        kept: Counter[str] = Counter()
        for selection in selections:
            kept.update(selection.kept)
        candidates = [row for selection in selections for row in selection.due]
        # One after the other, for a key of both would be a tuple for each row.
        candidates.sort(key=attrgetter("collection_id"))
        candidates.sort(key=attrgetter(policy.age_by))
        due = len(candidates)
        spent = _spent(candidates, earlier)
        if guards.limit != "unlimited" and due > max(guards.limit - spent, 0):
            del candidates[max(guards.limit - spent, 0) :]
            kept["limit"] = due - len(candidates)
        plan = cls(
            rows=candidates,
            listed=sum(selection.listed for selection in selections),
            due=due,
            kept=dict(kept),
            workflow_ids=tuple(selection.workflow_id for selection in selections),
            policy=policy,
            cutoff=selections[0].cutoff,
            guards=guards,
            made_at=now.astimezone(UTC),
            origin=origin,
            unmatched_holds=unmatched_by_all(selections),
            cases=cases_of(selections),
            forecast=forecast(selections),
        )
        return replace(plan, tripped=plan._tripped(spent))

    @classmethod
    def of_ids(
        cls,
        collection_ids: Iterable[str],
        *,
        held: Iterable[str] = (),
        guards: Guards,
        origin: Origin,
        now: datetime,
        earlier: Collection[str] = (),
    ) -> PurgePlan:
        """
        Make the plan of a run that is handed its ids: their order stays, repeats are dropped, held ones are kept.

        :param held: legal holds.
        :param earlier: ids that earlier tries may have deleted; they count towards the guards.
        """
        unique: dict[str, str] = {}
        for each in collection_ids:
            unique.setdefault(canonical_id(each), each)
        holds = set(map(canonical_id, held))
        rows = [PlannedRow(each, reason="given") for key, each in unique.items() if key not in holds]
        plan = cls(
            rows=rows,
            listed=len(unique),
            due=len(rows),
            kept={"held": len(unique) - len(rows)} if len(rows) < len(unique) else {},
            workflow_ids=(),
            policy=None,
            cutoff=None,
            guards=guards,
            made_at=now.astimezone(UTC),
            origin=origin,
            unmatched_holds=tuple(sorted(holds - unique.keys())),
        )
        return replace(plan, tripped=plan._tripped(_spent(rows, earlier)))

    @property
    def anomalies(self) -> dict[str, int]:
        """How many rows are kept for each reason that a person should look into."""
        return {reason: number for reason, number in self.kept.items() if reason in ANOMALIES}

    @property
    def not_applicable(self) -> list[str]:
        """A sentence if this plan, although no guard tripped, can only be carried out by the purge that makes it."""
        forgets = self.policy is not None and forgets_newest(policy_json(self.policy))
        return [f"{FORGETS_NEWEST}. ApplyPurgePlanOperator refuses this plan."] if forgets else []

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the plan's content; see :func:`digest_of`."""
        return digest_of(self._content(), (_line(row) for row in sorted(self.rows, key=attrgetter("collection_id"))))

    def json_bytes(self) -> bytes:
        """Return ``plan.json``: one line of canonical JSON."""
        return canonical(self._content() | {"digest": self.digest})

    def rows_bytes(self) -> bytes:
        """Return ``plan.jsonl``: a line of canonical JSON for each row, in the plan's order."""
        # Put together piece by piece: a list of all lines would double what a large plan takes.
        whole = io.BytesIO()
        for row in self.rows:
            whole.write(_line(row))
        return whole.getvalue()

    def held_bytes(self) -> bytes:
        """Return ``held.jsonl``: a line of canonical JSON for each collection that is held for a case."""
        holds = () if self.policy is None else self.policy.holds
        return b"".join(
            canonical({"case": holds[number].case, "collection_id": name, "workflow_id": workflow_id})
            for workflow_id, cases in self.cases
            for name, number in cases.items()
        )

    def holds(self) -> list[dict[str, Any]]:
        """Return each hold with a case that is in force, with how many collections are ``held`` for it."""
        held = Counter(number for _, cases in self.cases for number in cases.values())
        holds = () if self.policy is None else self.policy.holds
        return [
            hold.as_json() | {"held": held[number]}
            for number, hold in enumerate(holds)
            if held[number] or hold.in_force(self.made_at)
        ]

    def _tripped(self, spent: int) -> dict[str, str]:
        tripped: dict[str, str] = {}
        most, percent = self.guards.max_deletions, self.guards.max_deletions_percent
        if most != "unlimited" and self.rows and len(self.rows) + spent > most:
            before = f" after {spent} in earlier tries" if spent else ""
            tripped["max_deletions"] = (
                f"max_deletions: this run would delete {len(self.rows)} file collections{before}, and max_deletions"
                f" allows {most}. Nothing was deleted. If that many are meant to go, raise max_deletions"
            )
            if self.policy is not None:
                tripped["max_deletions"] += ", or set limit to delete fewer per run, oldest first"
            tripped["max_deletions"] += "."
        if self.due * 100 > percent * self.listed:
            tripped["max_deletions_percent"] = (
                f"max_deletions_percent: {self.due} of {self.listed} listed file collections are due, which is"
                f" {100 * self.due / self.listed:.4g} %, and max_deletions_percent allows {percent:g} %."
                " Nothing was deleted. If that many are meant to go, raise max_deletions_percent."
            )
        return tripped

    def _content(self) -> dict[str, Any]:
        percent = self.guards.max_deletions_percent
        content: dict[str, Any] = {
            "service": self.origin.service,
            "workflows": list(self.workflow_ids),
            "policy": None if self.policy is None else policy_json(self.policy),
            "guards": {
                "max_deletions": self.guards.max_deletions,
                "max_deletions_percent": int(percent) if percent == int(percent) else percent,
                "limit": self.guards.limit,
                "tripped": sorted(self.tripped),
                **({} if self.guards.max_times_usual is None else {"max_times_usual": self.guards.max_times_usual}),
            },
            "cutoff": utc_text(self.cutoff),
            "count": len(self.rows),
            "made_at": utc_text(self.made_at),
            "dag": self.origin.dag_id,
            "run": self.origin.run_id,
            "task": self.origin.task_id,
            "try": self.origin.try_number,
            "provider_version": self.origin.provider_version,
        }
        given = {"owner": self.origin.owner, "basis": self.origin.basis, "holds": self.holds()}
        content |= {key: value for key, value in given.items() if value}
        if self.applied is not None:
            content["policy"] = self.applied.policy
            content["approved_by"] = self.applied.approved_by
            content["applied_plan"] = {"plan_path": self.applied.plan_path, "plan_digest": self.applied.plan_digest}
        return content


def digest_of(content: dict[str, Any], lines: Iterable[bytes] = ()) -> str:
    """
    Return the SHA-256, in hexadecimal, of a plan, or without ``lines`` of a summary.

    It is taken over ``plan.json`` without its ``digest``, as canonical JSON and a line break, followed by the lines of
    ``plan.jsonl`` in the order of their bytes, each with its line break. With nothing but the two files that is
    ``(jq -cS 'del(.digest)' plan.json; LC_ALL=C sort plan.jsonl) | sha256sum``.

    :param content: what ``plan.json`` holds; a ``digest`` in it does not count.
    :param lines: the rows, sorted, each with its line break. Every line starts with the id, so that ids in order
        will do.
    """
    digest = hashlib.sha256(canonical({key: value for key, value in content.items() if key != "digest"}))
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def canonical(value: dict[str, Any]) -> bytes:
    """Return ``value`` as a line of JSON: keys sorted, no blanks, UTF-8, a line break at the end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair has no bytes in UTF-8; no id or status of the service has one, a run's name might.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def utc_text(moment: datetime | None) -> str | None:
    """Return ``moment`` in UTC with a ``Z``, microseconds only where there are any; ``None`` stays ``None``."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration_text(duration: timedelta) -> str:
    """Return ``duration`` as ISO 8601 of days and seconds, such as ``P30D`` or ``PT5400S``."""
    seconds = duration - timedelta(days=duration.days)
    days = f"{duration.days}D" if duration.days else ""
    return f"P{days}" + (f"T{f'{seconds.total_seconds():.6f}'.rstrip('0').rstrip('.')}S" if seconds else "")


def policy_json(policy: RetentionPolicy) -> dict[str, Any]:
    """Return a policy as ``plan.json`` shows it: of globs, which may be personal data, only how many there are."""
    return {
        "older_than": duration_text(policy.older_than),
        "reference_time": utc_text(policy.reference_time),
        "age_by": policy.age_by,
        "statuses": list(policy.statuses),
        "exclude_collection_ids": list(policy.exclude_collection_ids),
        "include_names": len(policy.include_names),
        "exclude_names": len(policy.exclude_names),
        "keep_last": policy.keep_last,
    }


def forgets_newest(policy: dict[str, Any]) -> bool:
    """Say whether a policy, as ``plan.json`` has it, counts the newest of collections that it does not name."""
    return bool(policy["keep_last"] and (policy["include_names"] or policy["exclude_names"]))


def cases_of(
    selections: Iterable[Selection], planned: Container[str] | None = None
) -> tuple[tuple[str, Mapping[str, int]], ...]:
    """Return what is held for a case, by workflow, by id; with ``planned`` ids, in canonical form, of those alone."""
    found = [
        (each.workflow_id, {id_: n for id_, n in each.cases.items() if planned is None or canonical_id(id_) in planned})
        for each in selections
    ]
    return tuple((workflow_id, cases) for workflow_id, cases in found if cases)


def _spent(rows: Iterable[PlannedRow], earlier: Collection[str]) -> int:
    """Return how many earlier tries may have deleted of what is not planned now."""
    return len(set(earlier).difference(canonical_id(row.collection_id) for row in rows)) if earlier else 0


def unmatched_by_all(selections: Iterable[Selection]) -> tuple[str, ...]:
    """Return the legal holds, in canonical form, that name no row of any of the finished ``selections``."""
    return tuple(sorted(set.intersection(*(selection.unmatched_holds for selection in selections))))


def _line(row: PlannedRow) -> bytes:
    return canonical(
        {
            "collection_id": row.collection_id,
            "workflow_id": row.workflow_id,
            "status": row.status,
            "created_at": utc_text(row.created_at),
            "updated_at": utc_text(row.updated_at),
            "reason": row.reason,
        }
    )
