"""Where the links beside a task instance lead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_anyformat import _airflow
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
    asked = []

    class XCom:
        @staticmethod
        def get_value(*, ti_key, key):
            asked.append((ti_key, key))
            return summary

    monkeypatch.setattr(_airflow, "XCom", XCom, raising=False)
    url = AnyformatLink().get_link(SimpleNamespace(workflow_id=workflow_id), ti_key=TI)
    assert url == (f"https://app.anyformat.ai/workflows/{expected}" if expected else "")
    assert asked in ([], [(TI, "summary")])


def test_the_link_to_the_page_names_the_task():
    url = RetentionLink().get_link(None, ti_key=TI)
    assert url.endswith("/plugin/anyformat-retention#a%20dag/purge%2Fx")
