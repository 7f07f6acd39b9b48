"""The rule for ids, and what becomes of the server's rows and pages."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat.api.models import FileCollection, Page, Rows, parse_timestamp
from airflow_provider_anyformat.api.values import NULL_WORDS, check_id, is_id, shown
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatListingError, AnyformatValueError

ID = "b2c3d4e5-f6a7-8901-bcde-f12345678901"
ALLOWED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def fits(text: str) -> bool:
    """Say by hand what the pattern says."""
    return 1 <= len(text) <= 128 and set(text) <= ALLOWED and text.lower() not in ("none", "null", "nan", "undefined")


near_ids = st.one_of(
    st.text(max_size=140),
    st.text("abcXYZ019_-", max_size=140),
    st.text("aZ0_-./%?#\n\r\t\0 \u0660\uff41\u00e9", max_size=20),
    st.sampled_from(["none", "None", "NULL", "nan", "Undefined", "NaN ", "none1"]),
    st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,130}\n?"), fullmatch=True),
)


@settings(max_examples=300, deadline=None)
@given(near_ids)
@example("a" * 128)
@example("a" * 129)
@example("a\n")
@example("")
@example("-" * 36)
@example("\ud800" * 12)
def test_ids_are_what_the_pattern_says_and_nothing_else(text: str) -> None:
    assert is_id(text) is fits(text)
    if fits(text):
        assert check_id(text) is text
        return
    with pytest.raises(AnyformatValueError, match=r"^here: ") as caught:
        check_id(text, "here")
    assert caught.value.retryable is False
    assert str(caught.value).isascii() or "…" in str(caught.value)
    assert str(caught.value).count("\n") <= 1


@settings(max_examples=300, deadline=None)
@given(st.lists(near_ids, max_size=4), st.lists(st.one_of(st.none(), near_ids), max_size=4))
def test_a_page_with_an_id_that_is_none_is_no_page(ids: list[str], file_ids: list[str | None]) -> None:
    results: list[dict[str, Any]] = [{"id": each} for each in ids]
    results += [{"id": f"collection-{n}", "file_id": each} for n, each in enumerate(file_ids)]
    usable = all(fits(each) for each in ids) and all(each is None or fits(each) for each in file_ids)
    if usable:
        assert [row.id for row in Rows(results, "wf")] == [row["id"] for row in results]
        return
    with pytest.raises(AnyformatListingError, match="which is not a valid id"):
        Rows(results, "wf")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, "upstream task pushed no value"),
        ("None", "upstream task pushed no value"),
        (" null ", "upstream task pushed no value"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        (True, "of type bool"),
        (12, "of type int"),
        (1e5, "of type float"),
        (b"abc", "of type bytes"),
        (bytearray(b"abc"), "of type bytearray"),
        ("a/b", "1 to 128 characters"),
        (["a"], "of type list"),
        ({"id": "a"}, "of type dict"),
    ],
    ids=repr,
)
def test_what_is_wrong_with_an_id_is_said(value: object, hint: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^collection_id: ") as caught:
        check_id(value)
    assert shown(value) in str(caught.value)
    assert hint in str(caught.value)
    assert isinstance(caught.value, AnyformatError)


def test_what_a_message_shows_is_escaped_and_cut() -> None:
    assert shown("a\n\x1b[31m\u2028") == r"'a\n\x1b[31m\u2028'"
    assert shown("x" * 198) == "'" + "x" * 198 + "'"
    assert shown("x" * 199) == "'" + "x" * 198 + "…"
    assert shown("x" * 50, 10) == "'xxxxxxxx…"


def test_null_words() -> None:
    assert {"none", "null", "nan", "undefined"} == NULL_WORDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-31T12:30:00Z", datetime(2026, 1, 31, 12, 30, tzinfo=UTC), id="Z"),
        pytest.param("2026-01-31T12:30Z", datetime(2026, 1, 31, 12, 30, tzinfo=UTC), id="without seconds"),
        pytest.param("2026-01-31T12:30", datetime(2026, 1, 31, 12, 30, tzinfo=UTC), id="without a zone"),
        pytest.param("2026-01-31T12:30:00+02:00", datetime(2026, 1, 31, 10, 30, tzinfo=UTC), id="offset"),
        pytest.param("2026-01-31 12:30:00.5Z", datetime(2026, 1, 31, 12, 30, 0, 500000, UTC), id="blank and fraction"),
        pytest.param("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="the last second"),
        pytest.param("9999-12-31T23:59:59-01:00", None, id="after the last second in UTC"),
        pytest.param("0001-01-01T00:30:00+01:00", None, id="before the first second in UTC"),
        pytest.param("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), id="the first second"),
        pytest.param("2026-01-31", None, id="a date"),
        pytest.param("2026-01-31T12Z", None, id="an hour"),
        pytest.param("2026-02-30T12:30:00Z", None, id="no such day"),
        pytest.param("a long sentence ending in Z", None, id="words"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="null"),
        pytest.param(1769862600, None, id="a number"),
        pytest.param(["2026-01-31T12:30:00Z"], None, id="a list"),
        pytest.param({"Z": 1}, None, id="an object"),
        pytest.param(["Z"] * 20, None, id="a list that looks like it"),
    ],
)
def test_timestamps(text: object, expected: datetime | None) -> None:
    assert parse_timestamp(text) == expected
    row = FileCollection.from_json({"id": ID, "created_at": text, "updated_at": text})
    assert row.created_at == row.updated_at == expected
    missing = text is None or expected is not None
    assert row.unreadable == (() if missing else ("created_at", "updated_at"))
    for field in ("created_at", "updated_at"):
        rows = Rows([{"id": ID, field: text}], "wf")
        assert list(rows.moments(field)) == [expected]
        assert rows[0].unreadable == (() if missing else (field,))
        assert all(moment is None or moment.utcoffset() is not None for moment in rows.moments(field))


def test_a_timestamp_keeps_its_zone() -> None:
    moment = parse_timestamp("2026-01-31T12:30:00+02:00")
    assert moment is not None
    assert moment.tzinfo == timezone(timedelta(hours=2))


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(["2026-01-31T12:30:00Z", "2026-01-31T12:30:00+02:00", "2026-01-31T12:30:00", "2026-01-31"]),
    st.lists(st.just("Z"), max_size=20),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
statuses = st.one_of(st.sampled_from(["processed", "error"]), odd)
odd_rows = st.fixed_dictionaries(
    {"id": st.sampled_from([ID, "short", "another-id-of-ours"])},
    optional=dict.fromkeys(("name", "created_at", "updated_at", "more"), odd)
    | {"status": statuses, "file_id": st.sampled_from([None, "f-1", "file-of-some-length"])},
)


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_rows, max_size=4))
@pytest.mark.untraced
def test_columns_say_what_the_objects_say(results: list[dict[str, Any]]) -> None:
    rows = Rows(results, "wf")
    objects = list(rows)
    assert len(rows) == len(objects) == len(results)
    assert objects == rows[:] == [FileCollection.from_json(row, "wf") for row in results]
    assert rows.statuses() == [each.status for each in objects]
    assert rows.names() == [each.name for each in objects]
    assert list(rows.moments("created_at")) == [each.created_at for each in objects]
    assert list(rows.moments("updated_at")) == [each.updated_at for each in objects]
    dated = [(each.id, "wf", each.status, each.created_at, each.updated_at) for each in objects]
    # With what was read before, and without.
    assert list(rows.dated(range(len(results)))) == list(Rows(results, "wf").dated(range(len(results)))) == dated
    for statuses in (frozenset({"processed"}), frozenset({"processed", "error", "a"})):
        assert rows.have_only(statuses) is all(each.status in statuses for each in objects)
    keys, prints = rows.hashes()
    assert keys == [hash(each.id) for each in objects]
    # A row has one fingerprint, whatever the others of its page are like.
    assert prints == [Rows([row], "wf").hashes()[1][0] for row in results]
    for one, print_ in zip(objects, prints, strict=True):
        for other, other_print in zip(objects, prints, strict=True):
            assert dataclasses.replace(one, id=other.id) == other or print_ != other_print


def test_a_row_is_frozen_and_holds_what_came() -> None:
    row = FileCollection.from_json(
        {"id": ID, "name": "a.pdf", "status": "processed", "created_at": "2026-01-31T12:30:00Z", "file_id": "f-1"}, "wf"
    )
    moment = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    assert row == FileCollection(ID, "wf", "processed", "a.pdf", moment, None, "f-1")
    assert FileCollection.from_json({"id": ID}).workflow_id == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.status = "error"  # type: ignore[misc]


@pytest.mark.parametrize("row", [None, "text", 5, [], ["id"], [["id", ID]], {}, {"ID": ID}], ids=repr)
def test_what_is_no_row_spoils_the_page(row: object) -> None:
    with pytest.raises(AnyformatListingError, match="results: "):
        FileCollection.from_json(row)
    with pytest.raises(AnyformatListingError, match="results: "):
        Rows([{"id": ID}, row], "wf")


@pytest.mark.parametrize("bad", [None, "", "none", 7, True, ["a"], {}, "a" * 129, "a b", ID + "\n"], ids=repr)
def test_an_id_that_is_none_spoils_the_page(bad: object) -> None:
    with pytest.raises(AnyformatListingError, match="sent the id ") as caught:
        Rows([{"id": ID}, {"id": bad}], "wf")
    assert caught.value.retryable
    if bad is not None:
        with pytest.raises(AnyformatListingError, match="sent the file_id "):
            Rows([{"id": ID, "file_id": bad}], "wf")


def body(**changes: Any) -> dict[str, Any]:
    return {"results": [{"id": ID}], "count": 1, "page": 1, "page_size": 20} | changes


def test_a_page() -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    page = Page.from_json(body(count=7, page=3), "wf", 3, moment)
    assert list(page.collections) == [FileCollection(ID, "wf", "")]
    assert (page.count, page.page, page.page_size, page.server_date) == (7, 3, 20, moment)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"results": None}, "results"),
        ({"results": {}}, "results"),
        ({"results": "text"}, "results"),
        ({"count": None}, "count"),
        ({"count": -1}, "count"),
        ({"count": True}, "count"),
        ({"count": "1"}, "count"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_size": None}, "page_size"),
        ({"page_size": 20.0}, "page_size"),
        ({"page": 2}, "page"),
        ({"page": None}, "page"),
    ],
    ids=repr,
)
def test_an_answer_that_is_no_page(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(AnyformatListingError, match=rf"page 1 of workflow wf cannot be used: {named}: "):
        Page.from_json(body(**changes), "wf", 1)


@pytest.mark.parametrize("page_size", [1, 1000])
def test_the_bounds_of_a_page(page_size: int) -> None:
    assert Page.from_json(body(page_size=page_size, count=0, results=[]), "wf", 1).page_size == page_size
