"""Many collections at once: list, delete, purge, and apply a plan. Airflow need not be installed."""

from __future__ import annotations

from airflow_provider_anyformat.bulk.apply import apply_plan
from airflow_provider_anyformat.bulk.jobs import delete_ids, list_due, purge
from airflow_provider_anyformat.bulk.run import RunOptions

__all__ = ["RunOptions", "apply_plan", "delete_ids", "list_due", "purge"]
