"""DeleteFileCollectionOperator in real DAG runs against the sandbox."""

from __future__ import annotations

import json
import uuid

import pytest

from airflow_provider_anyformat.exceptions import (
    AnyformatConnectionError,
    AnyformatRateLimitError,
    AnyformatServerError,
)
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator
from airflow_provider_anyformat.retry_policies import AnyformatRetryPolicy
from tests.support.dag_results import AIRFLOW_VERSION as LINE
from tests.support.dag_source import HEAD, failed_at_once, keep_api
from tests.support.scripted import KEY, OK, ScriptedServer, reply


@pytest.fixture
def sandbox(anyformat_sandbox, monkeypatch):
    """Give the sandbox with the default connection pointing at it: two quick tries of a request."""
    keep_api(monkeypatch)
    for name, value in anyformat_sandbox.conn_env({"max_attempts": 2, "backoff": 0.01, "max_backoff": 5}).items():
        monkeypatch.setenv(name, value)
    anyformat_sandbox.workflow = anyformat_sandbox.add_workflow()
    return anyformat_sandbox


def new(sandbox):
    return sandbox.add_collection(sandbox.workflow)


def asked(sandbox, collection_id=""):
    return len(sandbox.requests_to("DELETE", collection_id))


TEMPLATES = (
    HEAD
    + """
    with DAG("delete_templates", params={"which": "default", "flag": "False", "nonsense": "maybe"}, **BEGIN):
        @task
        def upload(n):
            return {"id": IDS[n]}

        @task
        def some_ids():
            return IDS[2:5]

        @task
        def one_id(n):
            return IDS[n]

        @task
        def nothing():
            return None

        @task
        def show(value):
            return f"got {value}"

        upload(0) >> DeleteFileCollectionOperator(
            task_id="by_template",
            collection_id="{{ ti.xcom_pull('upload')['id'] }}",
            anyformat_conn_id="anyformat_{{ params.which }}",
            **QUICK,
        )
        by_arg = DeleteFileCollectionOperator(task_id="by_arg", collection_id=one_id(1), **QUICK)
        show(by_arg.output)
        listed = some_ids()
        DeleteFileCollectionOperator.partial(task_id="mapped", **QUICK).expand(collection_id=listed)
        DeleteFileCollectionOperator(task_id="list_given", collection_id=listed, **QUICK)
        several = one_id.override(task_id="several").expand(n=[5, 6])
        DeleteFileCollectionOperator(task_id="mapped_given", collection_id=several, **QUICK)
        none = nothing()
        DeleteFileCollectionOperator(
            task_id="pulled_none", collection_id="{{ ti.xcom_pull('nothing') }}", **QUICK
        ) << none
        DeleteFileCollectionOperator(
            task_id="unknown_conn", collection_id=IDS[5], anyformat_conn_id="any_{{ params.flag }}", **QUICK
        )
        for flag in ("flag", "nonsense"):
            DeleteFileCollectionOperator(
                task_id=flag, collection_id=ABSENT, ignore_if_missing="{{ params.%s }}" % flag, **QUICK
            )
        DeleteFileCollectionOperator(task_id="no_such_key", collection_id=none["id"])
"""
)


def test_templates(dag_runner, sandbox):
    ids = [new(sandbox) for _ in range(7)]
    absent = str(uuid.uuid4())
    result = dag_runner.run(TEMPLATES.replace("IDS", json.dumps(ids)).replace("ABSENT", repr(absent)))

    assert (result["by_template"].state, result["by_template"].return_value) == ("success", ids[0])
    assert result["by_template"].rendered["collection_id"] == ids[0]
    assert result["by_template"].rendered["anyformat_conn_id"] == "anyformat_default"
    assert result["show"].return_value == f"got {ids[1]}"
    assert [(task.state, task.return_value) for task in result.mapped("mapped")] == [("success", i) for i in ids[2:5]]

    failed_at_once(result["list_given"], "collection_id: ", "DeleteFileCollectionsOperator", ids[2])
    failed_at_once(result["mapped_given"], "collection_id: ", "DeleteFileCollectionsOperator")
    failed_at_once(result["pulled_none"], "collection_id: 'None'", "upstream task pushed nothing")
    # Not final: a secrets backend that fails for a moment looks the same.
    assert result["unknown_conn"].try_number > 1
    assert "'any_False'" in result["unknown_conn"].log
    failed_at_once(result["flag"], "HTTP 404", absent)
    failed_at_once(result["nonsense"], "ignore_if_missing: 'maybe'", "True or False")
    assert result["no_such_key"].state == "failed"

    assert sandbox.deleted == dict.fromkeys(ids[:5], 1)
    assert asked(sandbox) == 6  # five deletes and the one that was not there


