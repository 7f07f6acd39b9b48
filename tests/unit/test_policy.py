"""The rule row by row: what is due, and the one reason for which a row is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page, Rows
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.policy import RetentionPolicy, Selection, decide
from airflow_provider_anyformat.retention.reasons import ANOMALIES, Decision
from tests.support.tracing import lines_run

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MICRO = timedelta(microseconds=1)
CUTOFF = NOW - 30 * DAY


def policy(**changes: Any) -> RetentionPolicy:
    return RetentionPolicy(**{"older_than": 30 * DAY, "reference_time": NOW, **changes})


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def sent(**changes: Any) -> dict[str, Any]:
    """Return a row as the server sends it, 40 days old and finished, but for ``changes``."""
    row = {
        "id": "b2c3d4e5-f6a7-8901-bcde-f12345678901",
        "name": "invoice.pdf",
        "status": "processed",
        "created_at": text(NOW - 40 * DAY),
        "updated_at": text(NOW - 40 * DAY),
    }
    return row | changes


def row(workflow_id: str = "wf", **changes: Any) -> FileCollection:
    return FileCollection.from_json(sent(**changes), workflow_id)


def reason(policy: RetentionPolicy, now: datetime = NOW, **changes: Any) -> str:
    """Return why a row is kept, or ``due``; the rule says the same of a page that was never made into objects."""
    (decision,) = decide([row(**changes)], policy, now)
    assert decision.delete is (decision.reason == "due")
    selection = Selection(policy, now, "wf")
    selection.add(Rows([sent(**changes)], "wf"))
    selection.finish()
    assert selection.decisions() == [decision]
    assert selection.kept == ({} if decision.delete else {decision.reason: 1})
    assert selection.listed == 1
    assert len(selection.due) == decision.delete
    return decision.reason


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        pytest.param(CUTOFF - MICRO, "due", id="a microsecond too old"),
        pytest.param(CUTOFF, "too_young", id="as old as asked for, which is not older"),
        pytest.param(CUTOFF + MICRO, "too_young", id="a microsecond younger"),
        pytest.param(NOW, "too_young", id="now"),
        pytest.param(NOW + 5 * 60 * SECOND, "too_young", id="as far ahead as clocks may be"),
        pytest.param(NOW + 5 * 60 * SECOND + MICRO, "timestamp_future", id="further ahead"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC) + MICRO, "due", id="just after the zero of clocks"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), "timestamp_unreadable", id="the zero of clocks"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), "timestamp_unreadable", id="the zero of other clocks"),
    ],
)
def test_age(created_at: datetime, expected: str) -> None:
    assert reason(policy(), created_at=text(created_at)) == expected


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        pytest.param(None, "timestamp_missing", id="null"),
        pytest.param("", "timestamp_unreadable", id="empty"),
        pytest.param("2020-01-01", "timestamp_unreadable", id="a date alone"),
        pytest.param("yesterday, at noon exactly", "timestamp_unreadable", id="words"),
        pytest.param("2020-13-01T00:00:00Z", "timestamp_unreadable", id="month 13"),
        pytest.param(1577836800, "timestamp_unreadable", id="an epoch"),
        pytest.param(["2020-01-01T00:00:00Z"], "timestamp_unreadable", id="a list"),
        pytest.param("0001-01-01T00:00:00+14:00", "timestamp_unreadable", id="before the calendar"),
        pytest.param("2020-01-01T00:00:00", "due", id="without a zone, which is UTC"),
        pytest.param("2020-01-01T00:00:00.123456+05:30", "due", id="another zone"),
    ],
)
def test_timestamps_that_the_server_may_send(created_at: object, expected: str) -> None:
    assert reason(policy(), created_at=created_at) == expected
    assert reason(policy(age_by="updated_at"), updated_at=created_at) == expected
    # The other timestamp plays no part.
    assert reason(policy(), updated_at=created_at) == "due"
    assert reason(policy(age_by="updated_at"), created_at=created_at) == "due"


def test_a_missing_field_is_a_missing_timestamp() -> None:
    without = {key: value for key, value in sent().items() if key != "created_at"}
    (decision,) = decide([FileCollection.from_json(without)], policy(), NOW)
    assert decision == Decision(False, "timestamp_missing")


def test_age_is_compared_across_zones() -> None:
    zone = timezone(timedelta(hours=9))
    local = (CUTOFF - SECOND).astimezone(zone).isoformat()
    assert reason(policy(), created_at=local) == "due"
    local = (CUTOFF + SECOND).astimezone(zone).isoformat()
    assert reason(policy(reference_time=NOW.astimezone(zone)), created_at=local) == "too_young"


def test_an_earlier_reference_keeps_more_and_a_later_one_counts_as_now() -> None:
    at_the_edge: dict[str, Any] = {"created_at": text(CUTOFF - SECOND)}
    assert reason(policy(), **at_the_edge) == "due"
    assert reason(policy(reference_time=NOW - 2 * SECOND), **at_the_edge) == "too_young"
    just_young: dict[str, Any] = {"created_at": text(CUTOFF + SECOND)}
    assert reason(policy(reference_time=NOW + DAY), **just_young) == "too_young"
    assert policy(reference_time=NOW + DAY).cutoff(NOW) == CUTOFF
    assert policy(reference_time=NOW - DAY).cutoff(NOW) == CUTOFF - DAY


def test_a_row_after_the_reference_is_young_and_not_in_the_future() -> None:
    assert reason(policy(reference_time=NOW - 10 * DAY), created_at=text(NOW - DAY)) == "too_young"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("processed", "due"),
        ("error", "status"),
        ("cancelled", "status"),
        ("pending", "status"),
        ("queued", "status"),
        ("in_progress", "status"),
        ("processing", "status_unknown"),
        ("completed", "status_unknown"),
        ("failed", "status_unknown"),
        ("Processed", "status_unknown"),
        ("", "status_unknown"),
        (None, "status_unknown"),
        (7, "status_unknown"),
        (["processed"], "status_unknown"),
    ],
    ids=repr,
)
def test_statuses(status: object, expected: str) -> None:
    assert reason(policy(), status=status) == expected


@pytest.mark.parametrize("status", ["processed", "error", "cancelled"])
def test_finished_statuses_go_when_they_are_asked_for(status: str) -> None:
    assert reason(policy(statuses=("processed", "error", "cancelled")), status=status) == "due"
    assert reason(policy(statuses=(status,)), status=status) == "due"


@pytest.mark.parametrize("status", ["pending", "queued", "in_progress", "processing", "completed", "failed", ""])
def test_others_never_go_even_when_they_are_asked_for(status: str) -> None:
    assert reason(policy(statuses=(status, "processed")), status=status) in ("status", "status_unknown")


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        ("b2c3d4e5-f6a7-8901-bcde-f12345678901", "held"),
        ("B2C3D4E5-F6A7-8901-BCDE-F12345678901", "held"),
        ("b2c3d4e5f6a78901bcdef12345678901", "held"),
        ("B2C3D4E5F6A78901BCDEF12345678901", "held"),
        ("b2c3d4e5f-6a78901bcdef12345678901", "due"),
        ("FILE-1", "held"),
        ("file-1", "held"),
        ("b2c3d4e5", "due"),
        ("invoice", "due"),
    ],
)
def test_holds_name_collections_or_files_in_any_case(hold: str, expected: str) -> None:
    assert reason(policy(exclude_collection_ids=("other", hold)), file_id="File-1") == expected


@pytest.mark.parametrize("field", ["id", "file_id"])
def test_a_hold_meets_an_id_that_the_listing_spells_in_another_way(field: str) -> None:
    spelled: dict[str, Any] = {field: "ABC-DEF-0123"}
    assert reason(policy(exclude_collection_ids=("abc-def-0123",)), **spelled) == "held"
    spelled = {field: "A2C3D4E5F6A78901BCDEF12345678901"}
    held = policy(exclude_collection_ids=("a2c3d4e5-f6a7-8901-bcde-f12345678901",))
    assert reason(held, **spelled) == "held"


def test_two_spellings_of_one_id_are_one_collection() -> None:
    spelled = [sent()["id"], sent()["id"].replace("-", ""), sent()["id"].upper()]
    rows = [sent(id=each) for each in spelled]
    reading = ListingPass("wf")
    assert len(reading.add(Page(Rows(rows, "wf"), 1, 1, 100))) == 1
    reading.finish()
    assert all(reading.shows(each) for each in spelled)
    assert [each.delete for each in decide([row(id=each) for each in spelled], policy(), NOW)] == [False] * 3
    assert [each.reason for each in decide([row("w1"), row("w2", id=spelled[1])], policy(), NOW)] == [
        "contradictory"
    ] * 2


def test_twice_the_workflows_are_twice_the_work() -> None:
    def lines(workflows: int) -> int:
        rows = [row(f"w{n}", id=f"{n}-{k}") for n in range(workflows) for k in range(2)]
        return lines_run(lambda: decide(rows, policy(), NOW))

    assert lines(400) < 2.1 * lines(200)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "nonsense"},
        {"status": "pending"},
        {"name": None},
        {"created_at": None},
        {"created_at": "?"},
        {"created_at": text(NOW + DAY)},
        {"created_at": text(NOW)},
    ],
    ids=repr,
)
def test_a_hold_wins_over_every_other_reason(changes: dict[str, Any]) -> None:
    held = policy(exclude_collection_ids=(sent()["id"],), include_names=("x",), keep_last=1)
    assert reason(held, **changes) == "held"


def test_a_hold_wins_over_a_contradiction_whichever_row_it_names() -> None:
    held = policy(exclude_collection_ids=("file-1",))
    pair = [row(file_id="file-1"), row(file_id="file-2")]
    assert [each.reason for each in decide(pair, held, NOW)] == ["held", "held"]
    assert [each.reason for each in decide(pair[::-1], held, NOW)] == ["held", "held"]
    assert [each.reason for each in decide(pair, policy(), NOW)] == ["contradictory", "contradictory"]


def test_holds_that_name_nothing_are_known() -> None:
    held = policy(exclude_collection_ids=("FILE-1", "Gone-1", sent()["id"].upper()))
    selection = Selection(held, NOW, "wf")
    assert selection.unmatched_holds == {"file-1", "gone-1", sent()["id"]}
    selection.add([row(file_id="file-1")])
    assert selection.unmatched_holds == {"gone-1"}


@pytest.mark.parametrize(
    ("include", "exclude", "name", "expected"),
    [
        (("*.pdf",), (), "a.pdf", "due"),
        (("*.pdf",), (), "a.PDF", "name"),
        (("*.pdf",), (), "a.pdf.txt", "name"),
        (("*.pdf",), (), "a.pdf\n", "name"),
        (("a*", "*.txt"), (), "b.txt", "due"),
        (("a*", "*.txt"), (), "b.pdf", "name"),
        (("invoice",), (), "invoice-1", "name"),
        (("*",), (), "line\nbreak", "due"),
        (("*",), (), None, "name"),
        ((), ("*.pdf",), "a.PDF", "name"),
        ((), ("*.PDF",), "a.pdf", "name"),
        ((), ("*.pdf",), "a.txt", "due"),
        ((), ("x", "*.pdf"), "a.pdf", "name"),
        ((), ("x", "*.pdf"), "X", "name"),
        ((), ("contract",), "contract-1", "due"),
        ((), ("*.pdf",), None, "name"),
        ((), ("*.pdf",), 7, "name"),
        ((), ("caf\u00e9*",), "Cafe\u0301.pdf", "name"),
        ((), ("cafe\u0301*",), "CAF\u00c9.pdf", "name"),
        (("*.pdf",), ("secret*",), "Secret.pdf", "name"),
        (("*.pdf",), ("secret*",), "open.pdf", "due"),
        (("[ab].pdf",), (), "b.pdf", "due"),
        (("[!ab].pdf",), (), "b.pdf", "name"),
        ((), (), None, "due"),
    ],
    ids=repr,
)
def test_names(include: tuple[str, ...], exclude: tuple[str, ...], name: object, expected: str) -> None:
    assert reason(policy(include_names=include, exclude_names=exclude), name=name) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "pending", "name": None, "created_at": None}, "status"),
        ({"status": "what", "name": None, "created_at": None}, "status_unknown"),
        ({"name": "other", "created_at": None}, "name"),
        ({"name": "other", "created_at": "?"}, "name"),
        ({"name": "other", "created_at": text(NOW + DAY)}, "name"),
        ({"name": "other", "created_at": text(NOW)}, "name"),
    ],
    ids=repr,
)
def test_which_reason_comes_first(changes: dict[str, Any], expected: str) -> None:
    assert reason(policy(include_names=("invoice*",), keep_last=5), **changes) == expected


def aged(days: float, **changes: Any) -> FileCollection:
    """Return a row of that age, whose id tells it."""
    moment = text(NOW - days * DAY)
    return row(**({"id": f"aged-{days}-{len(changes)}", "created_at": moment, "updated_at": moment} | changes))


def reasons(rows: list[FileCollection], **changes: Any) -> list[str]:
    return [each.reason for each in decide(rows, policy(**changes), NOW)]


@pytest.mark.parametrize(
    ("keep_last", "expected"),
    [
        (0, ["due", "due", "due"]),
        (1, ["due", "keep_last", "due"]),
        (2, ["keep_last", "keep_last", "due"]),
        (3, ["keep_last", "keep_last", "keep_last"]),
        (9, ["keep_last", "keep_last", "keep_last"]),
    ],
)
def test_keep_last_keeps_the_newest(keep_last: int, expected: list[str]) -> None:
    assert reasons([aged(60), aged(50), aged(70)], keep_last=keep_last) == expected


def test_keep_last_counts_by_the_timestamp_that_counts() -> None:
    first, second = aged(50, updated_at=text(NOW - 90 * DAY)), aged(60, updated_at=text(NOW - 80 * DAY))
    assert reasons([first, second], keep_last=1) == ["keep_last", "due"]
    assert reasons([first, second], keep_last=1, age_by="updated_at") == ["due", "keep_last"]


def test_keep_last_keeps_all_of_one_moment() -> None:
    rows = [aged(40), aged(50, id="one"), aged(50, id="two"), aged(50, id="three"), aged(60)]
    assert reasons(rows, keep_last=1) == ["keep_last", "due", "due", "due", "due"]
    assert reasons(rows, keep_last=2) == ["keep_last", "keep_last", "keep_last", "keep_last", "due"]
    assert reasons(rows, keep_last=4) == ["keep_last", "keep_last", "keep_last", "keep_last", "due"]


def test_young_rows_are_among_the_newest() -> None:
    rows = [aged(1), aged(40), aged(50)]
    assert reasons(rows, keep_last=1) == ["too_young", "due", "due"]
    assert reasons(rows, keep_last=2) == ["too_young", "keep_last", "due"]


def test_held_rows_are_among_the_newest() -> None:
    rows = [aged(1, id="young"), aged(40, id="old"), aged(50), aged(60)]
    held = ("young", "old")
    assert reasons(rows, exclude_collection_ids=held, keep_last=1) == ["held", "held", "due", "due"]
    assert reasons(rows, exclude_collection_ids=held, keep_last=2) == ["held", "held", "due", "due"]
    assert reasons(rows, exclude_collection_ids=held, keep_last=3) == ["held", "held", "keep_last", "due"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "pending"}, "status"),
        ({"status": "?"}, "status_unknown"),
        ({"name": "other"}, "name"),
        ({"created_at": None}, "timestamp_missing"),
        ({"created_at": "?"}, "timestamp_unreadable"),
        ({"created_at": text(NOW + DAY)}, "timestamp_future"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
def test_a_row_that_does_not_surely_pass_takes_no_place(changes: dict[str, Any], expected: str, held: bool) -> None:
    newest = aged(35, id="newest", **changes)
    found = reasons(
        [newest, aged(40), aged(50)],
        keep_last=1,
        include_names=("inv*",),
        exclude_collection_ids=("newest",) if held else (),
    )
    assert found == ["held" if held else expected, "keep_last", "due"]


@pytest.mark.parametrize("age", [1, 35], ids=["young", "old"])
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
def test_a_contradiction_takes_no_place(age: int, held: bool) -> None:
    pair = [aged(age, id="pair"), aged(age + 1, id="pair")]
    found = reasons([*pair, aged(40), aged(50)], keep_last=1, exclude_collection_ids=("pair",) if held else ())
    assert found == ["held" if held else "contradictory"] * 2 + ["keep_last", "due"]


def test_keep_last_is_for_each_workflow() -> None:
    rows = [row("one", id="a", created_at=text(NOW - 40 * DAY)), row("two", id="b", created_at=text(NOW - 50 * DAY))]
    assert reasons(rows, keep_last=1) == ["keep_last", "keep_last"]
    assert reasons([*rows, row("two", id="c", created_at=text(NOW - 60 * DAY))], keep_last=1)[2] == "due"


def test_rows_that_repeat_get_the_same_decision_and_one_place() -> None:
    young, old = aged(1), aged(40)
    assert reasons([old, young, young, old, aged(1)], keep_last=2) == [
        "keep_last",
        "too_young",
        "too_young",
        "keep_last",
        "too_young",
    ]
    assert reasons([old, old], keep_last=0) == ["due", "due"]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "error"},
        {"status": "pending"},
        {"name": "other"},
        {"created_at": text(NOW - 41 * DAY)},
        {"created_at": None},
        {"created_at": "?"},
        {"updated_at": text(NOW)},
        {"file_id": "file-1"},
        {"workflow_id": "other"},
    ],
    ids=repr,
)
def test_two_rows_of_one_id_that_disagree_stay(changes: dict[str, Any]) -> None:
    pair = [row(), row(**changes)]
    assert reasons(pair) == ["contradictory", "contradictory"]
    assert reasons(pair[::-1]) == ["contradictory", "contradictory"]
    assert reasons([row(), *pair, row(id="another")]) == ["contradictory"] * 3 + ["due"]


def test_a_page_that_contradicts_an_earlier_one_is_taken_back() -> None:
    """The reading learns of it after the first row was judged."""
    reading, selection = ListingPass("wf"), Selection(policy(keep_last=1), NOW, "wf")
    pages = [
        [sent(id="ordinary-id-1"), sent(id="ordinary-id-2", created_at=text(NOW))],
        [sent(id="ordinary-id-3"), sent(id="ordinary-id-1", status="error")],
        [sent(id="ordinary-id-2", created_at=text(NOW - DAY)), sent(id="ordinary-id-4", created_at=text(CUTOFF - DAY))],
    ]
    for number, results in enumerate(pages, 1):
        body = json.loads(json.dumps({"results": results, "count": 4, "page": number, "page_size": 2}))
        selection.add(reading.add(Page.from_json(body, "wf", number)))
    reading.finish()
    selection.finish(reading.contradicted_positions())
    assert [each.reason for each in selection.decisions()] == ["contradictory", "contradictory", "due", "keep_last"]
    assert selection.kept == {"contradictory": 2, "keep_last": 1}
    assert [each.collection_id for each in selection.due] == ["ordinary-id-3"]


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("portion", [1, 2, 3, 6])
def test_a_held_row_that_a_later_page_contradicts_takes_no_place(portion: int, at: int) -> None:
    """Wherever in its page it stands: it is the one held row that is forgotten, and not its neighbour."""
    rows = [aged(days) for days in (40, 45, 50, 55, 60)]
    rows.insert(at, aged(35, id="held-1"))
    rows.insert(0, aged(36, id="held-2"))
    selection = Selection(policy(keep_last=2, exclude_collection_ids=("held-1", "held-2")), NOW, "wf")
    for start in range(0, len(rows), portion):
        selection.add(rows[start : start + portion])
    selection.finish([at + 1])
    # Two are the newest: held-2, about which nobody disagrees, and the one of 40 days.
    assert selection.kept == {"held": 2, "keep_last": 1}
    assert [each.collection_id for each in selection.due] == [
        each.id for each in rows if each.id not in ("held-1", "held-2", rows[1 if at else 2].id)
    ]


def test_what_is_due_is_told_as_the_plan_needs_it() -> None:
    for rows in ([row()], Rows([sent()], "wf")):
        selection = Selection(policy(), NOW, "wf")
        selection.add(rows)
        selection.finish()
        (due,) = selection.due
        moment = NOW - 40 * DAY
        assert due == (sent()["id"], "wf", "processed", moment, moment, "due")
        assert selection.workflow_id == "wf"
        assert selection.cutoff == CUTOFF


def test_several_portions_count_like_one() -> None:
    rows = [aged(1), aged(40), aged(50), aged(35, status="x"), aged(60), aged(70, id="held-1")]
    changes: dict[str, Any] = {"keep_last": 3, "exclude_collection_ids": ("held-1",)}
    selection = Selection(policy(**changes), NOW, "wf")
    for each in rows:
        selection.add([each])
    selection.finish()
    assert selection.decisions() == decide(rows, policy(**changes), NOW)
    assert [each.collection_id for each in selection.due] == [rows[4].id]
    assert selection.kept == {"too_young": 1, "keep_last": 2, "status_unknown": 1, "held": 1}


def test_no_rows_no_decisions() -> None:
    assert decide([], policy(), NOW) == []


def test_decisions_of_one_reason_are_one_object() -> None:
    first, second = decide([row(), row(id="other")], policy(), NOW)
    assert first is second


def test_the_reasons_to_look_into() -> None:
    assert {reason for reason in ANOMALIES if not reason.startswith("timestamp_")} == {
        "contradictory",
        "no_results",
        "not_listed",
        "status_unknown",
    }
    assert {"timestamp_missing", "timestamp_unreadable", "timestamp_future"} < ANOMALIES


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"older_than": timedelta(0)}, "older_than"),
        ({"older_than": -DAY}, "older_than"),
        ({"reference_time": NOW.replace(tzinfo=None)}, "reference_time"),
        ({"age_by": "name"}, "age_by"),
        ({"keep_last": -1}, "keep_last"),
        ({"statuses": "processed"}, "statuses"),
        ({"exclude_collection_ids": "abc"}, "exclude_collection_ids"),
        ({"include_names": "*.pdf"}, "include_names"),
        ({"exclude_names": "*.pdf"}, "exclude_names"),
    ],
    ids=repr,
)
def test_a_policy_that_would_select_more_than_it_says_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(AnyformatValueError, match=rf"^{named}: "):
        policy(**changes)


def test_the_shortest_age_is_any_that_is_positive() -> None:
    assert reason(policy(older_than=MICRO), created_at=text(NOW - 2 * MICRO)) == "due"


def test_an_age_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(AnyformatValueError, match=r"^older_than: "):
        decide([row()], policy(older_than=timedelta(days=800_000)), NOW)


def test_what_a_policy_takes_when_nothing_is_said() -> None:
    plain = RetentionPolicy(older_than=DAY, reference_time=NOW)
    assert (plain.age_by, plain.statuses, plain.keep_last) == ("created_at", ("processed",), 0)
    assert plain.exclude_collection_ids == plain.include_names == plain.exclude_names == ()
