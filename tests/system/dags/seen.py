"""Purges for the page "Retention": a green one, a red one, and what follows the first."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, DAG, Asset, Param, task
from airflow_provider_anyformat.operators.files import PurgeFileCollectionsOperator

PURGED = Asset("anyformat://purged/invoices")
LEDGER = "{{ var.value.anyformat_ledger_path }}"
WORKFLOW = "{{ params.workflow_id }}"
PARAMS = {"workflow_id": Param("", type="string")}

with DAG("seen_invoices", schedule=None, params=PARAMS, tags=["anyformat"]):
    PurgeFileCollectionsOperator(
        task_id="purge",
        workflow_id=WORKFLOW,
        older_than=timedelta(days=90),
        exclude_names=["contract-*"],
        ledger_path=LEDGER,
        outlets=[PURGED],
    )

with DAG("seen_scans", schedule=None, params=PARAMS, tags=["anyformat"]):
    PurgeFileCollectionsOperator(
        task_id="purge", workflow_id=WORKFLOW, older_than="P30D", max_deletions=1, ledger_path=LEDGER
    )

if AIRFLOW_V_3_0_PLUS:
    with DAG("seen_after", schedule=[PURGED]):

        @task
        def tell(triggering_asset_events=None):
            (event,) = triggering_asset_events[PURGED]
            print("told", json.dumps(event.extra, sort_keys=True))

        tell()
