"""A plan that was written earlier: read back, checked against its digest, and looked at again before it is applied."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.api.models import parse_timestamp
from airflow_provider_anyformat.api.values import CLOCK_SKEW, canonical_id, check_id, shown
from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError
from airflow_provider_anyformat.retention.plan import (
    FORGETS_NEWEST,
    PLAN_FILE,
    ROWS_FILE,
    digest_of,
    forgets_newest,
    utc_text,
)
from airflow_provider_anyformat.retention.policy import PlannedRow, RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.holds import Hold

_DURATION = re.compile(r"P(?=.)(?:([0-9]+)D)?(?:T([0-9.]+)S)?")
_AGAIN = "Make a new one with plan_only=True"


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """
    A plan that was written earlier and is what its digest says.

    :param content: ``plan.json``.
    :param rows: ``plan.jsonl``, in its order.
    """

    content: dict[str, Any]
    rows: list[PlannedRow]

    @classmethod
    def load(cls, folder: Folder, digest: str) -> StoredPlan:
        """
        Read a plan back.

        :param folder: where it lies.
        :param digest: what its content must give.
        :raises AnyformatValueError: there is no whole plan, it is damaged, or it is another one.
        :raises AnyformatStorageError: it could not be read now.
        """
        try:
            content = json.loads(folder.read(PLAN_FILE))
            lines = folder.read(ROWS_FILE).splitlines(keepends=True)
            found = digest_of(content, sorted(lines))
            rows = [planned_row(json.loads(line)) for line in lines]
            _check_shape(content)
        except FileNotFoundError:
            raise AnyformatValueError(
                f"plan_path: {folder.url} has no complete plan; give the folder that the summary names as plan_path"
            ) from None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise AnyformatValueError(f"plan_path: the plan in {folder.url} is damaged: {error}. {_AGAIN}") from None
        except Exception as error:
            # Each object store has exceptions of its own.
            raise AnyformatStorageError(f"plan_path: {folder.url} could not be read: {error}") from error
        if not found == digest == content.get("digest"):
            raise AnyformatValueError(
                f"plan_digest: the plan in {folder.url} has the digest {found}, not {shown(digest)}:"
                f" it is another plan, or was changed. {_AGAIN}"
            )
        return cls(content, rows)

    def __post_init__(self) -> None:
        """Refuse rows that the rest of the plan does not know of."""
        ids = {canonical_id(row.collection_id) for row in self.rows}
        if not len(ids) == len(self.rows) == self.content.get("count"):
            raise AnyformatValueError(
                f"plan_path: the plan counts {shown(self.content.get('count'))} collections, and has"
                f" {len(self.rows)} rows with {len(ids)} different ids. {_AGAIN}"
            )

    def check(self, *, service: str, now: datetime, ttl: timedelta) -> None:
        """
        Refuse a plan that may not be applied.

        :param service: base URL of the service that would be asked to delete.
        :param now: the time, aware.
        :param ttl: how old a plan may be.
        :raises AnyformatValueError: a guard tripped, it was made for another service, in the future or too long ago.
        """
        tripped, made_for = self.content["guards"]["tripped"], self.content["service"]
        made_at = parse_timestamp(self.content["made_at"])
        if "applied_plan" in self.content:
            raise AnyformatValueError(
                "plan_path: it is the folder of a run that applied a plan, not of a plan. Give the plan_path that the"
                " summary of the plan_only run names"
            )
        if tripped:
            raise AnyformatValueError(
                f"plan_path: the plan's guard {', '.join(tripped)} tripped. Change that parameter. {_AGAIN}"
            )
        if made_for != service:
            raise AnyformatValueError(
                f"plan_path: the plan was made for {shown(made_for)}, not for {service}. {_AGAIN}"
            )
        if made_at is None or made_at > now + CLOCK_SKEW:
            raise AnyformatValueError(
                f"plan_path: the plan was made at {shown(self.content['made_at'])}, which is later than now,"
                f" {utc_text(now)}. Look at the clocks of the workers. {_AGAIN}"
            )
        if now - made_at > ttl:
            raise AnyformatValueError(
                f"plan_ttl: the plan was made at {utc_text(made_at)}, longer ago than plan_ttl, {ttl}, allows. {_AGAIN}"
            )

    @property
    def workflow_ids(self) -> tuple[str, ...]:
        """The workflows, in the order they were given."""
        return tuple(self.content["workflows"])

    @property
    def has_globs(self) -> bool:
        """Whether its policy asks for names; which ones is not in the plan."""
        return bool(self.content["policy"]["include_names"] or self.content["policy"]["exclude_names"])

    def policy(self, held: Iterable[str] = (), holds: tuple[Hold, ...] = ()) -> RetentionPolicy:
        """
        Return the policy that the plan was made by, for a second look at its rows.

        Its globs are not in the plan, because names are personal data: the rows of the plan are those that matched.

        :param held: legal holds that came since.
        :param holds: legal holds with a case, as they are now.
        :raises AnyformatValueError: it is not the plan of a purge, or one that cannot be checked a second time.
        """
        found = self.content["policy"]
        if found is None:
            raise AnyformatValueError(f"plan_path: it is a list of ids, not the plan of a purge. {_AGAIN}")
        for row in self.rows:
            if row.workflow_id not in self.workflow_ids:
                raise AnyformatValueError(
                    f"plan_path: the plan's row of {row.collection_id} names a workflow, {shown(row.workflow_id)}, that"
                    f" the plan does not have. {_AGAIN}"
                )
        if forgets_newest(found):
            raise AnyformatValueError(f"plan_path: {FORGETS_NEWEST}")
        try:
            return RetentionPolicy(
                older_than=duration_of(found["older_than"]),
                reference_time=datetime.fromisoformat(found["reference_time"]),
                age_by=found["age_by"],
                statuses=tuple(found["statuses"]),
                exclude_collection_ids=tuple(dict.fromkeys([*found["exclude_collection_ids"], *held])),
                keep_last=found["keep_last"],
                holds=holds,
            )
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise AnyformatValueError(f"plan_path: the plan's policy cannot be read: {error}. {_AGAIN}") from None


def _check_shape(content: dict[str, Any]) -> None:
    """
    Look up what a plan is asked for later.

    :raises Exception: some of it is missing, or is of another kind.
    """
    ", ".join(content["guards"]["tripped"])
    policy, workflow_ids = content["policy"], [check_id(each, "workflows") for each in content["workflows"]]
    if policy is not None:
        policy["keep_last"], policy["include_names"], policy["exclude_names"]
        if not workflow_ids:
            raise ValueError("it has a policy and no workflows")
    content["service"], content["made_at"]


def planned_row(value: dict[str, Any]) -> PlannedRow:
    """
    Read one row of ``plan.jsonl``.

    :raises ValueError: it is none.
    """
    workflow_id = value["workflow_id"]
    return PlannedRow(
        check_id(value["collection_id"]),
        None if workflow_id is None else check_id(workflow_id, "workflow_id"),
        value["status"],
        parse_timestamp(value["created_at"]),
        parse_timestamp(value["updated_at"]),
        value["reason"],
    )


def duration_of(text: str) -> timedelta:
    """
    Read what ``duration_text`` of a plan wrote.

    :raises ValueError: it is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is not a duration of days and seconds")
    return timedelta(days=int(found[1] or 0), seconds=float(found[2] or 0))
