"""What an administrator requires of every task: the section ``[anyformat]`` of its configuration."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from airflow_provider_anyformat._airflow import conf
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.parameters import NOT_GIVEN, read_parameters
from airflow_provider_anyformat.retention.policy import MinRetention

_LONGEST = 36_500


def min_retention(of_connection: timedelta) -> MinRetention:
    """
    Return the longer of the connection's and the organisation's shortest age.

    :param of_connection: the connection's.
    :raises AnyformatValueError: the organisation's cannot be read.
    """
    floors = [MinRetention(of_connection, "the connection's min_retention")]
    text = _configured("min_retention_days")
    if text is not None:
        floors.append(MinRetention(_days(text), "[anyformat] min_retention_days"))
    return max(floors)


def ledger_path() -> Any:
    """
    Return the ledger's folder for a task that names none; ``NOT_GIVEN`` where the configuration names none either.

    :raises AnyformatValueError: the configuration's is not a folder.
    """
    text = _configured("ledger_path")
    if text is None:
        return NOT_GIVEN
    try:
        return read_parameters({"ledger_path": text})["ledger_path"]
    except AnyformatValueError as error:
        raise AnyformatValueError(f"[anyformat] {error}") from None


def _configured(option: str) -> str | None:
    value = conf.get("anyformat", option, fallback=None)
    return None if value is None else str(value)


def _days(text: str) -> timedelta:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 < days <= _LONGEST:
        raise AnyformatValueError(
            f"[anyformat] min_retention_days: {shown(text)} is not a number of days above 0 and up to {_LONGEST};"
            " correct Airflow's configuration, or take the option out"
        )
    return timedelta(days=days)
