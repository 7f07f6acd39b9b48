"""What holds for every operator, those to come included: they are found, not listed."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import re
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS, DAG, AirflowFailException, BaseOperator
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.operators import files, workflows
from airflow_provider_anyformat.parameters import NOT_GIVEN, PARAMETERS
from airflow_provider_anyformat.retry_policies import AnyformatRetryPolicy
from airflow_provider_anyformat.sensors.files import FileCollectionSensor
from tests.support.dag_results import serialized

OPERATORS = [
    thing
    for name, thing in (vars(files) | vars(workflows)).items()
    if inspect.isclass(thing)
    and issubclass(thing, BaseOperator)
    and not name.startswith("_")
    and thing is not BaseOperator
]
# What a task gives that cannot do without the parameter; a new one without a default belongs here.
NEEDED = {
    "collection_id": "11111111-2222-4333-8444-555555555555",
    "collection_ids": ["11111111-2222-4333-8444-555555555555"],
    "workflow_id": "w1",
    "older_than": timedelta(days=30),
    "plan_path": "/tmp/plan",
    "plan_digest": "0" * 64,
    "document": "/tmp/document.pdf",
    "documents": ["/tmp/document.pdf"],
    "results_path": "/tmp/results",
}
# A templated value that is missing becomes one of these.
NOTHING = [None, "", "  ", "None", "null", " NaN ", "undefined"]
# The one parameter for which that is an answer: nobody is on record.
MAY_BE_NOTHING = {"approved_by"}
NO_BOOLEANS: list[object] = ["maybe", "yes", "1", 1, 0, "[]", [], "Truee"]
# What an operator may say anew of what BaseOperator says; anything else of the same name would break it unseen.
OVERRIDDEN = {
    "execute",
    "on_kill",
    "operator_extra_links",
    "partial",
    "template_fields",
    "template_fields_renderers",
    "ui_color",
    "ui_fgcolor",
}

every_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)


def parameters(operator):
    """Give the operator's own parameters: all but what goes on to BaseOperator."""
    found = inspect.signature(operator.__init__).parameters
    not_ours = ("self", "retry_policy")
    return {name: p for name, p in found.items() if name not in not_ours and p.kind is not p.VAR_KEYWORD}


def make(operator, **given):
    needed = {name: NEEDED[name] for name, p in parameters(operator).items() if p.default is p.empty}
    return operator(**{"task_id": "t", **needed, **given})


def test_they_are_found():
    assert {"DeleteFileCollectionOperator"} <= {operator.__name__ for operator in OPERATORS}
    assert {operator.__module__ for operator in OPERATORS} == {files.__name__, workflows.__name__}


