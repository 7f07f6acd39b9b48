"""Listings that lie, or change while they are read: nothing is deleted that is not surely due."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.settings import RequestRecord
from tests.support.logs import Lines
from tests.support.sandboxes import FOREVER, at_request, left, old, passes
from tests.support.tasks import list_task, purge_task, run

pytestmark = pytest.mark.untraced

Payload = dict[str, Any]

unlimited_purge = partial(purge_task, max_deletions="unlimited")


def without(key: str) -> Callable[[int, Payload], Payload]:
    return lambda _, page: {name: value for name, value in page.items() if name != key}


def having(**changes: Any) -> Callable[[int, Payload], Payload]:
    return lambda _, page: {**page, **changes}


def first_row(**changes: Any) -> Callable[[int, Payload], Payload]:
    def change(number: int, page: Payload) -> Payload:
        rows = copy.deepcopy(page["results"])
        if number == 1:
            rows[0] |= changes
        return {**page, "results": rows}

    return change


def more(extra: int) -> Callable[[int, Payload], Payload]:
    return lambda _, page: {**page, "count": page["count"] + extra}


def rows_replaced(make: Callable[[list[Payload]], list[Any]]) -> Callable[[int, Payload], Payload]:
    return lambda _, page: {**page, "results": make(page["results"])}


def endless(number: int, page: Payload) -> Payload:
    """Give new rows on each page, and always more than were shown."""
    rows = [{**row, "id": str(uuid.uuid4())} for row in page["results"] or [{"id": "", "status": "processed"}]]
    return {"count": (number + 1) * len(rows), "page": number, "page_size": len(rows), "results": rows[:2]}


# What a page may lack, and in how many forms, is in test_client_reading.py.
LIES = {
    "not-an-object": lambda _, page: page["results"],
    "results-null": having(results=None),
    "results-empty": having(results=[]),
    "row-without-id": rows_replaced(lambda rows: [*rows[:-1], {"status": "processed"}]),
    "count-one-too-many": more(1),
    "count-far-too-many": more(FOREVER),
    "page-another": lambda number, page: {**page, "page": number + 1},
    # Pages would be left out.
    "page-size-too-large": having(page_size=1000),
    "id-path": first_row(id="../workflows/x"),
    "row-repeated-for-another": rows_replaced(lambda rows: [*rows[:-1], rows[0]]),
    "same-page-again": lambda number, page: {**page, "results": _first_page(number, page)},
    "endless": endless,
}

_seen: dict[int, list[Any]] = {}


def _first_page(number: int, page: Payload) -> list[Any]:
    if number == 1:
        _seen[1] = page["results"]
    return _seen[1]


class TestListingThatLies:
    """Nothing is deleted on its strength, three readings are made, and the task may try again."""

    @pytest.mark.parametrize("lie", [pytest.param(lie, id=name) for name, lie in LIES.items()])
    def test_for_good(self, sandbox: Sandbox, lie: Callable[[int, Payload], Payload]) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 250)
        sandbox.mangle_page = lie
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_retryable
        assert passes(sandbox) == 3
        assert sandbox.requests_to("DELETE") == []
        assert left(sandbox, workflow) == set(ids)
        assert len(sandbox.requests) <= 3 * 110

    @pytest.mark.parametrize("task", [list_task, partial(unlimited_purge, plan_only=True)], ids=["list", "plan_only"])
    def test_neither_list_nor_plan_overlooks_it(self, sandbox: Sandbox, task: Callable[..., Any]) -> None:
        workflow = sandbox.add_workflow()
        old(sandbox, workflow, 10)
        sandbox.mangle_page = more(1)
        ran = run(task(workflow_id=workflow, older_than="P90D"))
        assert ran.is_retryable
        assert passes(sandbox) == 3
        assert ran.returned is None

    @pytest.mark.parametrize("spoilt", [1, 2])
    def test_a_later_reading_that_holds(self, sandbox: Sandbox, spoilt: int) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 250)
        sandbox.mangle_page = lambda _, page: (
            {**page, "count": page["count"] + 5} if passes(sandbox) <= spoilt else page
        )
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert passes(sandbox) == spoilt + 1
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert ran.counts("listed", "due", "deleted") == (250, 250, 250)

    def test_one_workflow_of_two(self, sandbox: Sandbox) -> None:
        good, bad = sandbox.add_workflow(), sandbox.add_workflow()
        old(sandbox, good, 10)
        old(sandbox, bad, 11)
        sandbox.mangle_page = lambda _, page: {**page, "count": 12} if page["count"] == 11 else page
        assert run(unlimited_purge(workflow_id=[good, bad])).is_retryable
        assert sandbox.requests_to("DELETE") == []

    def test_repeats_are_dropped(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 250)
        sandbox.mangle_page = rows_replaced(lambda rows: [*rows, *rows[:3]])
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert ran.counts("listed", "due", "deleted") == (250, 250, 250)
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    @pytest.mark.parametrize(
        ("change", "first"),
        [
            ({"status": "in_progress"}, True),
            ({"status": "in_progress"}, False),
            ({"created_at": "2020-01-01T00:00:00Z"}, True),
            ({"updated_at": None}, False),
            ({"name": "another"}, True),
            ({"file_id": "7b0e63a5-5a4e-4d6e-9f1c-0d8a3c1f2e44"}, False),
        ],
        ids=["status before", "status behind", "created_at", "updated_at", "name", "file_id"],
    )
    def test_two_rows_that_disagree(self, sandbox: Sandbox, lines: Lines, change: dict[str, Any], first: bool) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 150)
        victim = ids[40]

        def twice(number: int, page: Payload) -> Payload:
            rows = page["results"]
            other = [{**row, **change} for row in rows if row["id"] == victim]
            if number == (1 if first else 2):
                rows = [*rows, *(other or [self._row(sandbox, workflow, victim) | change])]
            return {**page, "results": rows}

        sandbox.mangle_page = twice
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert left(sandbox, workflow) == {victim}
        assert ran.summary["kept"] == {"contradictory": 1}
        assert lines.last.levelname == "WARNING"
        assert "contradictory 1" in lines.last.getMessage()

    @staticmethod
    def _row(sandbox: Sandbox, workflow: str, collection_id: str) -> Payload:
        return next(row for row in sandbox.collections(workflow) if row["id"] == collection_id)

    def test_one_id_in_two_workflows_is_a_contradiction(self, sandbox: Sandbox, lines: Lines) -> None:
        one, two = sandbox.add_workflow(), sandbox.add_workflow()
        ids, others = old(sandbox, one, 5), old(sandbox, two, 6)
        for change in ({}, {"status": "in_progress"}):
            sandbox.mangle_page = self._also_in_the_second(ids[2], change)
            ran = run(unlimited_purge(workflow_id=[one, two], plan_only=True))
            assert ran.counts("listed", "due") == (11, 9)
            assert ran.summary["kept"] == {"contradictory": 2}
            assert lines.last.levelname == "WARNING"
        run(unlimited_purge(workflow_id=[two, one]))
        assert left(sandbox, one) | left(sandbox, two) == {ids[2], others[0]}

    @staticmethod
    def _also_in_the_second(collection_id: str, change: dict[str, str]) -> Callable[[int, Payload], Payload]:
        """Give the six rows of the second workflow, the oldest of which has become one of the first workflow."""

        def mangle(_: int, page: Payload) -> Payload:
            rows = copy.deepcopy(page["results"])
            if len(rows) == 6:
                rows[-1] |= {"id": collection_id, **change}
            return {**page, "results": rows}

        return mangle


class TestListingThatChanges:
    @staticmethod
    def _between_pages(sandbox: Sandbox, act: Callable[[int], object]) -> None:
        """Do something before every page but the first of a reading."""

        def look(record: RequestRecord) -> None:
            found = [part for part in record.query.split("&") if part.startswith("page=")]
            if record.method == "GET" and found and found != ["page=1"]:
                act(int(found[0].removeprefix("page=")))

        sandbox.on_request.append(look)

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    def test_growth_is_no_error(self, sandbox: Sandbox, order: Any) -> None:
        sandbox.order = order
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 350)
        added: list[str] = []
        self._between_pages(sandbox, lambda _: added.extend(sandbox.fill(workflow, 30)))
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert passes(sandbox) == 1
        assert sandbox.deleted == dict.fromkeys(ids, 1)
        assert left(sandbox, workflow) == set(added)
        assert added

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    def test_what_vanishes_is_not_deleted_and_what_slips_by_stays(self, sandbox: Sandbox, order: Any) -> None:
        sandbox.order = order
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 350)
        # Three of the first page, once it was read: three of the second are shown on no page.
        gone = ids[:3] if order == "oldest" else ids[-3:]
        at_request(sandbox, 2, lambda: [sandbox.remove_collection(each) for each in gone], method="GET")
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert ran.counts("listed", "requested", "deleted", "already_gone") == (347, 347, 344, 3)
        assert set(sandbox.deleted.values()) == {1}
        assert len(left(sandbox, workflow)) == 3
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.counts("deleted", "already_gone") == (3, 0)

    def test_rows_that_move_between_pages(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 200)
        at_request(sandbox, 2, lambda: setattr(sandbox, "order", "oldest"), method="GET")
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        # The first reading showed the newest hundred twice.
        assert passes(sandbox) == 2
        assert ran.counts("listed", "deleted") == (200, 200)
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_a_row_that_changes_between_two_pages_that_show_it(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 200)
        shown_twice = ids[100]

        def change() -> None:
            sandbox.update_collection(shown_twice, status="in_progress")
            sandbox.add_collection(workflow)

        at_request(sandbox, 2, change, method="GET")
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert shown_twice in sandbox
        assert ran.summary["kept"] == {"contradictory": 1}

    @pytest.mark.parametrize("cap", [1, 30, 99])
    def test_a_server_that_caps_its_pages(self, sandbox: Sandbox, cap: int) -> None:
        sandbox.page_size_cap = cap
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 100)
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.counts("listed", "deleted") == (100, 100)
        assert sandbox.deleted == dict.fromkeys(ids, 1)

    def test_a_cap_that_changes_between_pages(self, sandbox: Sandbox) -> None:
        workflow = sandbox.add_workflow()
        ids = old(sandbox, workflow, 250)
        at_request(sandbox, 2, lambda: setattr(sandbox, "page_size_cap", 30), method="GET")
        ran = run(unlimited_purge(workflow_id=workflow))
        assert ran.is_green
        assert ran.counts("listed", "deleted") == (250, 250)
        assert sandbox.deleted == dict.fromkeys(ids, 1)
