"""Retention rules in a file: what may stand in it, and the DAGs that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_anyformat._airflow import DAG


def retention_dags(path: str | Path) -> list[DAG]:
    """
    Make a DAG of each rule in a file; with the call alone a file is a whole DAG file.

    A rule that is wrong by itself becomes a DAG with one task that fails permanently and says what is wrong, and the
    other rules run. No network and no database is asked, and in a worker only the DAG that is needed is made.

    :param path: the file of rules, such as ``Path(__file__).with_name("retention.yaml")``.
    :return: the DAGs, in the file's order, whose ids are ``anyformat_retention_<name>``.
    :raises AnyformatValueError: the file as a whole cannot be used: it is missing, empty or not YAML, has an unknown
        or repeated key, a bad or repeated name, another version, or ``older_than`` in ``defaults``. The message names
        the file, the rule and the line of each problem.
    """
    # What knows Airflow is loaded when it is called, so that the command needs none.
    from airflow_provider_anyformat.rules.dags import retention_dags as build

    return build(path)
