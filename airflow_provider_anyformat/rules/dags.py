"""DAGs from a file of rules: one for each rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat._airflow import (
    AIRFLOW_V_3_0_PLUS,
    DAG,
    AirflowFailException,
    AirflowOptionalProviderFeatureException,
    AirflowSkipException,
    BaseOperator,
    get_parsing_context,
)
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators.files import ApplyPurgePlanOperator, PurgeFileCollectionsOperator
from airflow_provider_anyformat.rules.reading import Problem, Rule, RuleFile, read_rules
from airflow_provider_anyformat.rules.words import markdown

if TYPE_CHECKING:
    from airflow_provider_anyformat._airflow import Context

# When a rule that has no usable schedule says that it is wrong.
_DAILY = "@daily"
_START = datetime(2026, 1, 1, tzinfo=UTC)
# The wait is shorter than what the apply allows, so that what was approved can still be applied.
_WAIT_FOR_APPROVAL, _PLAN_TTL = timedelta(days=2), timedelta(days=3)
# A run that is bound to the version of the files that it began with would miss a hold that came since.
_NEWEST_FILES = {"disable_bundle_versioning": True} if AIRFLOW_V_3_0_PLUS else {}


class WrongRuleOperator(BaseOperator):
    """
    Fail permanently, and say what is wrong with a rule.

    :param sentence: what the task fails with.
    """

    ui_color = "#f6d5d5"

    def __init__(self, *, sentence: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sentence = sentence

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's own signature
        """Fail."""
        raise AirflowFailException(self.sentence)


def retention_dags(path: str | Path) -> list[DAG]:
    """Make a DAG of each rule; see :func:`airflow_provider_anyformat.rules.retention_dags`."""
    file = read_rules(Path(path))
    if file.problems:
        raise AnyformatValueError("\n".join(each.in_file(file.path) for each in file.problems))
    # A worker parses the file for one task of one DAG.
    wanted = get_parsing_context().dag_id
    return [_dag(file, rule) for rule in file.rules if wanted in (None, rule.dag_id)]


def _dag(file: RuleFile, rule: Rule) -> DAG:
    approval = _approval_operator() if rule.values.get("approval") is True else None
    if rule.values.get("approval") is True and approval is None:
        sentence = "approval: True cannot be used: it requires Airflow 3.1 or later; remove it, or run the rule there"
        rule.problems.append(Problem(rule.name, rule.lines["approval"], sentence))
    with DAG(
        rule.dag_id,
        doc_md=markdown(rule),
        schedule=_schedule(rule),
        start_date=_START,
        catchup=False,
        max_active_runs=1,
        default_args={key: rule.values[key] for key in ("owner", "retries") if not rule.wrong(key)},
        tags=["anyformat", "retention"],
        **_NEWEST_FILES,
    ) as dag:
        if rule.problems:
            sentence = "\n".join(each.in_file(file.path) for each in rule.problems)
            WrongRuleOperator(task_id="purge", sentence=sentence)
        elif approval is None:
            PurgeFileCollectionsOperator(task_id="purge", **_shared(file, rule), **rule.purge)
        else:
            _plan_approve_apply(file, rule, approval)
    return dag


def _plan_approve_apply(file: RuleFile, rule: Rule, approval: Any) -> None:
    shared = _shared(file, rule)
    plan = PurgeFileCollectionsOperator(task_id="plan", plan_only=True, **shared, **rule.purge)
    approve = approval(
        task_id="approve",
        subject=f"Rule {rule.name}: delete these file collections from anyformat permanently?",
        body="{{ ti.xcom_pull(task_ids='plan', key='plan_markdown') }}",
        # No defaults: silence must not count as an answer.
        **_time_to_answer(approval),
        fail_on_reject=False,
        pre_execute=_skip_an_empty_plan,
        retries=0,
    )
    apply = ApplyPurgePlanOperator(
        task_id="apply",
        plan_path="{{ ti.xcom_pull(task_ids='plan')['plan_path'] }}",
        plan_digest="{{ ti.xcom_pull(task_ids='plan')['plan_digest'] }}",
        plan_ttl=_PLAN_TTL,
        approved_by="{{ ti.xcom_pull(task_ids='approve')['responded_by_user'] }}",
        trigger_rule="all_success",
        **{key: value for key, value in (shared | rule.purge).items() if key in ApplyPurgePlanOperator.template_fields},
    )
    plan >> approve >> apply


def _time_to_answer(approval: Any) -> dict[str, timedelta]:
    # The standard provider that Airflow 3.1 came with has no response_timeout, and waits for execution_timeout.
    has_its_own = any("response_timeout" in signature(each.__init__).parameters for each in approval.__mro__)
    return {"response_timeout" if has_its_own else "execution_timeout": _WAIT_FOR_APPROVAL}


def _skip_an_empty_plan(context: Context) -> None:
    if not context["ti"].xcom_pull(task_ids="plan")["due"]:
        raise AirflowSkipException("nothing is due, so there is nothing to approve")


def _shared(file: RuleFile, rule: Rule) -> dict[str, Any]:
    shared = {"anyformat_conn_id": rule.values["conn_id"]} if "conn_id" in rule.values else {}
    holds = file.holds_of(rule)
    if holds is not None:
        shared["holds"] = str(holds)
    return shared


def _schedule(rule: Rule) -> str:
    return _DAILY if rule.wrong("schedule") else str(rule.values["schedule"])


def _approval_operator() -> Any:
    try:
        from airflow.providers.standard.operators.hitl import ApprovalOperator
    except (ModuleNotFoundError, AirflowOptionalProviderFeatureException):
        return None
    return ApprovalOperator
