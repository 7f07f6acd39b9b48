"""Where the links beside a task instance lead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_anyformat import _airflow
from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS
from airflow_provider_anyformat.links import AnyformatLink, RetentionLink

WORKFLOW = "11111111-2222-4333-8444-555555555555"
TI = SimpleNamespace(dag_id="a dag", task_id="purge/x", run_id="r", map_index=-1)


@pytest.mark.parametrize(
    ("workflow_id", "summary", "expected"),
    [
        (WORKFLOW, None, WORKFLOW),
        ([WORKFLOW, "other"], None, WORKFLOW),
        ("{{ params.workflow_id }}", {"workflow_ids": [WORKFLOW]}, WORKFLOW),
        (None, {"workflow_ids": [WORKFLOW]}, WORKFLOW),
        (None, {"workflow_ids": []}, None),
        (None, None, None),
        ("../../evil", None, None),
    ],
)
def test_the_link_to_anyformat(workflow_id, summary, expected, monkeypatch):
    class XCom:
        @staticmethod
        def get_value(*, ti_key, key):
            assert (ti_key, key) == (TI, "summary")
            return summary

    monkeypatch.setattr(_airflow, "XCom", XCom, raising=False)
    # Airflow 3 asks with the task that has just ended, 2.11 later with the task as it is written.
    ended = {"summary": summary} if AIRFLOW_V_3_0_PLUS else {}
    url = AnyformatLink().get_link(SimpleNamespace(workflow_id=workflow_id, **ended), ti_key=TI)
    assert url == (f"https://app.anyformat.ai/workflows/{expected}" if expected else "")


def test_the_link_to_the_page_names_the_task():
    url = RetentionLink().get_link(None, ti_key=TI)
    assert url.endswith("/anyformat/static/retention.html#a%20dag/purge%2Fx")
