"""The parameters of all operators: what each takes, what it refuses, and what it says then."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat._airflow import ObjectStoragePath
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.parameters import (
    NOT_GIVEN,
    PARAMETERS,
    NotGiven,
    read_parameters,
)

UUID = "b2c3d4e5-f6a7-8901-bcde-f12345678901"
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


class Lazy(Sequence[Any]):
    """What Airflow hands over for the results of mapped tasks: a sequence of a class of its own."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)


def read(name: str, value: object) -> Any:
    return read_parameters({name: value})[name]


def refused(name: str, value: object) -> str:
    with pytest.raises(AnyformatValueError) as caught:
        read(name, value)
    message = str(caught.value)
    assert caught.value.retryable is False
    assert message.startswith((f"{name}: {shown(value)} ", f"{name}: entry "))
    assert message.count(shown(value)) <= 1 or len(shown(value)) < 3
    return message


TAKEN: list[tuple[str, object, object]] = [
    ("basis", " GDPR\n Art. 5 ", "GDPR Art. 5"),
    ("holds", "/dags/holds.yaml", "/dags/holds.yaml"),
    ("document", "/in/a b.pdf", "/in/a b.pdf"),
    ("document", "file:///in/a.pdf", "file:///in/a.pdf"),
    ("document", "s3://in/a.pdf", "s3://in/a.pdf"),
    ("document_name", "a ü.pdf", "a ü.pdf"),
    ("documents", "/in", "/in"),
    ("documents", ["/in/a.pdf", "s3://in/b.pdf"], ("/in/a.pdf", "s3://in/b.pdf")),
    ("documents", '["/in/a.pdf"]', ("/in/a.pdf",)),
    ("documents", [], ()),
    ("pattern", "*.pdf", "*.pdf"),
    ("max_documents", "1000", 1000),
    ("max_in_flight", 50, 50),
    ("wait_for_completion", "false", False),
    ("deferrable", True, True),
    ("poll_interval", "0.5", 0.5),
    ("timeout", "PT1H30M", timedelta(minutes=90)),
    ("timeout", "PT90S", timedelta(seconds=90)),
    ("timeout", "P1D", timedelta(days=1)),
    ("timeout", timedelta(seconds=2), timedelta(seconds=2)),
    ("results_path", "s3://out", "s3://out"),
    ("on_lost_reply", "resubmit", "resubmit"),
    ("on_partial_failure", "continue", "continue"),
    ("cancel_on_kill", "True", True),
    ("anyformat_conn_id", "my_conn", "my_conn"),
    ("anyformat_conn_id", " my_conn\n", "my_conn"),
    ("collection_id", "a-1", "a-1"),
    ("collection_ids", [], ()),
    ("collection_ids", "[]", ()),
    ("collection_ids", ["b", "a", "b"], ("b", "a")),
    ("collection_ids", ("b", "a"), ("b", "a")),
    ("collection_ids", Lazy("b", "a"), ("b", "a")),
    ("collection_ids", '["b", "a"]', ("b", "a")),
    ("collection_ids", " ['b', 'a']\n", ("b", "a")),
    ("collection_ids", "('b', 'a')", ("b", "a")),
    ("collection_ids", "('b',)", ("b",)),
    ("collection_ids", "['b', 'B', 'b']", ("b",)),
    ("collection_ids", [UUID.upper(), UUID, UUID.replace("-", ""), "x"], (UUID.upper(), "x")),
    ("exclude_names", ["[a-c]*.pdf", "(draft) *", 'it\'s "quoted"'], ("[a-c]*.pdf", "(draft) *", 'it\'s "quoted"')),
    ("workflow_id", "wf", ("wf",)),
    ("workflow_id", ["wf", "w2", "wf"], ("wf", "w2")),
    ("workflow_id", '["wf", "w2"]', ("wf", "w2")),
    ("workflow_id", Lazy("wf"), ("wf",)),
    ("ignore_if_missing", True, True),
    ("ignore_if_missing", False, False),
    ("ignore_if_missing", "True", True),
    ("ignore_if_missing", "False", False),
    ("ignore_if_missing", " false ", False),
    ("plan_only", "TRUE", True),
    ("older_than", 30 * DAY, 30 * DAY),
    ("older_than", timedelta(hours=36), timedelta(hours=36)),
    ("older_than", "P30D", 30 * DAY),
    ("older_than", " P30D ", 30 * DAY),
    ("older_than", "P2W", 14 * DAY),
    ("older_than", "PT36H", timedelta(hours=36)),
    ("older_than", "P1DT12H", timedelta(hours=36)),
    ("older_than", "P1W2DT3H", timedelta(days=9, hours=3)),
    ("older_than", "P36500D", 36_500 * DAY),
    ("older_than", pendulum.duration(days=30), 30 * DAY),
    ("older_than", pendulum.duration(weeks=2, hours=1), timedelta(days=14, hours=1)),
    ("age_by", "updated_at", "updated_at"),
    ("reference_time", datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    ("reference_time", datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, 22, tzinfo=UTC)),
    ("reference_time", pendulum.datetime(2026, 1, 2, tz="Europe/Madrid"), datetime(2026, 1, 1, 23, tzinfo=UTC)),
    ("reference_time", "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("reference_time", "2026-01-02 03:04:05.123456+00:00", datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
    ("reference_time", NOW + timedelta(minutes=4), NOW + timedelta(minutes=4)),
    ("statuses", ["error", "processed", "error"], ("error", "processed")),
    ("statuses", "['cancelled']", ("cancelled",)),
    ("exclude_collection_ids", [], ()),
    ("exclude_collection_ids", "[]", ()),
    ("exclude_collection_ids", '["A-1"]', ("A-1",)),
    ("include_names", ["*.pdf", "a b"], ("*.pdf", "a b")),
    ("include_names", '["*.pdf"]', ("*.pdf",)),
    ("exclude_names", [], ()),
    ("exclude_names", ["[ab]*"], ("[ab]*",)),
    ("keep_last", 0, 0),
    ("keep_last", "3", 3),
    ("keep_last", " 3 ", 3),
    ("max_deletions", 1, 1),
    ("max_deletions", "500", 500),
    ("max_deletions", "unlimited", "unlimited"),
    ("max_deletions", " unlimited ", "unlimited"),
    ("limit", "unlimited", "unlimited"),
    ("limit", 7, 7),
    ("max_deletions_percent", 0, 0),
    ("max_deletions_percent", 100, 100),
    ("max_deletions_percent", 12.5, 12.5),
    ("max_deletions_percent", "12.5", 12.5),
    ("max_times_usual", 1.5, 1.5),
    ("max_times_usual", "3", 3.0),
    ("signing_conn_id", " ledger_key ", "ledger_key"),
    ("basis", " contract 4711 § 9 ", "contract 4711 § 9"),
    ("holds", "/dags/holds.yaml", "/dags/holds.yaml"),
    ("batch_size", 500, 500),
    ("batch_size", "100000", 100_000),
    ("max_workers", 1, 1),
    ("max_workers", "64", 64),
    ("quota_reserve", 0, 0),
    ("quota_reserve", 0.9, 0.9),
    ("quota_reserve", "0.25", 0.25),
    ("ledger_path", "/var/ledger", "/var/ledger"),
    ("ledger_path", " /var/ledger/ ", "/var/ledger"),
    ("ledger_path", "/", "/"),
    ("ledger_path", "file:///var/ledger", "file:///var/ledger"),
    ("ledger_path", "s3://bucket/ledger/", "s3://bucket/ledger"),
    ("ledger_path", "s3://conn@bucket", "s3://conn@bucket"),
    ("ledger_path", "gs://bucket/a..b", "gs://bucket/a..b"),
    ("ledger_path", PurePosixPath("/var/ledger"), "/var/ledger"),
    ("ledger_path", "file://localhost/ledger", "file://localhost/ledger"),
    ("ledger_path", ObjectStoragePath("file:///ledger"), "file:///ledger"),
    ("archive_path", "abfs+x.y-z://container/a", "abfs+x.y-z://container/a"),
    ("plan_path", "/plans/one", "/plans/one"),
    ("plan_digest", "0aF" + "1" * 61, "0af" + "1" * 61),
    ("plan_ttl", "PT1H", timedelta(hours=1)),
    ("approved_by", " Jane Doe (DPO) ", "Jane Doe (DPO)"),
    ("approved_by", {"id": "7", "name": "jane"}, "jane"),
    ("approved_by", '{"id": "7", "name": null}', "7"),
    ("approved_by", "Jane\u00a0O'Doe", "Jane O'Doe"),
    ("approved_by", {"id": "7", "name": None}, "7"),
    ("approved_by", "{'id': '7', 'name': 'jane'}", "jane"),
    *(("approved_by", nobody, NOT_GIVEN) for nobody in (None, "", " None ", "null")),
]

REFUSED: list[tuple[str, object, str]] = [
    ("basis", "x" * 1001, "not printable text"),
    ("holds", "s3://dags/holds.yaml", "not a local file"),
    ("document", "in/a.pdf", "relative path"),
    ("document", "https://example.org/a.pdf", "web pages"),
    ("document", ["/in/a.pdf"], "relative path"),
    ("document_name", "a/b", "is not a file name"),
    ("document_name", "a\nb", "is not a file name"),
    ("document_name", 5, "is not a file name"),
    ("documents", "in", "relative path"),
    ("documents", ["/in/a.pdf", "b.pdf"], "relative path"),
    ("documents", "/in/a.pdf,b.pdf\n/c", "cannot be printed"),
    ("pattern", 5, "not printable text"),
    ("max_documents", 0, "out of range"),
    ("max_in_flight", 1001, "out of range"),
    ("wait_for_completion", "yes", "neither true nor false"),
    ("deferrable", 1, "neither true nor false"),
    ("poll_interval", 0.4, "out of range"),
    ("poll_interval", "often", "not a number"),
    ("timeout", 60, 'has no unit; write "PT60S"'),
    ("timeout", "P1M", "months and years"),
    ("timeout", "PT", "not an ISO 8601 duration"),
    ("timeout", "PT0S", "longer than zero"),
    ("results_path", "out", "relative path"),
    ("on_lost_reply", "ignore", "not one of the allowed values"),
    ("on_partial_failure", "skip", "not one of the allowed values"),
    ("cancel_on_kill", "1", "neither true nor false"),
    ("anyformat_conn_id", 7, "not printable text"),
    ("anyformat_conn_id", "a\nb", "not printable text"),
    ("collection_id", ["a"], "DeleteFileCollectionsOperator"),
    ("collection_id", {"id": "a"}, "DeleteFileCollectionsOperator"),
    ("collection_id", Lazy("a"), "DeleteFileCollectionsOperator"),
    ("collection_id", "a/b", "is not an id"),
    ("collection_id", "['a']", "is not an id"),
    ("collection_id", 100000.0, "native rendering"),
    ("collection_ids", "a", "DeleteFileCollectionOperator"),
    ("collection_ids", "a,b", "never split on commas"),
    ("collection_ids", ["a", "b,c"], "entry 1"),
    ("collection_ids", ["a", None], "entry 1"),
    ("collection_ids", ["a", "None"], "entry 1"),
    ("collection_ids", '["a", null]', "entry 1"),
    ("collection_ids", ["a", 5], "entry 1"),
    ("collection_ids", [["a"], ["b"]], "entry 0"),
    ("collection_ids", '["a",\n "b"\n "c"]', """put a comma after "b\""""),
    ("collection_ids", "('a' 'b')", "put a comma after 'a'"),
    ("collection_ids", "['a', # one\n 'b' # two\n 'c']", "put a comma after 'b'"),
    ("collection_ids", "[a, b]", "neither JSON nor a Python literal"),
    ("collection_ids", "['a'", "neither JSON nor a Python literal"),
    ("collection_ids", "[" * 5000, "neither JSON nor a Python literal"),
    ("collection_ids", "('a')", "is not a list"),
    ("collection_ids", {"a": 1}, "is not a list"),
    ("collection_ids", {"a"}, "is not a list"),
    ("collection_ids", b"ab", "is not a list"),
    ("collection_ids", range(3), "is not a list"),
    ("collection_ids", 5, "is not a list"),
    ("collection_ids", iter(["a"]), "is not a list"),
    ("workflow_id", [], "empty never means all"),
    ("workflow_id", "[]", "empty never means all"),
    ("workflow_id", ["wf", ""], "entry 1"),
    ("workflow_id", "a,b", "is not an id:\n"),
    ("workflow_id", 5, "is not a list"),
    ("ignore_if_missing", 1, "neither true nor false"),
    ("ignore_if_missing", 0, "neither true nor false"),
    ("ignore_if_missing", "yes", "neither true nor false"),
    ("ignore_if_missing", "1", "neither true nor false"),
    ("ignore_if_missing", [], "neither true nor false"),
    ("older_than", timedelta(0), "longer than zero"),
    ("older_than", -DAY, "longer than zero"),
    ("older_than", "P0D", "longer than zero"),
    ("older_than", "PT0H", "longer than zero"),
    ("older_than", 36_501 * DAY, "hundred years"),
    ("older_than", "P999999W", "hundred years"),
    ("older_than", "P1M", "depends on the day"),
    ("older_than", "P1Y", "depends on the day"),
    ("older_than", "P1Y2DT3H", "depends on the day"),
    ("older_than", pendulum.duration(months=1), "no fixed length"),
    ("older_than", pendulum.duration(years=1), "no fixed length"),
    ("older_than", pendulum.datetime(2026, 2, 1) - pendulum.datetime(2026, 1, 1), "no fixed length"),
    ("older_than", "PT90M", "a fraction"),
    ("older_than", "PT90S", "a fraction"),
    ("older_than", "P1DT2H3M", "a fraction"),
    ("older_than", "P1.5D", "a fraction"),
    ("older_than", "P", "not an ISO 8601 duration"),
    ("older_than", "PT", "not an ISO 8601 duration"),
    ("older_than", "P1DT", "not an ISO 8601 duration"),
    ("older_than", "P1H", "not an ISO 8601 duration"),
    ("older_than", "PT1D", "not an ISO 8601 duration"),
    ("older_than", "P-1D", "not an ISO 8601 duration"),
    ("older_than", "-P1D", "not an ISO 8601 duration"),
    ("older_than", "p1d", "not an ISO 8601 duration"),
    ("older_than", "P\u0661D", "not an ISO 8601 duration"),
    ("older_than", "P30D\n P1D", "not an ISO 8601 duration"),
    ("older_than", "30", 'has no unit; write "P30D"'),
    ("older_than", "R/P30D", "not an ISO 8601 duration"),
    ("older_than", "30 days, 0:00:00", 'write "P30D"'),
    ("older_than", "1 day, 12:00:00", "text of a timedelta"),
    ("older_than", "1 day", 'write "P1D"'),
    ("older_than", "90 Days", 'not an ISO 8601 duration; write "P90D"'),
    ("older_than", "2 weeks", 'write "P2W"'),
    ("older_than", "36h", 'write "PT36H"'),
    ("older_than", "12:00:00", "text of a timedelta"),
    ("older_than", 30, 'has no unit; write "P30D"'),
    ("older_than", 30.0, "of type float, which has no unit"),
    ("older_than", True, "of type bool, which has no unit"),
    ("older_than", [30], "of type list, which has no unit"),
    ("age_by", "name", "not one of the allowed values"),
    ("age_by", "Created_at", "not one of the allowed values"),
    ("age_by", ["created_at"], "not one of the allowed values"),
    ("reference_time", datetime(2026, 1, 2), "no time zone"),  # noqa: DTZ001
    ("reference_time", "2026-01-02T03:04:05", "no time zone"),
    ("reference_time", "2026-01-02", "not a date with time and zone"),
    ("reference_time", "20260102T030405", "not a date with time and zone"),
    ("reference_time", date(2026, 1, 2), "not a date with time and zone"),
    ("reference_time", 1767322800, "not a date with time and zone"),
    ("reference_time", "tomorrow at noon", "not an ISO 8601"),
    ("reference_time", "0001-01-01T00:00:00+14:00", "outside the calendar"),
    ("reference_time", NOW + timedelta(days=1), "in the future"),
    ("reference_time", NOW + timedelta(hours=1), "in the future"),
    ("statuses", [], "empty never means all"),
    ("statuses", "processed", "never split on commas"),
    ("statuses", ["processed", "pending"], "entry 1, 'pending', is not a finished status"),
    ("statuses", ["in_progress"], "cancels its processing"),
    ("statuses", ["completed"], "cancels its processing"),
    ("statuses", ["Processed"], "cancels its processing"),
    ("statuses", [["processed"]], "entry 0"),
    ("exclude_collection_ids", ["not an id"], "entry 0"),
    ("exclude_collection_ids", ["a", "undefined"], "entry 1"),
    ("exclude_collection_ids", "a", "never split on commas"),
    ("exclude_names", "['contract-*' 'lease-*']", "put a comma after 'contract-*'"),
    ("exclude_names", ['["contract-*", "lease-*"]'], 'entry 0, \'["contract-*", "lease-*"]\', is itself the text'),
    ("exclude_names", ["a", " ('b' 'c') "], "entry 1"),
    ("exclude_collection_ids", ["a", '["b", "c"]'], "entry 1"),
    ("include_names", [], "empty never means all"),
    ("include_names", "*.pdf", "never split on commas"),
    ("include_names", ["a", " "], "entry 1"),
    ("include_names", ["NaN"], "entry 0"),
    ("include_names", [None], "entry 0"),
    ("exclude_names", [5], "entry 0"),
    ("exclude_names", ["null"], "entry 0"),
    ("keep_last", -1, "out of range"),
    ("keep_last", 1.0, "not a whole number"),
    ("keep_last", True, "not a whole number"),
    ("keep_last", "1.0", "not a whole number"),
    ("keep_last", "1_000", "not a whole number"),
    ("keep_last", "1,000", "not a whole number"),
    ("keep_last", "\u0663", "not a whole number"),
    ("keep_last", "9" * 5000, "not a whole number"),
    ("max_deletions", 0, "out of range"),
    ("max_deletions", -5, "out of range"),
    ("max_deletions", "Unlimited", "not a whole number"),
    ("max_deletions", float("inf"), "not a whole number"),
    ("max_deletions", Decimal(5), "not a whole number"),
    ("limit", "all", "not a whole number"),
    ("limit", "0", "out of range"),
    ("max_times_usual", 1, "out of range"),
    ("max_times_usual", "1.0", "out of range"),
    ("max_times_usual", "three", "not a number"),
    ("signing_conn_id", 7, "not printable text"),
    ("basis", 7, "text"),
    ("holds", "holds.yaml", "absolute"),
    ("max_deletions_percent", -0.1, "out of range"),
    ("max_deletions_percent", 100.1, "out of range"),
    ("max_deletions_percent", float("nan"), "out of range"),
    ("max_deletions_percent", float("inf"), "out of range"),
    ("max_deletions_percent", "inf", "not a number"),
    ("max_deletions_percent", "10%", "not a number"),
    ("max_deletions_percent", "1e1", "not a number"),
    ("max_deletions_percent", True, "not a number"),
    ("max_deletions_percent", Decimal(5), "not a number"),
    ("batch_size", 0, "out of range"),
    ("batch_size", 100_001, "out of range"),
    ("max_workers", 0, "out of range"),
    ("max_workers", 65, "out of range"),
    ("quota_reserve", 0.91, "out of range"),
    ("quota_reserve", 1, "out of range"),
    ("quota_reserve", -0.1, "out of range"),
    ("plan_only", "maybe", "neither true nor false"),
    ("ledger_path", "ledger", "relative path"),
    ("ledger_path", "./ledger", "relative path"),
    ("ledger_path", "~/ledger", "relative path"),
    ("ledger_path", "file://ledger", "relative path"),
    ("ledger_path", "file:ledger", "relative path"),
    ("ledger_path", "file:/ledger", "relative path"),
    ("ledger_path", "s3:bucket", "relative path"),
    ("ledger_path", "s3://", "relative path"),
    ("ledger_path", "s3:///a", "relative path"),
    ("ledger_path", PurePosixPath("ledger"), "relative path"),
    ("ledger_path", 7, "relative path"),
    ("ledger_path", ["/a"], "relative path"),
    ("ledger_path", "/a/../b", "has a .."),
    ("ledger_path", "s3://bucket/..", "has a .."),
    ("ledger_path", "/a\x00b", "cannot be printed"),
    ("archive_path", "archive", "relative path"),
    ("plan_path", "plans", "relative path"),
    ("plan_digest", "0" * 63, "not a SHA-256"),
    ("plan_digest", "g" * 64, "not a SHA-256"),
    ("plan_digest", 5, "not a SHA-256"),
    ("plan_ttl", "P0D", "longer than zero"),
    ("approved_by", "x" * 251, "not printable text"),
    ("approved_by", ["Jane"], "not printable text"),
    ("approved_by", {"id": None}, "not printable text"),
    ("approved_by", "{'id': open}", "starts like a dictionary"),
]


def label(value: object) -> str:
    # The same in each run, or two processes do not agree on what there is to test.
    changing = isinstance(value, datetime) or " at 0x" in ascii(value)
    return type(value).__name__ if changing else ascii(value)[:40]


@pytest.mark.parametrize(("name", "value", "expected"), TAKEN, ids=label)
def test_what_a_parameter_takes(name: str, value: object, expected: object) -> None:
    found = read(name, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("name", "value", "why"), REFUSED, ids=label)
def test_what_a_parameter_refuses(name: str, value: object, why: str) -> None:
    assert why in refused(name, value)


@pytest.mark.parametrize(
    ("name", "value", "lines"),
    [("plan_only", "perhaps", 1), ("collection_id", "a/b", 2), ("older_than", "P1Y", 2), ("workflow_id", None, 2)],
)
def test_a_long_refusal_has_its_way_out_on_a_line_of_its_own(name: str, value: object, lines: int) -> None:
    assert len(refused(name, value).splitlines()) == lines


def test_every_parameter_is_in_both_tables() -> None:
    assert {name for name, _, _ in TAKEN} == {name for name, _, _ in REFUSED} == set(PARAMETERS)


# Nobody may be on record as the one who approved; everything else that is missing is a mistake.
@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"approved_by"}))
def test_a_value_that_is_missing_is_refused_and_never_the_default(name: str) -> None:
    for value in (None, "", "  ", "\n", "None", "none", "null", "NULL", "nan", " NaN ", "undefined"):
        message = refused(name, value)
        assert "what a missing value looks like" in message
        assert message.endswith(PARAMETERS[name].expects)


