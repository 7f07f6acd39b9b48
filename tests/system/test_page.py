"""The page "Retention", looked at in a browser, with whatever Airflow's REST API may answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from scripts.local_airflow import AIRFLOW_VERSION
from tests.support.page import ORIGIN, STATIC, SUMMARY, WORKFLOW, FakeAirflow, Reader, dag, run, summary

pytestmark = [
    pytest.mark.skipif(AIRFLOW_VERSION < (3, 1), reason="the page came with Airflow 3.1"),
    pytest.mark.timeout(120),
]
Open = Callable[..., Reader]

# Of each text on the page: how it stands out from what is behind it, by WCAG 2.
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data]);
  }
  return found;
}"""


@pytest.fixture
def look(chromium: Browser) -> Iterator[Open]:
    readers: list[Reader] = []

    def make(*instances: dict[str, Any], dark: bool = False, width: int = 1280, **answers: Any) -> Reader:
        readers.append(Reader(chromium, FakeAirflow(*instances, **answers), dark=dark, width=width))
        readers[-1].open()
        return readers[-1]

    yield make
    for reader in readers:
        reader.leave()


def rows(page: Page) -> list[str]:
    return page.locator("#rows > tr").all_inner_texts()


def deleted(shown: Locator) -> list[str]:
    return [row.locator("td[data-label='Deleted']").inner_text().split("\n")[0] for row in shown.all()]


