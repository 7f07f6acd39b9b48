"""How long a failed task waits on Airflow 3.3: as long as anyformat said, and never less than its ``retry_delay``."""

from __future__ import annotations

from datetime import timedelta
from math import inf, nan
from types import SimpleNamespace

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS
from airflow_provider_anyformat.exceptions import AnyformatRateLimitError, AnyformatServerError
from airflow_provider_anyformat.retry_policies import AnyformatRetryPolicy, with_default

only_with_policies = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="retry policies came with Airflow 3.3")


def task(**retry_delay):
    return {"task": SimpleNamespace(retry_delay=timedelta(**retry_delay))}


@only_with_policies
@pytest.mark.parametrize(
    ("retry_after", "context", "expected"),
    [
        pytest.param(90, task(seconds=10), timedelta(seconds=90), id="the server asks for more"),
        pytest.param(90, task(minutes=5), timedelta(minutes=5), id="the task waits longer anyway"),
        pytest.param(0.5, None, timedelta(seconds=0.5), id="no context"),
        pytest.param(90, {}, timedelta(seconds=90), id="a context without task"),
        pytest.param(None, task(minutes=5), None, id="the server named no wait"),
        pytest.param(0, None, None, id="no wait at all"),
        pytest.param(-1, None, None, id="negative"),
        pytest.param(inf, None, None, id="endless"),
        pytest.param(nan, None, None, id="not a number"),
        pytest.param("90", None, None, id="text, of somebody else's exception"),
    ],
)
def test_the_next_try_begins(retry_after, context, expected):
    error = AnyformatRateLimitError("slow down")
    error.retry_after = retry_after
    decision = AnyformatRetryPolicy().evaluate(error, 1, 3, context)
    assert decision.retry_delay == expected
    assert decision.action.value == ("default" if expected is None else "retry")
    assert (decision.reason or "").startswith("" if expected is None else f"anyformat asked to wait {retry_after:g} s")


@only_with_policies
def test_other_errors_are_left_to_airflow():
    for error in (AnyformatServerError("HTTP 500"), ValueError("not ours"), KeyboardInterrupt()):
        assert AnyformatRetryPolicy().evaluate(error, 1, 3).action.value == "default"


def test_the_argument_for_base_operator():
    mine = object()
    if AIRFLOW_V_3_3_PLUS:
        assert isinstance(with_default(None)["retry_policy"], AnyformatRetryPolicy)
        assert with_default(mine) == {"retry_policy": mine}
    else:
        # BaseOperator does not know the name there, and would refuse the task.
        assert with_default(None) == with_default(mine) == {}
    # A DAG file may name it on every line.
    AnyformatRetryPolicy()