@every_operator
class TestForm:
    def test_parameters_are_keyword_only_and_annotated(self, operator):
        for name, parameter in parameters(operator).items():
            assert parameter.kind is parameter.KEYWORD_ONLY, name
            assert parameter.annotation is not parameter.empty, name
        with pytest.raises(Exception, match=r"keyword|positional"):
            operator("t")

    def test_the_connection_can_be_named_and_has_the_default(self, operator):
        assert parameters(operator)["anyformat_conn_id"].default == "anyformat_default"
        assert "anyformat_conn_id" in operator.template_fields

    def test_every_parameter_is_templated_and_every_templated_field_a_parameter(self, operator):
        assert isinstance(operator.template_fields, tuple)
        assert sorted(operator.template_fields) == sorted(parameters(operator))
        made = make(operator)
        assert all(hasattr(made, name) for name in operator.template_fields)

    def test_every_parameter_is_in_the_table_which_reads_its_default(self, operator):
        for name, parameter in parameters(operator).items():
            declared = PARAMETERS[name]
            if parameter.default not in (parameter.empty, NOT_GIVEN):
                assert declared.read(parameter.default) == parameter.default, name

    def test_no_name_is_one_of_base_operator(self, operator):
        owned = set(dir(BaseOperator)) | set(inspect.signature(BaseOperator.__init__).parameters)
        owned |= set(vars(BaseOperator(task_id="t")))
        assert set(parameters(operator)) & owned == set()
        for kind in operator.__mro__[: operator.__mro__.index(BaseOperator)]:
            own = {name for name in vars(kind) if not name.startswith("__") and not name.startswith("_abc")}
            made_by_airflow = {name for name in own if name.startswith("_BaseOperator") or name == "_is_setup"}
            assert (own & set(dir(BaseOperator))) - OVERRIDDEN - made_by_airflow == set()

    def test_the_constructor_only_assigns(self, operator):
        given = {name: f"{{{{ params.{name} }}}}" for name in parameters(operator)}
        made = operator(task_id="t", **given)
        for name, value in given.items():
            assert getattr(made, name) is value
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(operator.__init__)))
        function = ast.parse(source).body[0]
        assert isinstance(function, ast.FunctionDef)
        first, *rest = [ast.unparse(statement) for statement in function.body]
        assert first in ("super().__init__(**kwargs)", "super().__init__(retry_policy=retry_policy, **kwargs)")
        assert sorted(rest) == sorted(f"self.{name} = {name}" for name in parameters(operator))

    def test_the_docstring_describes_each_parameter_once(self, operator):
        text = inspect.getdoc(operator) or ""
        described = re.findall(r"^:param (\w+): \S", text, re.MULTILINE)
        assert sorted({*described} - {"retry_policy"}) == sorted(parameters(operator))
        assert len(described) == len({*described})
        for part in text.split(":param ")[1:]:
            assert ("(templated)" in part.partition("\n:")[0]) != part.startswith("retry_policy"), part
        assert ":return: " in text
        assert ":raises AirflowFailException: " in text
        assert not inspect.unwrap(operator.__init__).__doc__