def test_what_it_says_of_a_purge(look: Open) -> None:
    page = look(
        run(numbers=summary(due=15, kept={"too_young": 1234, "held": 3, "timestamp_missing": 2})),
        run(night=24, numbers=summary(due=15)),
    ).page
    row = page.locator("#rows > tr")
    for text in (
        "invoices / purge",
        "older than 90 days",
        WORKFLOW,
        "2026-11-25 02:19 UTC",
        "1,234 too young",
        "3 held",
        "2 collections kept: no date",
        "3 collections held",
        "s3://audit/a/b",
        "head ab12cd34",
    ):
        expect(row).to_contain_text(text)
    numbers = {label: row.locator(f"td[data-label='{label}']") for label in ("Deleted", "Anomalies", "Backlog")}
    assert {label: cell.inner_text() for label, cell in numbers.items()} == {
        "Deleted": "10",
        "Anomalies": "2",
        "Backlog": "5",
    }
    where = "/tools/dags/invoices/runs/scheduled__2026-11-25T02%3A17%3A00%2B00%3A00/tasks/purge"
    expect(numbers["Deleted"].get_by_role("link")).to_have_attribute("href", f"{where}/xcom")
    expect(row.get_by_role("link", name="succeeded")).to_have_attribute("href", where)
    expect(row.get_by_role("link", name=WORKFLOW)).to_have_attribute(
        "href", f"https://app.anyformat.ai/workflows/{WORKFLOW}"
    )
    expect(row.get_by_role("link", name="s3://")).to_have_count(0)
    named = "5 within 1 day, 40 within 7 days, 160 within 30 days, 480 within 90 days"
    expect(row.get_by_role("img", name=f"Becomes due in invoices / purge: {named}")).to_contain_text("480")
    expect(page.get_by_role("img", name=f"Becomes due, all purges together: {named}")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retention")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.title().startswith("Retention")
    assert page.locator("thead th[scope=col]").count() == page.locator("#rows > tr > *").count() == 9


def test_a_row_opens_to_its_runs(look: Open) -> None:
    reader = look(
        run(), run(night=24, numbers=None, state="failed"), run(night=23, numbers=summary(deleted=77)),
        xcoms={("invoices", "scheduled__2026-11-24T02:17:00+00:00"): summary(deleted=66, failed=2)},
    )  # fmt: skip
    button = reader.page.get_by_role("button", name="Runs")
    # By keyboard alone, and seen where it is.
    for _ in range(30):
        reader.page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    assert button.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    reader.page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    runs = reader.page.locator("table.inner tbody tr")
    expect(runs).to_have_count(3)
    assert [row.locator("td[data-label='Deleted']").inner_text().split("\n")[0] for row in runs.all()] == [
        "10",
        "66",
        "77",
    ]
    expect(runs.nth(1)).to_contain_text("2 collections failed")
    reader.page.keyboard.press("Enter")
    expect(runs).to_have_count(0)


def test_what_a_person_should_look_at_comes_first(look: Open) -> None:
    waiting = {
        "subject": "Delete them?",
        "created_at": "2026-11-25T03:00:00Z",
        "task_instance": run("waiting") | {"task_id": "approve"},
    }
    page = look(
        run("healthy"),
        run("paused"),
        run("late"),
        run("odd", numbers=summary(kept={"status_unknown": 1})),
        run("growing", numbers=summary(due=30)),
        run("growing", night=24, numbers=summary(due=20)),
        run("red", state="failed", numbers=summary(failed=3, not_attempted=4, deleted=0)),
        run("early", state="failed", numbers=None),
        run("waiting"),
        run("removed"),
        dags=[
            *map(dag, ("healthy", "odd", "growing", "red", "early", "waiting")),
            dag("paused", is_paused=True),
            dag("late", next_dagrun_run_after="2026-11-01T02:17:00Z"),
            dag("new", tags=[{"name": "anyformat"}]),
        ],
        tasks={"new": [{"task_id": kind, "operator_name": kind} for kind in ("PurgeFileCollectionsOperator", "Any")]},
        questions=[waiting],
    ).page  # fmt: skip
    said = [text.replace("\n", " ") for text in rows(page)]
    order = ["waiting", "early", "red", "late", "paused", "odd", "growing", "healthy", "new", "removed"]
    assert [re.split(" / ", text)[0] for text in said] == order
    for text, words in zip(
        said,
        (
            "A plan has waited for approval since 2026-11-25 03:00 UTC: Delete them?",
            "The last run failed; its log says why",
            "The last run failed: 3 collections failed, 4 collections not attempted",
            "Nothing has run since it was due on 2026-11-01 02:17 UTC",
            "Its DAG is paused: nothing runs",
            "1 collection kept: unknown status",
            "Its backlog grows: 10, now 20",
            "older than 90 days",
            "has not run yet",
            "Its DAG is no longer there",
        ),
        strict=True,
    ):
        assert words in text
    expect(page.locator("#overview")).to_contain_text("7 of 10 purges need attention.")


def test_the_totals_count_each_thing_once(look: Open) -> None:
    lately = (datetime.now(UTC) - timedelta(hours=9)).isoformat()
    before = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
    by = "{'id': '7', 'name': 'Jane Doe'}"
    given = {"plan_digest": "ab12" * 16, "approved_by": by}
    apply: dict[str, Any] = {
        "operator": "ApplyPurgePlanOperator",
        "operator_name": "ApplyPurgePlanOperator",
        "end_date": lately,
    }
    page = look(
        run("asked", task_id="plan", numbers=summary(deleted=0), end_date=lately),
        run("asked", task_id="apply", parameters=given, **apply),
        run("dry", numbers=summary(deleted=0), end_date=before),
        run("other", numbers=summary(deleted=1, forecast={"1": 1, "7": 1, "30": 1, "90": 1}), end_date=lately),
    ).page  # fmt: skip
    expect(page.locator("#overview")).to_have_text(
        "In the last 24 hours, 3 runs deleted 11 collections. No purge needs attention."
    )
    named = "6 within 1 day, 41 within 7 days, 161 within 30 days, 481 within 90 days"
    expect(page.get_by_role("img", name=f"Becomes due, all purges together: {named}")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="asked / apply")).to_contain_text("approved by Jane Doe")


def test_what_is_hostile_is_shown_as_text(look: Open) -> None:
    bad = "<img src=x onerror=alert(1)>"
    numbers = summary(kept={bad: 7, "__proto__": 1, "toString": 2}, ledger="javascript:alert(2)", workflow_ids=[bad])
    question = {"subject": bad, "created_at": "2026-11-25T03:00:00Z", "task_instance": run(bad) | {"task_id": bad}}
    page = look(run(bad, task_id=bad, numbers=numbers), questions=[question]).page
    row = page.locator("#rows > tr")
    expect(row).to_contain_text(f"{bad} / {bad}")
    expect(row).to_contain_text(f"7 {bad}")
    expect(row).to_contain_text("2 toString")
    expect(row).to_contain_text("javascript:alert(2)")
    assert page.locator("img").count() == 0
    schemes = page.locator("a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(schemes) == {"http:"}

    page = look(run(numbers=summary(ledger="https://audit.example.org/a"))).page
    ledger = page.get_by_role("link", name="https://audit.example.org/a")
    expect(ledger).to_have_attribute("rel", "noopener noreferrer")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "You are not logged in to Airflow"),
        (403, "may not see task instances"),
        (500, "Airflow answered HTTP 500"),
        (0, "Airflow did not answer"),
    ],
)
def test_without_an_answer_it_says_why(look: Open, status: int, words: str) -> None:
    page = look(refuse=lambda path: status).page
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("link", name="Go to Airflow")).to_have_attribute("href", "/tools/")


