"""Whether a reading of a workflow's pages is believed, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page
from airflow_provider_anyformat.exceptions import AnyformatListingError


def page(number: int, ids: list[str], count: int, page_size: int = 2, **changes: Any) -> Page:
    results = [{"id": f"collection-{each}", "status": "processed", "name": "a"} | changes for each in ids]
    return Page.from_json({"results": results, "count": count, "page": number, "page_size": page_size}, "wf", number)


def read(*pages: Page) -> tuple[ListingPass, list[str]]:
    reading, new = ListingPass("wf"), []
    for each in pages:
        new += [row.id.removeprefix("collection-") for row in reading.add(each)]
    reading.finish()
    return reading, new


def test_a_complete_reading() -> None:
    reading, new = read(page(1, ["a", "b"], 3), page(2, ["c"], 3))
    assert new == ["a", "b", "c"]
    assert len(reading) == 3
    assert reading.contradicted_positions() == []
    assert reading.positions(["collection-c", "collection-a", "collection-d"]) == {"collection-a": 0, "collection-c": 2}
    assert reading.shows("collection-a")
    assert reading.shows("collection-c")
    assert not reading.shows("collection-d")


def test_repeats_are_dropped_on_a_page_and_across_pages() -> None:
    reading, new = read(page(1, ["a", "a"], 3), page(2, ["b", "a"], 3), page(3, ["b", "c"], 3))
    assert new == ["a", "b", "c"]
    assert reading.contradicted_positions() == []


def test_repeats_are_dropped_from_pages_made_by_hand() -> None:
    one, two = FileCollection("a", "wf", "processed"), FileCollection("a", "wf", "error")
    reading = ListingPass("wf")
    assert list(reading.add(Page((one, one), 1, 1, 2))) == [one]
    assert list(reading.add(Page((one, two), 1, 2, 2))) == []
    reading.finish()
    assert reading.contradicted_positions() == [0]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "error"},
        {"name": "b"},
        {"name": None},
        {"name": ["b"]},
        {"created_at": "2026-01-31T12:30:00Z"},
        {"updated_at": "2026-01-31T12:30:00Z"},
        {"file_id": "f"},
    ],
    ids=repr,
)
def test_contradictions(changes: dict[str, Any]) -> None:
    reading, new = read(page(1, ["x", "a"], 3), page(2, ["b"], 3), page(3, ["a", "b"], 3, **changes), page(4, ["c"], 3))
    assert new == ["x", "a", "b", "c"]
    assert reading.contradicted_positions() == [1, 2]


def test_growth_is_no_error_and_shrinking_is_none_either() -> None:
    assert read(page(1, ["a", "b"], 3), page(2, ["c", "d"], 4))[1] == ["a", "b", "c", "d"]
    assert read(page(1, ["a", "b"], 4), page(2, ["c"], 3))[1] == ["a", "b", "c"]
    assert read(page(1, [], 0))[1] == []


def test_a_reading_that_shows_too_few_is_not_complete() -> None:
    with pytest.raises(AnyformatListingError, match=r"not complete: 2 .* counted 3") as caught:
        read(page(1, ["a", "b"], 3))
    assert caught.value.retryable
    with pytest.raises(AnyformatListingError, match="not complete"):
        ListingPass("wf").finish()


def test_a_page_without_new_ids_before_the_end_spoils_the_reading() -> None:
    with pytest.raises(AnyformatListingError, match="nothing new on page 2, although only 2 of 3"):
        read(page(1, ["a", "b"], 3), page(2, ["a", "b"], 3))
    with pytest.raises(AnyformatListingError, match="nothing new on page 1"):
        read(page(1, [], 3))
    # After the count was reached it is only late.
    assert read(page(1, ["a", "b"], 2), page(2, ["a"], 2))[1] == ["a", "b"]


def test_a_listing_that_never_ends_is_given_up() -> None:
    reading = ListingPass("wf")
    for number in range(1, 103):
        reading.add(page(number, [f"{number}a", f"{number}b"], 2 * number))
    with pytest.raises(AnyformatListingError, match=r"does not end: 1 pages were expected, and page 103"):
        reading.add(page(103, ["x", "y"], 206))
    assert len(reading) == 204


def test_a_listing_without_totals_goes_on_while_it_shows_something_new() -> None:
    reading = ListingPass("wf")
    for number in range(1, 301):
        reading.add(Page((FileCollection(f"{number}", "wf", "processed"),), None, number, 1))
    row = FileCollection("1", "wf", "processed")
    for number in range(301, 701):
        assert list(reading.add(Page((row,), None, number, 1))) == []
    with pytest.raises(AnyformatListingError, match=r"300 pages were expected, and page 701"):
        reading.add(Page((row,), None, 701, 1))


def test_where_ids_are_shown_and_which_were_shown_elsewhere() -> None:
    reading, _ = read(page(1, ["a", "b"], 3), page(2, ["c"], 3))
    of = {each: hash(f"collection-{each}") for each in "abcd"}
    assert reading.places({of["b"], of["c"], of["d"]}) == [1, 2]
    assert reading.places(set()) == []
    seen = {of["c"], of["d"]}
    assert reading.repeats(seen) == {of["c"]}
    assert seen == set(of.values())


shown = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["processed", "error", None, ["processed"]]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(shown, max_size=4), min_size=1, max_size=6))
def test_each_id_is_shown_once_and_what_disagrees_is_known(pages: list[list[tuple[str, Any]]]) -> None:
    first: dict[str, Any] = {}
    disputed: set[str] = set()
    reading = ListingPass("wf")
    for number, rows in enumerate(pages, 1):
        results = [{"id": f"collection-{each}", "status": status} for each, status in rows]
        body = {"results": results, "count": 0, "page": number, "page_size": 4}
        new = [row.id for row in reading.add(Page.from_json(body, "wf", number))]
        expected = []
        for each, status in rows:
            if each not in first:
                first[each] = status
                expected.append(f"collection-{each}")
            elif first[each] != status:
                disputed.add(each)
        assert new == expected
        assert len(reading) == len(first)
    reading.finish()
    assert reading.contradicted_positions() == [place for place, each in enumerate(first) if each in disputed]
    places = {f"collection-{each}": place for place, each in enumerate(first)}
    assert reading.positions(f"collection-{each}" for each in "abcdefgh") == places
    assert [each for each in "abcdefgh" if reading.shows(f"collection-{each}")] == sorted(first)
