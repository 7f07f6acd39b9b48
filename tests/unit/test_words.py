"""A policy as a person says it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_anyformat.retention.words import duration_words, policy_words
from tests.unit.test_plan import POLICY


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "created more than 30 days ago, with status processed"),
        (
            {"age_by": "updated_at", "statuses": ("processed", "error", "cancelled")},
            "last updated more than 30 days ago, with status processed, error or cancelled",
        ),
        (
            {"include_names": ("a*", "b*"), "exclude_names": ("c*",), "keep_last": 3},
            (
                "created more than 30 days ago, with status processed, with a name that matches one of 2 globs,"
                " with a name that does not match a glob; the newest 3 of each workflow are kept"
            ),
        ),
    ],
    ids=["age", "age by update and statuses", "names and the newest"],
)
def test_a_policy_in_words(changes: dict[str, Any], words: str) -> None:
    assert policy_words(replace(POLICY, **changes)) == words


@pytest.mark.parametrize(
    ("hours", "words"), [(24, "1 day"), (90 * 24, "90 days"), (36, "1 day and 12 hours"), (5, "5 hours"), (1, "1 hour")]
)
def test_a_duration_in_words(hours: int, words: str) -> None:
    assert duration_words(timedelta(hours=hours)) == words
