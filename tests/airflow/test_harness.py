"""What the runner of DAG runs owes the tests: their signals."""

from __future__ import annotations

import signal

import pytest


@pytest.mark.timeout(100)
def test_a_task_leaves_the_signals_of_the_tests_in_place(dag_runner):
    before, on_term = signal.getitimer(signal.ITIMER_REAL)[0], signal.getsignal(signal.SIGTERM)
    result = dag_runner.run(
        """
    from __future__ import annotations
    from datetime import timedelta, datetime, timezone
    import time
    from airflow_provider_anyformat._airflow import DAG, BaseOperator

    class Slow(BaseOperator):
        def execute(self, context):
            time.sleep(30)

    with DAG("harness_timeout", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        Slow(task_id="slow", execution_timeout=timedelta(seconds=0.5))
    """
    )
    assert result["slow"].state == "failed"
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < before
    assert signal.getsignal(signal.SIGTERM) is on_term is signal.default_int_handler
