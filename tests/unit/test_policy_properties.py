"""
The rule against a second opinion, written apart from it, on listings and policies of every kind.

The oracle takes the slow way on purpose: it looks at all rows for each row, sorts nothing, and knows no codes.
"""

from __future__ import annotations

import fnmatch
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat.api.models import FileCollection, Page
from airflow_provider_anyformat.retention.holds import Hold
from airflow_provider_anyformat.retention.plan import Guards, Origin, PurgePlan
from airflow_provider_anyformat.retention.policy import RetentionPolicy, conclude, decide, select

pytestmark = pytest.mark.untraced

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = [-1, -1 / 1440, 0, 1, 29.99999, 30, 30.00001, 31, 45, 60]

moments = st.one_of(
    st.sampled_from(DAYS).map(lambda days: (NOW - timedelta(days=days)).isoformat()),
    st.integers(-10, 250).map(lambda hours: f"{(NOW - timedelta(hours=hours * 7)):%Y-%m-%dT%H:%M}+02:00"),
    st.sampled_from([None, "", "2026-01-01", "soon", 5, "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]),
)
ids = st.sampled_from([f"collection-{n}" for n in range(6)] + ["Collection-0", "short"])
rows = st.fixed_dictionaries(
    {
        "id": ids,
        "status": st.sampled_from(["processed"] * 6 + ["error", "pending", "in_progress", "completed", None, 3]),
        "name": st.sampled_from(["a.pdf", "A.PDF", "b.txt", "", None]),
        "created_at": moments,
        "updated_at": moments,
    },
    optional={"file_id": st.sampled_from([None, "file-one", "FILE-two"])},
)
policies = st.builds(
    RetentionPolicy,
    older_than=st.sampled_from([timedelta(days=30), timedelta(hours=1), timedelta(days=45)]),
    reference_time=st.sampled_from([NOW, NOW - timedelta(days=3), NOW + timedelta(days=3)]),
    age_by=st.sampled_from(["created_at", "updated_at"]),
    statuses=st.sampled_from([("processed",), ("error", "processed"), ("pending", "completed", "", "processed")]),
    exclude_collection_ids=st.lists(st.sampled_from(["collection-0", "COLLECTION-1", "file-ONE", "x"]), max_size=2).map(
        tuple
    ),
    include_names=st.sampled_from([(), (), ("*.pdf",), ("b*", "A*")]),
    exclude_names=st.sampled_from([(), (), ("a*",), ("*.TXT",)]),
    keep_last=st.integers(0, 4),
    holds=st.sampled_from(
        [
            (),
            (),
            (Hold(case="ids", collection_ids=("COLLECTION-2", "file-two")),),
            (Hold(case="names", begins=date(2026, 6, 30), ends=date(2026, 7, 1), names=("A*", "c")),),
            (Hold(case="ended", ends=date(2026, 6, 30), names=("*",)), Hold(case="whole", workflow_ids=("WF-1",))),
            (Hold(case="not yet", begins=date(2026, 7, 1), workflow_ids=("wf-0", "wf")),),
        ]
    ),
)


class Oracle:
    """A second opinion on one listing."""

    def __init__(self, listing: list[FileCollection], policy: RetentionPolicy) -> None:
        self.listing, self.policy = listing, policy

    def age_of(self, row: FileCollection) -> timedelta | None:
        moment: datetime | None = getattr(row, self.policy.age_by)
        if moment is None or moment <= EPOCH or moment - NOW > timedelta(minutes=5):
            return None
        return min(NOW, self.policy.reference_time) - moment

    def held(self, row: FileCollection) -> bool:
        return any(other.id.lower() == row.id.lower() and self.is_named(other) for other in self.listing)

    def is_named(self, row: FileCollection) -> bool:
        ids = {each.casefold() for each in self.policy.exclude_collection_ids}
        for hold in self.policy.holds:
            if (hold.begins or NOW.date()) <= NOW.date() < (hold.ends or date.max):
                ids |= {each.casefold() for each in hold.collection_ids}
                if row.workflow_id.casefold() in {each.casefold() for each in hold.workflow_ids}:
                    return True
                if hold.names and (not row.name or any(map(partial(self.like, row.name), hold.names))):
                    return True
        return row.id.casefold() in ids or (row.file_id or "").casefold() in ids

    @staticmethod
    def like(name: str, glob: str) -> bool:
        return fnmatch.fnmatchcase(name.lower(), glob.lower())

    def disputed(self, row: FileCollection) -> bool:
        return any(other.id.lower() == row.id.lower() and other != row for other in self.listing)

    def passes(self, row: FileCollection) -> bool:
        if row.status not in self.policy.statuses or row.status not in ("processed", "error", "cancelled"):
            return False
        if not self.policy.include_names and not self.policy.exclude_names:
            return True
        if row.name is None:
            return False
        wanted = self.policy.include_names or ["*"]
        return any(fnmatch.fnmatchcase(row.name, glob) for glob in wanted) and not any(
            self.like(row.name, glob) for glob in self.policy.exclude_names
        )

    def ranks(self, row: FileCollection) -> bool:
        return self.passes(row) and self.age_of(row) is not None and not self.disputed(row)

    def due(self, row: FileCollection) -> bool:
        age = self.age_of(row)
        if age is None or self.held(row) or not self.ranks(row) or age <= self.policy.older_than:
            return False
        newer = {
            other.id.lower()
            for other in self.listing
            if other.workflow_id == row.workflow_id and self.ranks(other) and self.age_of(other) < age  # type: ignore[operator]
        }
        return len(newer) >= self.policy.keep_last


@settings(max_examples=600, deadline=None)
@given(st.lists(rows, max_size=12), policies, st.integers(1, 2))
def test_the_rule_and_the_oracle_agree(sent: list[dict[str, Any]], policy: RetentionPolicy, workflows: int) -> None:
    listing = [FileCollection.from_json(row, f"wf-{n % workflows}") for n, row in enumerate(sent)]
    decisions = decide(listing, policy, NOW)
    oracle = Oracle(listing, policy)
    assert [each.delete for each in decisions] == [oracle.due(row) for row in listing]
    for row, decision in zip(listing, decisions, strict=True):
        assert decision.delete is (decision.reason == "due")
        assert (decision.reason == "held") is oracle.held(row)
        assert (decision.reason == "contradictory") is (oracle.disputed(row) and not oracle.held(row))
    # One id, one decision.
    assert len({(row.id.lower(), each.reason) for row, each in zip(listing, decisions, strict=True)}) == len(
        {row.id.lower() for row in listing}
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, max_size=12), policies, st.randoms(use_true_random=False))
def test_the_order_of_a_listing_plays_no_part(
    sent: list[dict[str, Any]], policy: RetentionPolicy, shuffled: random.Random
) -> None:
    listing = [FileCollection.from_json(row, "wf") for row in sent]
    before = {row.id: each.reason for row, each in zip(listing, decide(listing, policy, NOW), strict=True)}
    shuffled.shuffle(listing)
    # Which of two rows that disagree is held decides for both, whichever comes first.
    assert {row.id: each.reason for row, each in zip(listing, decide(listing, policy, NOW), strict=True)} == before


@settings(max_examples=400, deadline=None)
@given(st.lists(rows, max_size=12), policies, st.integers(1, 5), st.one_of(st.integers(1, 6), st.just("unlimited")))
def test_pages_give_the_plan_that_the_rule_gives(
    sent: list[dict[str, Any]], policy: RetentionPolicy, page_size: int, limit: Any
) -> None:
    """What comes in pages and is never made into objects is judged alike; the plan and the kept are the listing."""
    unique = len({row["id"].lower() for row in sent})
    bodies: list[dict[str, Any]] = [
        {"results": sent[start : start + page_size], "count": 0, "page": number, "page_size": page_size}
        for number, start in enumerate(range(0, max(len(sent), 1), page_size), 1)
    ]
    selection = select([Page.from_json(body, "wf", body["page"]) for body in bodies], policy, NOW, "wf")
    conclude([selection])
    plan = PurgePlan.of_selections([selection], guards=Guards(limit=limit), origin=Origin("http://x"), now=NOW)

    listing = [FileCollection.from_json(row, "wf") for row in sent]
    # In pages only what the server sent can be compared: "2026-01-01T00:00Z" and "…+00:00" disagree, and stay.
    reading = selection.reading
    places = set(reading.contradicted_positions())
    disputed = {id_ for id_, place in reading.positions(row.id for row in listing).items() if place in places}
    assert disputed >= {row.id for row in listing if Oracle(listing, policy).disputed(row)}
    expected = {row.id: each.reason for row, each in zip(listing, decide(listing, policy, NOW), strict=True)}
    due = {id_ for id_, reason in expected.items() if reason == "due"}
    planned = [row.collection_id for row in plan.rows]
    assert len(planned) == len(set(planned))
    assert set(planned) <= due
    assert plan.listed == unique
    assert len(plan.rows) + sum(plan.kept.values()) == plan.listed
    if not disputed:
        assert plan.due == len(due)
        kept = Counter(reason for reason in expected.values() if reason != "due")
        if limit != "unlimited" and len(due) > limit:
            kept["limit"] = len(due) - limit
            assert len(planned) == limit
        assert Counter(plan.kept) == kept
