"""The page "Retention" inside a whole Airflow: as admin, as viewer, and without a login."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, expect

from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_VERSION, VIEWER, LocalAirflow
from tests.support.browser import Visitor

pytestmark = [
    pytest.mark.skipif(AIRFLOW_VERSION < (3, 1), reason="the page came with Airflow 3.1"),
    pytest.mark.timeout(400),
]
STATIC = "anyformat/static/retention.html"


@pytest.fixture(scope="module")
def purged(local_airflow: LocalAirflow, sandbox: Sandbox) -> str:
    """Give the workflow of a purge that went well; another one was stopped by its guard, and a plan waits."""
    now, step = datetime.now(UTC), timedelta(hours=12)
    invoices, scans = sandbox.add_workflow(), sandbox.add_workflow()
    sandbox.fill(invoices, 40, created_at=now - timedelta(days=150), step=step)
    sandbox.fill(invoices, 150, created_at=now - timedelta(days=89), step=step)
    sandbox.fill(invoices, 3, name="contract-{}.pdf", created_at=now - timedelta(days=400))
    sandbox.fill(scans, 5, created_at=now - timedelta(days=60))
    local_airflow.switch_on("seen_after", seconds=120)
    runs = [
        (dag_id, local_airflow.trigger(dag_id, {"workflow_id": workflow_id}))
        for dag_id, workflow_id in (
            ("seen_invoices", invoices),
            ("seen_scans", scans),
            ("example_anyformat_purge_approval", invoices),
        )
    ]
    assert [local_airflow.wait_for_run(*run) for run in runs[:2]] == ["success", "failed"]
    local_airflow.processes.wait_for(lambda: _waiting(local_airflow), "the question of the approval", 120)
    return invoices


def _waiting(airflow: LocalAirflow) -> bool:
    found = airflow.ask("GET", "dags/~/dagRuns/~/hitlDetails", response_received=False)["hitl_details"]
    return any(one["task_instance"]["dag_id"] == "example_anyformat_purge_approval" for one in found)


def opened(visitor: Visitor) -> FrameLocator:
    """Find the page as a person does who was told nothing but the address: in the menu Browse."""
    page = visitor.go("")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Retention").click()
    page.wait_for_url(re.compile("/plugin/anyformat-retention"))
    frame = page.frame_locator("iframe")
    expect(frame.locator("#loading")).to_be_hidden()
    return frame


def test_as_admin(visitor: Visitor, purged: str) -> None:
    frame = opened(visitor)
    row = frame.get_by_role("row").filter(has_text="seen_invoices / purge")
    for text in ("older than 90 days; certain names stay", purged, "150 too young", "3 spared by name", "head "):
        expect(row).to_contain_text(text)
    expect(row.locator("td[data-label='Deleted']")).to_have_text("40")
    named = re.compile(r"^Becomes due in seen_invoices . purge: \d+ within 1 day, .*150 within 90 days$")
    expect(row.get_by_role("img", name=named)).to_be_visible()
    expect(frame.locator("#rows > tr").first).to_contain_text("A plan has waited for approval since")
    red = frame.get_by_role("row").filter(has_text="seen_scans / purge")
    expect(red).to_contain_text("The last run failed, and deleted nothing; its log says why")
    visitor.take_picture("retention-page", height=900)

    row.get_by_role("button", name="Runs").click()
    expect(frame.locator("table.inner tbody tr")).to_have_count(1)
    row.get_by_role("link", name="succeeded").click()
    visitor.page.wait_for_url(re.compile(r"/dags/seen_invoices/runs/[^/]+/tasks/purge$"))
    visitor.page.get_by_role("link", name="Details", exact=True).click()
    for name in ("anyformat", "Retention"):
        expect(visitor.page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    visitor.take_picture("task-links", height=600)
    # To its own row, whatever else is on the page.
    address = visitor.page.get_by_role("link", name="Retention", exact=True).first.get_attribute("href") or ""
    assert address.endswith("/anyformat/static/retention.html#seen_invoices/purge")
    visitor.go(address.removeprefix(visitor.airflow.url).lstrip("/"))
    wanted = visitor.page.locator("tr.wanted")
    expect(wanted).to_contain_text("seen_invoices / purge")


def test_a_question_leads_to_its_answer(visitor: Visitor, purged: str) -> None:
    opened(visitor).get_by_role("link", name="A plan has waited for approval").first.click()
    visitor.page.wait_for_url(re.compile("/tasks/approve/required_actions"))
    expect(visitor.page.get_by_role("button", name="Approve")).to_be_visible()
    visitor.take_picture("approval", height=900)


@pytest.fixture
def viewer(chromium: Browser, local_airflow: LocalAirflow, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    root = Path(__file__).resolve().parents[2]
    visitor = Visitor(chromium, local_airflow, root / request.config.getoption("pictures"))
    visitor.log_in(VIEWER)
    yield visitor
    visitor.leave()
    assert visitor.asked_elsewhere == []


def test_as_viewer_and_in_the_dark_and_on_a_phone(viewer: Visitor, purged: str) -> None:
    row = opened(viewer).get_by_role("row").filter(has_text="seen_invoices / purge")
    expect(row).to_contain_text("150 too young")
    viewer.page.emulate_media(color_scheme="dark")
    viewer.take_picture("retention-page-dark", height=900)
    viewer.go(STATIC)
    expect(viewer.page.locator("#purges")).to_be_visible()
    viewer.take_picture("retention-page-phone", width=400, height=900)


def test_without_a_login_there_is_no_data(chromium: Browser, local_airflow: LocalAirflow, purged: str) -> None:
    nobody = Visitor(chromium, local_airflow, Path())
    nobody.go(STATIC)
    expect(nobody.page.get_by_role("alert")).to_contain_text("You are not logged in to Airflow")
    assert purged not in nobody.page.content()
    nobody.leave()
    assert nobody.asked_elsewhere == []


def test_a_dag_that_waits_for_the_purge_gets_its_numbers(local_airflow: LocalAirflow, purged: str) -> None:
    def runs() -> list[dict[str, str]]:
        found: list[dict[str, str]] = local_airflow.ask("GET", "dags/seen_after/dagRuns")["dag_runs"]
        return found

    local_airflow.processes.wait_for(lambda: bool(runs()), "the run that the asset starts", 120)
    (run,) = runs()
    assert local_airflow.wait_for_run("seen_after", run["dag_run_id"]) == "success"
    told = local_airflow.log("seen_after", run["dag_run_id"], "tell")
    assert r"\"deleted\": 40" in told
    assert r"\"too_young\": 150" in told
    assert purged not in told
