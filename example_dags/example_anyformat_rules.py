"""
Keep the retention periods of all workflows in one file, and have a DAG made of each rule in it.

``retention.yaml`` beside this file has three rules, one of which asks a person before it deletes (on Airflow 3.1 and
later; below, its DAG fails and says so). ``holds.yaml`` has what must not go, whatever a rule says.
"""

from __future__ import annotations

from pathlib import Path

from airflow_provider_anyformat.rules import retention_dags

retention_dags(Path(__file__).with_name("retention.yaml"))