NATIVE = (
    HEAD
    + """
    with DAG("delete_native", render_template_as_native_obj=True, params={"yes": True, "no": "False"}, **BEGIN):
        @task
        def values():
            return VALUES

        pushed = values()
        for name in VALUES:
            DeleteFileCollectionOperator(
                task_id=name, collection_id="{{ ti.xcom_pull('values')['%s'] }}" % name, **QUICK
            ) << pushed
        @task
        def exponent():
            return "1e5"

        DeleteFileCollectionOperator(task_id="by_arg", collection_id=exponent(), **QUICK)
        for flag in ("yes", "no"):
            DeleteFileCollectionOperator(
                task_id="flag_" + flag, collection_id="absent", ignore_if_missing="{{ params.%s }}" % flag, **QUICK
            )
"""
)


def test_native_rendering(dag_runner, sandbox):
    sandbox.uuid_ids = False
    first = new(sandbox)
    for name in ("1e5", "12345", "True", "100000.0"):
        sandbox.add_collection(sandbox.workflow, id=name)
    values = {"plain": first, "exponent": "1e5", "digits": "12345", "word": "True", "none": None, "ids": [first]}
    result = dag_runner.run(NATIVE.replace("VALUES", repr(values)))

    assert (result["plain"].state, result["plain"].return_value) == ("success", first)
    # An XComArg is handed over as it is; only a template makes a number of it.
    assert (result["by_arg"].state, result["by_arg"].return_value) == ("success", "1e5"), result["by_arg"].log
    failed_at_once(result["exponent"], "collection_id: 100000.0", "1e5")
    failed_at_once(result["digits"], "collection_id: 12345")
    failed_at_once(result["word"], "collection_id: True")
    failed_at_once(result["none"], "collection_id: None")
    failed_at_once(result["ids"], "collection_id: [", "DeleteFileCollectionsOperator")
    assert result["flag_yes"].state == "success"
    failed_at_once(result["flag_no"], "HTTP 404")
    assert sandbox.deleted == {first: 1, "1e5": 1}
    assert asked(sandbox) == 4


# What a 422 may bring in place of the published body, and what the task log then says; the rest is in test_replies.py.
def item(where, message, kind, **more):
    return {"loc": where, "msg": message, "type": kind, **more}


ODD_BODIES = {
    "escapes": (
        {"detail": [item(["path"], "up\x1b[2J\r\nERROR forged", "t"), item(["body", 3], "Second", "y")]},
        ["ERROR forged [t]", "body.3: Second [y]"],
    ),
    "secrets": ({"detail": [item(["path"], "m", "t", input="hunter22", ctx={"k": "hunter22"})]}, ["path: m [t]"]),
    "eleven": ({"detail": [item([n], f"Number {n}", "t") for n in range(11)]}, ["9: Number 9 [t]", "1 more"]),
}

REFUSED = (
    HEAD
    + """
    with DAG("delete_refused", **BEGIN):
        DeleteFileCollectionOperator(task_id="malformed", collection_id="not-a-uuid", **QUICK)
        for name, collection_id in IDS.items():
            DeleteFileCollectionOperator(task_id=name, collection_id=collection_id, **QUICK)
"""
)


def test_what_is_refused_fails_at_once_with_a_readable_line_for_each_item(dag_runner, sandbox):
    ids = {name: str(uuid.uuid4()) for name in ODD_BODIES}
    for name, (body, _) in ODD_BODIES.items():
        sandbox.fail_next(1, 422, path=ids[name], body=json.dumps(body))
    result = dag_runner.run(REFUSED.replace("IDS", repr(ids)))

    text = failed_at_once(result["malformed"], "HTTP 422")
    (line,) = [line for line in text.splitlines() if "path.collection_id" in line]
    assert line.strip().startswith("path.collection_id: Input should be a valid UUID")
    assert line.endswith("[uuid_parsing]")
    for name, (_, lines) in ODD_BODIES.items():
        text = failed_at_once(result[name], "HTTP 422", ids[name])
        for line in lines:
            assert [each for each in text.splitlines() if each.strip().endswith(line) or line in each], text
        assert all(character == "\n" or character.isprintable() for character in text)
        assert "hunter22" not in result[name].log
        assert len(text.splitlines()) <= 14
    assert asked(sandbox) == 1 + len(ids)
    assert sandbox.deleted == {}


