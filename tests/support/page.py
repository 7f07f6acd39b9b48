"""The page "Retention" in a browser, with answers that a test makes up: hostile ones, many, or none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import Browser, Dialog, Page, Route, expect

import airflow_provider_anyformat.plugin

STATIC = Path(airflow_provider_anyformat.plugin.__file__).with_name("static")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Nothing listens there: every request is answered, or refused, by the test.
ORIGIN = "http://127.0.0.1:9"
ADDRESS = f"{ORIGIN}/tools/anyformat/static/retention.html"
WORKFLOW = "11111111-2222-4333-8444-555555555555"
LISTS_OF = ("taskInstances", "dags", "events", "hitlDetails", "tasks")

PARAMETERS = {"workflow_id": WORKFLOW, "older_than": "P90D", "statuses": ["processed"], "ledger_path": "s3://audit/a"}
SUMMARY = {
    "workflow_ids": [WORKFLOW],
    "due": 12,
    "deleted": 10,
    "already_gone": 0,
    "failed": 0,
    "not_attempted": 0,
    "kept": {"too_young": 1234, "held": 3},
    "forecast": {"1": 5, "7": 40, "30": 160, "90": 480, "365": 2000},
    "ledger": "s3://audit/a/b",
    "summary_sha256": "ab12cd34" + "0" * 56,
}


def summary(**changes: Any) -> dict[str, Any]:
    """Give the summary of a purge, with some things changed."""
    return SUMMARY | changes


def run(
    dag_id: str = "invoices",
    *,
    night: int = 25,
    numbers: Mapping[str, Any] | None = SUMMARY,
    parameters: Mapping[str, Any] = PARAMETERS,
    **changes: Any,
) -> dict[str, Any]:
    """
    Give one task instance as Airflow 3.3 lists it.

    :param night: the day of November 2026 on which it ran.
    :param numbers: its summary among the rendered fields; ``None``: it left none there.
    :param parameters: its rendered parameters.
    """
    rendered = dict(parameters) | ({} if numbers is None else {"summary": numbers})
    return {
        "dag_id": dag_id,
        "task_id": "purge",
        "dag_run_id": f"scheduled__2026-11-{night:02}T02:17:00+00:00",
        "map_index": -1,
        "try_number": 1,
        "state": "success",
        "operator": "PurgeFileCollectionsOperator",
        "operator_name": "PurgeFileCollectionsOperator",
        "run_after": f"2026-11-{night:02}T02:17:00Z",
        "start_date": f"2026-11-{night:02}T02:17:03Z",
        "end_date": f"2026-11-{night:02}T02:19:00Z",
        "rendered_fields": rendered,
        **changes,
    }


def dag(dag_id: str, **changes: Any) -> dict[str, Any]:
    """Give a DAG as Airflow lists it: on, and due in a year far off."""
    usual = {
        "is_paused": False,
        "has_import_errors": False,
        "next_dagrun_run_after": "2099-01-01T00:00:00Z",
        "tags": [],
    }
    return {"dag_id": dag_id, **usual, **changes}


class FakeAirflow:
    """
    Airflow's REST API, as far as the page asks it.

    :param instances: every task instance, the newest first.
    :param dags: every DAG; default one for each task instance.
    :param questions: what waits for an answer.
    :param events: asset events.
    :param tasks: the tasks of each DAG.
    :param xcoms: the summaries, by DAG and run.
    :param details: whether lists have the rendered fields: Airflow 3.1 leaves them out.
    :param refuse: gives a status that a path is refused with, 0 for no answer at all.
    """

    def __init__(
        self,
        *instances: dict[str, Any],
        dags: list[dict[str, Any]] | None = None,
        questions: list[dict[str, Any]] | None = None,
        events: list[dict[str, Any]] | None = None,
        tasks: Mapping[str, list[dict[str, Any]]] | None = None,
        xcoms: Mapping[tuple[str, str], Any] | None = None,
        details: bool = True,
        refuse: Callable[[str], int | None] = lambda path: None,
    ) -> None:
        self.instances = list(instances)
        self.dags = [dag(name) for name in {one["dag_id"]: None for one in instances}] if dags is None else dags
        self.questions = questions or []
        self.events = events or []
        self.tasks = tasks or {}
        self.xcoms = xcoms or {}
        self.details = details
        self.refuse = refuse
        self.asked: list[str] = []
        self.elsewhere: list[str] = []
        self.answered_at = 0.0

    def answer(self, route: Route) -> None:
        """Answer one request of the browser."""
        asked = urlsplit(route.request.url)
        if f"{asked.scheme}://{asked.netloc}" != ORIGIN or route.request.method != "GET":
            self.elsewhere.append(f"{route.request.method} {route.request.url}")
            route.abort()
        elif asked.path.startswith("/tools/anyformat/static/"):
            file = STATIC / asked.path.rpartition("/")[2]
            route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])
        elif asked.path.startswith("/tools/api/v2/"):
            self._answer_api(route, asked.path.removeprefix("/tools/api/v2/"), parse_qs(asked.query))
        else:
            route.fulfill(status=404)

    def _answer_api(self, route: Route, path: str, query: dict[str, list[str]]) -> None:
        self.asked.append(path)
        status = self.refuse(path)
        if status == 0:
            route.abort()
        elif status is not None:
            route.fulfill(status=status, json={"detail": "refused"})
        else:
            found = self._find([unquote(part) for part in path.split("/")], query)
            route.fulfill(status=404 if found is None else 200, body=json.dumps(found), content_type="application/json")
        self.answered_at = time.monotonic()

    def _find(self, parts: list[str], query: dict[str, list[str]]) -> Any:
        match parts:
            case ["dags"]:
                return _page("dags", self.dags, query)
            case ["assets", "events"]:
                return _page("asset_events", self.events, query)
            case ["dags", "~", "dagRuns", "~", "hitlDetails"]:
                return _page("hitl_details", self.questions, query)
            case ["dags", dag_id, "tasks"]:
                return _page("tasks", self.tasks.get(dag_id, []), query)
            case ["dags", dag_id, "dagRuns", "~", "taskInstances"]:
                listed = [one for one in self.instances if dag_id in ("~", one["dag_id"])]
                bare = [one if self.details else one | {"rendered_fields": {}} for one in listed]
                return _page("task_instances", bare, query)
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances", _, "xcomEntries", "summary"]:
                value = self.xcoms.get((dag_id, run_id))
                return None if value is None else {"key": "summary", "value": value}
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances", *_]:
                same = [one for one in self.instances if (one["dag_id"], one["dag_run_id"]) == (dag_id, run_id)]
                return same[0] if same else None
        return None


def _page(field: str, rows: list[dict[str, Any]], query: dict[str, list[str]]) -> dict[str, Any]:
    limit, offset = int(query.get("limit", ["50"])[0]), int(query.get("offset", ["0"])[0])
    return {field: rows[offset : offset + min(limit, 100)], "total_entries": len(rows)}


class Reader:
    """
    Somebody who opens the page.

    :param browser: the browser.
    :param airflow: what answers.
    :param dark: whether the system is set to dark.
    :param width: of the window.
    """

    def __init__(self, browser: Browser, airflow: FakeAirflow, *, dark: bool = False, width: int = 1280) -> None:
        self.airflow = airflow
        self.dialogs: list[str] = []
        self.context = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 800}, reduced_motion="reduce"
        )
        self.context.route("**/*", airflow.answer)
        self.page: Page = self.context.new_page()
        # A script that got in would open one; without somebody who answers it, Chromium would wait.
        self.page.on("dialog", self._note_dialog)
        self.page.on("pageerror", lambda error: self.dialogs.append(str(error)))

    def open(self, address: str = ADDRESS) -> Page:
        """Open it, and wait until it has made up its mind."""
        self.page.goto(address)
        expect(self.page.locator("#loading")).to_be_hidden()
        return self.page

    def _note_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def leave(self) -> None:
        """Close the window; nothing may have run or been asked that should not."""
        self.context.close()
        assert self.dialogs == []
        assert self.airflow.elsewhere == []