@pytest.mark.parametrize("name", PARAMETERS)
def test_one_that_is_not_given_stays_so(name: str) -> None:
    for value in (NOT_GIVEN, copy.deepcopy(NOT_GIVEN)):
        assert read(name, value) is NOT_GIVEN


def test_not_given_stays_itself_and_says_so() -> None:
    for same in (copy.copy(NOT_GIVEN), copy.deepcopy([NOT_GIVEN])[0], pickle.loads(pickle.dumps(NOT_GIVEN))):
        assert same is NOT_GIVEN
    assert NOT_GIVEN is NotGiven.NOT_GIVEN
    # Airflow shows it under Rendered Templates.
    assert str(NOT_GIVEN) == "not given"


def test_the_first_bad_one_is_named() -> None:
    with pytest.raises(AnyformatValueError, match=r"^older_than: "):
        read_parameters({"limit": "5", "older_than": None, "keep_last": None})


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refused("keep_last", "x" * 100_000)) < 500


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(PARAMETERS)), st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.booleans(),
       st.lists(st.text()), st.lists(st.integers()), st.timedeltas(), st.datetimes(timezones=st.timezones()),
       st.from_regex(r"\AP[0-9WDTHMYS.]{0,8}\Z"), st.from_regex(r"\A[\[(][\[\]()',a-z0-9\"{}: ]{0,12}\Z")))  # fmt: skip
def test_nothing_else_than_a_value_or_the_error_comes_out(name: str, value: object) -> None:
    with suppress(AnyformatValueError):
        read(name, value)


def test_importing_the_table_brings_nothing_heavy() -> None:
    code = """
import sys
import airflow_provider_anyformat.parameters
print(sorted(name for name in sys.modules if name.startswith("airflow_provider_anyformat")))
print(sorted({"requests", "airflow", "tenacity", "asyncio", "pendulum"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "retention" not in done.stdout
    assert "client" not in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
