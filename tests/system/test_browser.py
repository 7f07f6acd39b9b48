"""What a person meets in the web interface: the connection's form, a purge they start, its log, a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, expect

from airflow_provider_anyformat.get_provider_info import CONN_FIELDS, PLACEHOLDERS
from airflow_provider_anyformat.sandbox import Sandbox
from scripts.local_airflow import AIRFLOW_3, LocalAirflow
from tests.support.browser import Visitor

KEY = "af_typed-into-the-form-0123456789"
WRONG_KEY = "af_of-somebody-else-0123456789"
PURGE = "example_anyformat_nightly_purge"
# The one that the examples name.
WORKFLOW = "11111111-2222-4333-8444-555555555555"
only_on_3 = pytest.mark.skipif(not AIRFLOW_3, reason="2.11 has another web interface: its form has its own test")
only_on_2 = pytest.mark.skipif(AIRFLOW_3, reason="3.x has another web interface: its form has its own test")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module", autouse=True)
def the_key(sandbox: Sandbox) -> None:
    sandbox.add_key(KEY)


def open_form(visitor: Visitor, conn_id: str) -> Locator:
    """Begin a new connection of our type."""
    page = visitor.go("connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(conn_id)
    form.get_by_role("combobox").fill("anyformat")
    form.get_by_role("option", name="anyformat", exact=True).click()
    expect(form.get_by_label("API key")).to_be_visible()
    return form


def save(form: Locator, sandbox: Sandbox, key: str) -> None:
    """Fill in what leads to the sandbox."""
    form.get_by_label("API key").fill(key)
    form.get_by_label("Host or base URL").fill("127.0.0.1")
    form.get_by_label("Port").fill(str(sandbox.port))
    form.get_by_label("Scheme").fill("http")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()


def press_test(visitor: Visitor, conn_id: str) -> Locator:
    """Press the button of a connection in the list; return what it says."""
    page = visitor.go("connections")
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=conn_id, exact=True))
    row.get_by_role("button", name="Test Connection").click()
    said = page.get_by_role("status").filter(has_text="Test Connection")
    expect(said).to_be_visible()
    page.mouse.move(0, 0)
    return said


@only_on_3
def test_every_field_is_labelled_and_explained(visitor: Visitor) -> None:
    form = open_form(visitor, "anyformat_form")
    labels = {"host": "Host or base URL", "password": "API key", "port": "Port", "schema": "Scheme"}
    for name, label in labels.items():
        expect(form.get_by_label(label)).to_have_attribute("placeholder", PLACEHOLDERS[name])
    expect(form.get_by_label("API key")).to_have_attribute("type", "password")
    expect(form.get_by_label("Login")).to_have_count(0)
    visitor.take_picture("connection-form", form, height=900)

    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for name, entry in CONN_FIELDS.items():
        default = entry["schema"]["default"]
        # Airflow ties a label to a field for a number, and not to one for a text; 3.1 only for a whole number.
        field = form.get_by_label(entry["label"]).or_(form.locator(f"[name=element_{name}]")).first
        expect(field).to_be_visible()
        shown = default if isinstance(default, str) else f"{default:g}"
        expect(field).to_have_value(re.compile(rf"^{shown}(\.0)?$"))
        expect(form.get_by_text(entry["description"], exact=True)).to_be_visible()
    visitor.take_picture("connection-form-extra", form, height=1150)


@only_on_3
def test_what_is_saved_is_masked_tested_and_works(
    visitor: Visitor, sandbox: Sandbox, local_airflow: LocalAirflow
) -> None:
    save(open_form(visitor, "anyformat_saved"), sandbox, KEY)
    save(open_form(visitor, "anyformat_wrong"), sandbox, WRONG_KEY)

    yes = press_test(visitor, "anyformat_saved")
    expect(yes).to_contain_text(f"{sandbox.url} accepts the API key")
    visitor.take_picture("connection-test-yes", height=600)
    no = press_test(visitor, "anyformat_wrong")
    expect(no).to_contain_text("does not accept the API key")
    visitor.take_picture("connection-test-no", height=600)

    visitor.page.get_by_role("row").filter(has_text="anyformat_saved").get_by_role("button", name="Edit").click()
    form = visitor.page.get_by_role("dialog")
    expect(form.get_by_label("API key")).to_have_value("***")
    expect(form.get_by_label("API key")).to_have_attribute("type", "password")
    saved = local_airflow.ask("GET", "connections/anyformat_saved")
    for text in (visitor.page.content(), json.dumps(saved)):
        assert "***" in text
        assert KEY not in text
    assert json.loads(saved["extra"]) == {name: entry["schema"]["default"] for name, entry in CONN_FIELDS.items()}

    collection_id = sandbox.add_collection(sandbox.add_workflow())
    run_id = local_airflow.trigger("system_one_delete", {"conn_id": "anyformat_saved", "collection_id": collection_id})
    assert local_airflow.wait_for_run("system_one_delete", run_id) == "success"
    assert sandbox.deleted[collection_id] == 1
    assert KEY not in local_airflow.log("system_one_delete", run_id, "delete")


@pytest.fixture
def slow(sandbox: Sandbox) -> Iterator[str]:
    """Give a workflow whose purge takes 25 seconds: progress is told every 15."""
    now = datetime.now(UTC)
    workflow_id = sandbox.add_workflow(name="Invoices")
    sandbox.fill(workflow_id, 400, created_at=now - timedelta(days=220), step=timedelta(hours=7))
    sandbox.fill(workflow_id, 280, created_at=now - timedelta(days=80), step=timedelta(hours=6))
    sandbox.fill(workflow_id, 20, status="error", created_at=now - timedelta(days=150))
    sandbox.latency = 0.5
    yield workflow_id
    sandbox.latency = 0


@only_on_3
def test_a_purge_from_the_form_to_its_summary(visitor: Visitor, slow: str, local_airflow: LocalAirflow) -> None:
    page = visitor.go(f"dags/{PURGE}")
    page.get_by_role("button", name=re.compile("^Trigger")).first.click()
    form = page.get_by_role("dialog")
    workflow = form.locator("[name=element_workflow_id]")
    expect(workflow).to_have_value(WORKFLOW)
    expect(form.locator("label").filter(has_text=re.compile("^Workflow"))).to_be_visible()
    expect(form.get_by_text("Id of the workflow whose collections are purged.")).to_be_visible()
    workflow.fill(slow)
    visitor.take_picture("purge-trigger", form)
    form.get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url(re.compile(f"/dags/{PURGE}/runs/manual__"))
    run_id = page.url.partition("/runs/")[2].partition("/")[0]

    visitor.go(f"dags/{PURGE}/runs/{run_id}/tasks/purge")
    expect(page.get_by_text("listed 700, due 400, to be deleted 400, kept: status 20, too_young 280")).to_be_visible(
        timeout=90_000
    )
    expect(page.get_by_text(re.compile(r"deleted \d+ of 400 \(\d+ %\), \d+\.\d/s, \d+ s left"))).to_be_visible()
    assert local_airflow.wait_for_run(PURGE, run_id) == "success"
    expect(page.get_by_text("done: deleted 400, already gone 0, failed 0, not attempted 0, kept 300")).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    visitor.take_picture("purge-log", height=600)

    visitor.go(f"dags/{PURGE}/runs/{run_id}/tasks/purge/xcom")
    page.get_by_role("button", name="Expand all extra JSON").click()
    expect(page.get_by_text('"deleted": 400').first).to_be_visible()
    visitor.take_picture("purge-summary", height=760)


@only_on_3
def test_a_refusal_as_the_log_shows_it(visitor: Visitor, local_airflow: LocalAirflow) -> None:
    run_id = local_airflow.trigger("example_anyformat_malformed_id")
    assert local_airflow.wait_for_run("example_anyformat_malformed_id", run_id) == "failed"
    page = visitor.go(f"dags/example_anyformat_malformed_id/runs/{run_id}/tasks/delete")
    refusal = "DELETE of collection not-a-uuid: HTTP 422: anyformat refused the request's values"
    expect(page.get_by_text(refusal).first).to_be_visible()
    reason = page.get_by_text("path.collection_id: Input should be a valid UUID").first
    expect(reason).to_be_visible()
    # Airflow's frames are folded away by a click on what the exception says, which stays.
    reason.click()
    expect(page.get_by_text("task_runner.py").first).to_be_hidden()
    expect(reason).to_be_visible()
    visitor.take_picture("http-422-log", width=1600, height=480)


@only_on_2
def test_the_form_of_2_11(visitor: Visitor, sandbox: Sandbox, local_airflow: LocalAirflow) -> None:
    page = visitor.go("connection/add")
    # The visible box is a stand-in that follows this select.
    page.locator("select#conn_type").select_option("anyformat", force=True)
    page.evaluate("jQuery('#conn_type').trigger('change')")
    labels = {"host": "Host or base URL", "password": "API key", "port": "Port", "schema": "Scheme"}
    for name, label in labels.items():
        expect(page.locator(f"label[for={name}]")).to_have_text(re.compile(f"^\\s*{label}\\s*$"))
        expect(page.locator(f"#{name}")).to_have_attribute("placeholder", PLACEHOLDERS[name])
    for name, entry in CONN_FIELDS.items():
        field = page.locator(f"#extra__anyformat__{name}")
        expect(field).to_have_value(str(entry["schema"]["default"]))
        expect(page.locator(f"label[for=extra__anyformat__{name}]")).to_contain_text(entry["label"])
        expect(page.get_by_text(entry["description"], exact=True)).to_be_visible()
    for name in ("login", "extra"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    key = page.locator("#password")
    expect(key).to_have_attribute("type", "password")

    page.locator("#conn_id").fill("anyformat_saved")
    page.locator("#host").fill("127.0.0.1")
    page.locator("#port").fill(str(sandbox.port))
    page.locator("#schema").fill("http")
    key.fill(WRONG_KEY)
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("does not accept the API key of the connection")).to_be_visible()
    key.fill(KEY)
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text(f"{sandbox.url} accepts the API key")).to_be_visible()
    visitor.take_picture("connection-form-2.11", height=1400)

    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    assert KEY not in json.dumps(local_airflow.ask("GET", "connections/anyformat_saved"))
    visitor.go("connection/list/")
    page.get_by_role("row").filter(has_text="anyformat_saved").get_by_role("link", name="Edit").click()
    expect(page.locator("#password")).to_have_attribute("type", "password")
    assert KEY not in page.content()

    collection_id = sandbox.add_collection(sandbox.add_workflow())
    run_id = local_airflow.trigger("system_one_delete", {"conn_id": "anyformat_saved", "collection_id": collection_id})
    assert local_airflow.wait_for_run("system_one_delete", run_id) == "success"
    assert sandbox.deleted[collection_id] == 1
