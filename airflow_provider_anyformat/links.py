"""The buttons beside a task instance: its workflow in anyformat, and what the page "Retention" says of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS, BaseOperatorLink
from airflow_provider_anyformat.api.values import is_id

APP = "https://app.anyformat.ai/workflows"


class AnyformatLink(BaseOperatorLink):
    """Open the task's workflow in anyformat; of several workflows, the first."""

    name = "anyformat"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """
        Return the address, or an empty text where no workflow is known.

        :param operator: the task; its ``workflow_id`` may be one id or a list.
        :param ti_key: the task instance, whose XCom ``summary`` names the workflows of a purge.
        """
        workflow_id = _first_id(getattr(operator, "workflow_id", None))
        if workflow_id is None:
            summary = _summary(operator, ti_key)
            workflow_id = _first_id(summary.get("workflow_ids")) if isinstance(summary, dict) else None
        return "" if workflow_id is None else f"{APP}/{workflow_id}"


class RetentionLink(BaseOperatorLink):
    """Open the page "Retention" at this task; the page came with Airflow 3.1."""

    name = "Retention"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the address of the page itself: Airflow hands no fragment on to a page in its frame."""
        from airflow_provider_anyformat.plugin import page_address

        return f"{page_address()}#{quote(ti_key.dag_id, safe='')}/{quote(ti_key.task_id, safe='')}"


# Airflow before 3.1 has no page to lead to.
PURGE_LINKS = (AnyformatLink(), RetentionLink()) if AIRFLOW_V_3_1_PLUS else (AnyformatLink(),)


def _summary(operator: Any, ti_key: Any) -> Any:
    if AIRFLOW_V_3_0_PLUS:
        # The worker asks once the task has ended, and has it.
        return getattr(operator, "summary", None)
    from airflow_provider_anyformat._airflow import XCom

    # The web server asks later, and knows the task only as it is written.
    return XCom.get_value(ti_key=ti_key, key="summary")


def _first_id(value: Any) -> str | None:
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    # A template that was not rendered is not an id.
    return value if is_id(value) else None
