"""Runs for a real Airflow: one that a triggerer waits for, one whose worker dies, and a DAG that a watcher starts."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, DAG, task
from airflow_provider_anyformat.operators.workflows import RunWorkflowOperator
from airflow_provider_anyformat.triggers.files import WorkflowTrigger

WATCHED = "11111111-2222-4333-8444-555555555555"
RUN: dict[str, Any] = {
    "task_id": "run",
    "workflow_id": "{{ params.workflow_id }}",
    "document": "{{ params.document }}",
    "poll_interval": 1,
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}
SETTINGS: dict[str, Any] = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "params": {"workflow_id": "given by the run", "document": "/given/by/the/run"},
}


class DiesOnceSubmitted(RunWorkflowOperator):
    """Its first worker dies between the submit and the first XCom."""

    @staticmethod
    def _submit(task, workflow_id):
        collection_id = RunWorkflowOperator._submit(task, workflow_id)
        if task.context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return collection_id


with DAG("system_run", **SETTINGS):
    RunWorkflowOperator(**RUN, deferrable=True, cancel_on_kill=True)

with DAG("system_killed", **SETTINGS):
    DiesOnceSubmitted(**RUN)

if AIRFLOW_V_3_0_PLUS:
    from airflow.sdk import Asset, AssetWatcher

    PROCESSED = Asset("processed", watchers=[AssetWatcher(name="anyformat", trigger=WorkflowTrigger(WATCHED, 1))])

    with DAG("system_watch", schedule=[PROCESSED]):

        @task
        def tell(triggering_asset_events=None):
            for event in triggering_asset_events[PROCESSED]:
                print("told", json.dumps(event.extra["payload"], sort_keys=True))

        tell()