MISSING = (
    HEAD
    + """
    def tell(context):
        print("callback saw", type(context.get("exception")).__name__)

    TELLING = {**QUICK, "on_failure_callback": tell, "on_retry_callback": tell}
    with DAG("delete_missing", params={"yes": "true"}, **BEGIN):
        for name, collection_id in IDS.items():
            DeleteFileCollectionOperator(task_id=name, collection_id=collection_id, **TELLING)
        DeleteFileCollectionOperator(task_id="ignored", collection_id=ABSENT, ignore_if_missing=True, **TELLING)
        DeleteFileCollectionOperator(
            task_id="ignored_text", collection_id=ABSENT, ignore_if_missing="{{ params.yes }}", **TELLING
        )
"""
)


def test_what_may_have_happened_and_what_may_succeed_later(dag_runner, sandbox):
    names = ["unsure", "reset_first", "cut_off", "first_try_deleted", "later", "waits", "never", "gone", "gateway"]
    ids = {name: new(sandbox) for name in names}
    ids |= {name: str(uuid.uuid4()) for name in ("missing", "missing_and_busy")}
    ids["refused_then_missing"] = str(uuid.uuid4())
    fail = sandbox.fail_next
    fail(1, "reset_after", path=ids["unsure"])
    fail(1, "reset_before", path=ids["reset_first"])
    fail(1, 503, path=ids["cut_off"], applied=True)
    fail(1, "close_after", path=ids["first_try_deleted"])
    fail(1, 503, path=ids["first_try_deleted"])
    fail(2, 503, path=ids["later"])
    # Longer than max_backoff, so the client gives up; from Airflow 3.3 on the next try comes when the server said.
    fail(1, 429, path=ids["waits"], headers={"Retry-After": "6"})
    fail(6, 500, path=ids["never"])
    fail(2, "reset_before", path=ids["gone"])
    fail(2, "gateway_404", path=ids["gateway"])
    # A 429 is certain not to have deleted anything, and a 404 after it is a first answer.
    fail(1, 429, path=ids["refused_then_missing"], headers={"Retry-After": "0"})
    fail(2, 429, path=ids["missing_and_busy"], headers={"Retry-After": "0"})

    source = MISSING.replace("IDS", repr(ids)).replace("ABSENT", repr(str(uuid.uuid4())))
    result = dag_runner.run(source)

    def states(name):
        return [attempt.state for attempt in result[name].attempts]

    for name in ("unsure", "reset_first", "cut_off", "ignored", "ignored_text"):
        assert states(name) == ["success"], result[name].log
        assert "callback saw" not in result[name].log
    for name in ("unsure", "cut_off"):
        assert "HTTP 404 after a try that may have taken effect" in result[name].log
    failed_at_once(result["missing"], "HTTP 404", ids["missing"])
    failed_at_once(result["refused_then_missing"], "HTTP 404")

    # Airflow 3.3 remembers that no delete of the first try was taken; before, a 404 on a retry had to mean that.
    remembers = LINE >= (3, 3)
    assert states("missing_and_busy") == ["up_for_retry", "failed" if remembers else "success"]
    assert ("An earlier try of this task" in result["missing_and_busy"].log) is not remembers

    for name in ("first_try_deleted", "later", "waits", "gone", "gateway"):
        assert states(name) == ["up_for_retry", "success"], result[name].log
        assert result[name].return_value == ids[name]
    assert "An earlier try of this task" in result["first_try_deleted"].attempts[1].log
    assert "warning" in result["first_try_deleted"].attempts[1].log.lower()
    assert "An earlier try of this task" not in result["later"].log
    for name, kind in [
        ("first_try_deleted", AnyformatServerError),
        ("later", AnyformatServerError),
        ("gateway", AnyformatServerError),
        ("waits", AnyformatRateLimitError),
        ("gone", AnyformatConnectionError),
    ]:
        assert type(result[name].attempts[0].exception) is kind
        # DAG.test() of 3.1 alone leaves the exception out of the callback's context; a worker of 3.1 does not.
        seen = "NoneType" if LINE == (3, 1) else kind.__name__
        assert f"callback saw {seen}" in result[name].attempts[0].log

    assert states("never") == ["up_for_retry", "up_for_retry", "failed"]
    assert type(result["never"].exception) is AnyformatServerError
    assert "HTTP 500" in str(result["never"].exception)
    assert asked(sandbox, ids["never"]) == 6
    assert asked(sandbox, ids["waits"]) == 2

    gone = {ids[name] for name in names} - {ids["never"]}
    assert sandbox.deleted == dict.fromkeys(gone, 1)