@every_operator
class TestLife:
    def test_it_can_be_copied(self, operator):
        made = make(operator)
        again = copy.deepcopy(made)
        assert again is not made
        for name in operator.template_fields:
            value = getattr(made, name)
            assert getattr(again, name) == value
            if value is NOT_GIVEN:
                assert getattr(again, name) is NOT_GIVEN

    def test_it_can_be_written_to_the_database_and_read_back(self, operator):
        def parsed():
            with DAG("contract", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
                make(operator)
                required = {name: NEEDED[name] for name, p in parameters(operator).items() if p.default is p.empty}
                operator.partial(task_id="mapped").expand_kwargs([required])
            return serialized(dag)

        form, deserialize = parsed()
        text = json.dumps(form, sort_keys=True)
        # An address in memory would make a new version of the DAG each time it is parsed.
        assert " at 0x" not in text
        assert json.dumps(parsed()[0], sort_keys=True) == text
        back = deserialize(json.loads(text))
        assert sorted(back.task_dict) == ["mapped", "t"]
        assert back.task_dict["t"].task_type == operator.__name__
        assert sorted(back.task_dict["t"].template_fields) == sorted(operator.template_fields)

    def test_nothing_is_kept_in_it_that_a_worker_could_not_receive(self, operator):
        made = make(operator)
        ours = [
            value for value in vars(made).values() if type(value).__module__.startswith("airflow_provider_anyformat")
        ]
        # The retry policy stays in the worker: Airflow writes down only that there is one.
        assert all(value is NOT_GIVEN or isinstance(value, AnyformatRetryPolicy) for value in ours)

    def test_on_kill_before_execute_is_harmless(self, operator):
        made = make(operator)
        assert made.on_kill() is None
        assert made.on_kill() is None


@pytest.fixture
def connected(anyformat_sandbox, monkeypatch):
    """Give a sandbox that would be asked if anything were: it knows the ids of ``NEEDED``."""
    for name, value in anyformat_sandbox.conn_env({"max_attempts": 1}).items():
        monkeypatch.setenv(name, value)
    workflow = anyformat_sandbox.add_workflow(NEEDED["workflow_id"])
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    anyformat_sandbox.add_collection(workflow, id=NEEDED["collection_id"], created_at=long_ago)
    return anyformat_sandbox


def refused(operator, name, value, sandbox):
    """The sentence, which is the same when the DAG is parsed as when a template gave the value."""
    with pytest.raises(AirflowFailException) as at_parsing:
        make(operator, **{name: value})
    with pytest.raises(AirflowFailException) as at_mapping:
        operator.partial(task_id="t", **{name: value})
    made = make(operator, **{name: "{{ params.x }}"})
    setattr(made, name, value)
    with pytest.raises(AirflowFailException) as caught:
        made.execute({})
    text = str(caught.value)
    assert text == str(at_parsing.value) == str(at_mapping.value)
    assert text.startswith(f"{name}: ")
    assert sandbox.requests == []
    return text


@pytest.mark.parametrize("operator", [*OPERATORS, FileCollectionSensor], ids=lambda operator: operator.__name__)
class TestBadInput:
    def test_what_was_given_and_is_missing_fails_for_good_and_is_named(self, operator, connected):
        for name in set(operator.template_fields) - MAY_BE_NOTHING:
            for value in NOTHING:
                text = refused(operator, name, value, connected)
                assert ascii(value) in text
                assert "it takes" in text.lower()

    def test_what_is_of_no_use_fails_for_good_and_is_named(self, operator, connected):
        for name in operator.template_fields:
            refused(operator, name, b"bytes", connected)
            refused(operator, name, object(), connected)

    def test_booleans_are_read_strictly(self, operator, connected):
        for name, parameter in parameters(operator).items():
            if type(parameter.default) is bool:
                for value in NO_BOOLEANS:
                    assert "True or False" in refused(operator, name, value, connected)

    def test_a_text_that_is_no_list_is_never_split(self, operator, connected):
        for name, parameter in parameters(operator).items():
            if isinstance(parameter.default, tuple) or name == "collection_ids":
                assert "never split on commas" in refused(operator, name, "first-id,second-id", connected)

    def test_what_airflow_fills_in_later_is_not_read_at_parsing(self, operator):
        with DAG("later", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), params={"x": "y"}) as dag:
            before = BaseOperator(task_id="before")
            later = ["{{ x }}", "{% if x %}y{% endif %}", ["{{ x }}", "a b"], {"id": "{{ x }}"}, before.output]
            later += [dag.param("x"), lambda context, jinja_env: "y"]
            for name in operator.template_fields:
                for number, value in enumerate(later):
                    make(operator, task_id=f"{name}-{number}", **{name: value})
                operator.partial(task_id=f"{name}-mapped").expand(**{name: before.output})

    def test_an_operator_of_ones_own_may_read_its_parameters_itself(self, operator):
        class Own(operator):  # type: ignore[valid-type,misc]
            template_fields = ()

            def __init__(self, own, **kwargs):
                super().__init__(**kwargs)

        Own(task_id="t", own="a b", **{name: NEEDED[name] for name in NEEDED if name in parameters(operator)})

    def test_dry_run_is_called_plan_only(self, operator):
        with pytest.raises(AirflowFailException, match=r"^dry_run: .*plan_only=True$"):
            make(operator, dry_run=True)
        with pytest.raises(AirflowFailException, match=r"^dry_run: .*plan_only=True$"):
            operator.partial(task_id="t", dry_run=True)

    def test_the_connection_is_named_too(self, operator, connected, airflow_database):
        with pytest.raises(AnyformatValueError, match=r"^anyformat_conn_id: .*'nobody_made_this'") as caught:
            make(operator, anyformat_conn_id="nobody_made_this").execute({})
        # A secrets backend that fails for a moment looks the same.
        assert caught.value.retryable


@every_operator
def test_the_task_s_retry_policy_wins_then_the_dag_s_then_ours(operator):
    mine, everybody_s = object(), object()
    with DAG("retries", schedule=None, default_args={"retry_policy": everybody_s}):
        tasks = [make(operator), make(operator, task_id="own", retry_policy=mine)]
    alone = make(operator)
    if AIRFLOW_V_3_3_PLUS:
        assert [task.retry_policy for task in tasks] == [everybody_s, mine]
        assert isinstance(alone.retry_policy, AnyformatRetryPolicy)
    else:
        assert not any(hasattr(task, "retry_policy") for task in (*tasks, alone))