def test_what_may_not_be_read_is_named_and_the_rest_shown(look: Open) -> None:
    page = look(run(), refuse=lambda path: None if path.endswith("taskInstances") else 403).page
    assert len(rows(page)) == 1
    expect(page.locator("#unseen")).to_contain_text("schedules: Airflow answered HTTP 403")
    expect(page.locator("#unseen")).to_contain_text("plans that wait for an approval: Airflow answered HTTP 403")


def test_without_a_purge_it_says_how_to_make_one(look: Open, chromium: Browser) -> None:
    reader = look()
    expect(reader.page.get_by_role("heading", name="No purge yet")).to_be_visible()
    expect(reader.page.locator("pre")).to_contain_text("PurgeFileCollectionsOperator(")
    # From the disk, with no Airflow at all: it asks nobody, and says where to open it.
    context = chromium.new_context()
    page = context.new_page()
    page.goto((STATIC / "retention.html").as_uri())
    expect(page.locator("#empty")).to_contain_text("open it there, under Browse → Retention")
    context.close()


@pytest.mark.parametrize("details", [True, False], ids=["3.3", "3.1"])
def test_fifty_purges_of_thirty_runs_cost_twelve_requests(look: Open, details: bool) -> None:
    many = [run(f"dag-{n:02}", night=night) for night in range(30, 0, -1) for n in range(50)]
    xcoms = {(one["dag_id"], one["dag_run_id"]): SUMMARY for one in many}
    reader = look(*many, details=details, xcoms=xcoms)
    assert len(rows(reader.page)) == 50
    assert len(reader.airflow.asked) <= 12
    more = reader.page.get_by_role("button", name=re.compile("^Load the rest"))
    if details:
        expect(more).to_be_hidden()
    else:
        more.click()
        expect(more).to_be_hidden()
    assert all("older than 90 days" in text and "1,234 too young" in text for text in rows(reader.page))


def test_events_of_outlets_bring_numbers_where_lists_do_not(look: Open) -> None:
    many = [run(f"dag-{n:02}", numbers=None) for n in range(20)]
    events = [
        {
            "source_dag_id": one["dag_id"],
            "source_task_id": "purge",
            "source_run_id": one["dag_run_id"],
            "source_map_index": -1,
            "extra": {"deleted": 31, "kept": {}},
        }
        for one in many
    ]
    reader = look(*many, events=[*events, {"extra": None}])
    assert all(
        row.locator("td[data-label='Deleted']").inner_text() == "31" for row in reader.page.locator("#rows > tr").all()
    )
    assert reader.airflow.asked.count("assets/events") == 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_can_be_read(look: Open, dark: bool, width: int) -> None:
    page = look(
        run(state="failed", numbers=summary(failed=1, kept={"status_unknown": 3})),
        run("other-dag-with-a-long-name_" * 4),
        dark=dark,
        width=width,
    ).page
    page.get_by_role("button", name="Runs").first.click()
    expect(page.locator("table.inner")).to_be_visible()
    faint = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert faint == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (not dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for cell in page.locator("#rows > tr").first.locator("td").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width


def test_a_task_s_link_leads_to_its_row(look: Open, chromium: Browser) -> None:
    reader = look(*(run(f"dag {n}") for n in range(30)))
    page = reader.open(f"{ORIGIN}/tools/anyformat/static/retention.html?again#dag%2029/purge")
    focused = page.locator("tr:focus")
    expect(focused).to_contain_text("dag 29 / purge")
    expect(focused).to_be_in_viewport()