CLEARED = (
    HEAD
    + """
    with DAG("delete_cleared", **BEGIN):
        DeleteFileCollectionOperator(task_id="strict", collection_id=FIRST, **QUICK)
        DeleteFileCollectionOperator(task_id="lenient", collection_id=SECOND, ignore_if_missing=True, **QUICK)
"""
)


def test_after_a_clear_a_404_is_red_unless_it_may_be_missing(dag_runner, sandbox):
    ids = [new(sandbox), new(sandbox)]
    result = dag_runner.run(CLEARED.replace("FIRST", repr(ids[0])).replace("SECOND", repr(ids[1])))
    assert (result["strict"].state, result["lenient"].state) == ("success", "success")

    again = dag_runner.clear(result, "lenient")["lenient"]
    assert (again.state, again.try_number, again.return_value) == ("success", 2, ids[1])
    again = dag_runner.clear(result, "strict")["strict"]
    assert again.try_number == 2
    failed_at_once(again, "HTTP 404", ids[0])
    assert sandbox.deleted == dict.fromkeys(ids, 1)


def kept_by(operator):
    kept = [value for value in vars(operator).values() if "anyformat" in type(value).__module__]
    return [value for value in kept if not isinstance(value, AnyformatRetryPolicy)]


class TestWithoutATask:
    def test_it_runs_and_leaves_no_client_behind(self, sandbox):
        collection_id = new(sandbox)
        operator = DeleteFileCollectionOperator(task_id="t", collection_id=collection_id)
        assert operator.execute({}) == collection_id
        assert sandbox.deleted == {collection_id: 1}
        assert not kept_by(operator)

    @pytest.mark.parametrize("fault", [422, 503, "reset_before"])
    def test_nor_after_a_failure(self, sandbox, fault):
        collection_id = new(sandbox)
        sandbox.fail_next(2, fault)
        operator = DeleteFileCollectionOperator(task_id="t", collection_id=collection_id)
        with pytest.raises(Exception, match=collection_id):
            operator.execute({})
        assert not kept_by(operator)

    def test_on_kill_before_between_and_after_is_harmless(self, sandbox):
        operator = DeleteFileCollectionOperator(task_id="t", collection_id=new(sandbox))
        operator.execute({})
        operator.on_kill()
        assert sum(sandbox.deleted.values()) == 1

    def test_one_look_up_and_one_connection(self, monkeypatch):
        server = ScriptedServer()
        try:
            server.script(reply(429, headers={"Retry-After": "0"}), reply(422, {"detail": []}), OK)
            connection = {"conn_type": "anyformat", "host": server.url, "password": KEY, "extra": {"backoff": 0.01}}
            monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", json.dumps(connection))
            reads = []
            real = AnyformatHook.get_connection
            monkeypatch.setattr(
                AnyformatHook, "get_connection", classmethod(lambda cls, name: (reads.append(name), real(name))[1])
            )
            with pytest.raises(Exception, match="HTTP 422"):
                DeleteFileCollectionOperator(task_id="t", collection_id="one").execute({})
            assert (reads, server.connections, len(server.requests)) == (["anyformat_default"], 1, 2)
            DeleteFileCollectionOperator(task_id="t", collection_id="two").execute({})
            assert (len(reads), server.connections) == (2, 2)
            assert server.requests[-1].line == "DELETE /v2/files/two/ HTTP/1.1"
            assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        finally:
            server.close()
