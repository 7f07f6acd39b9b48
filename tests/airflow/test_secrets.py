"""The API key is found nowhere after real runs: in no log, database, XCom, rendered field, serialised DAG or error."""

from __future__ import annotations

import json
import os
import subprocess
import uuid

import pytest

from airflow_provider_anyformat.exceptions import AnyformatError
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
from tests.support.dag_source import HEAD, keep_api

DAG = (
    HEAD
    + """
    import logging

    def tell(context):
        logging.getLogger("call.back").warning("called back: %r %r", context.get("exception"), context["task"])

    TELLING = {**QUICK, "on_failure_callback": tell, "on_retry_callback": tell}
    with DAG("secrets", **BEGIN):
        for name, collection_id in IDS.items():
            DeleteFileCollectionOperator(task_id=name, collection_id=collection_id, **TELLING)
"""
)

# What a user may do to give the key away: the task's log must not have it all the same.
CARELESS = (
    HEAD
    + """
    import logging
    from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

    class Careless(DeleteFileCollectionOperator):
        def execute(self, context):
            hook = AnyformatHook(self.anyformat_conn_id)
            key, client = hook.settings.api_key, hook.get_conn()
            self.log.info("shown: %s %s %s %s", hook, client, hook.settings, vars(hook))
            self.log.info("logged: %s", key)
            logging.getLogger("some.where").warning("elsewhere: Bearer %s", key)
            print("printed:", key)
            super().execute(context)
            raise RuntimeError("raised: " + key)

    with DAG("secrets_careless", **BEGIN):
        Careless(task_id="careless", collection_id=ID)
"""
)


@pytest.fixture
def key():
    """Give a key that no other test and no other run has."""
    return f"af_secret+{uuid.uuid4().hex}/=%"


def forms(key):
    """Give the forms that the key may have been brought into."""
    quoted = key.replace("+", "%2B").replace("/", "%2F")
    return [key, json.dumps(key)[1:-1], key.replace("%", "%25"), quoted, key[3:40]]


def holds(text, key):
    """Say whether the key is in there."""
    return any(form in text for form in forms(key))


def chain(error):
    """Give an exception and all that hang on to it."""
    found, waiting = [], [error]
    while waiting:
        error = waiting.pop()
        if error is not None and error not in found:
            found.append(error)
            waiting += [error.__cause__, error.__context__]
    return found


def connect(dag_runner, sandbox, key):
    sandbox.key = key
    dag_runner.connect(json.loads(sandbox.conn_json({"max_attempts": 2, "backoff": 0.01})))
    return sandbox.add_workflow()


def files_with(key):
    """
    Search everything under Airflow's home: log files, the database, DAG files, what processes printed.

    Another process does: one that opens and closes a SQLite database itself takes away the locks of its connections.
    """
    words = [word for form in forms(key) for word in ("-e", form)]
    command = ["grep", "--recursive", "--text", "--files-with-matches", "--fixed-strings", *words]
    done = subprocess.run([*command, os.environ["AIRFLOW_HOME"]], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.split()


def test_no_trace_is_left_by_a_run(dag_runner, anyformat_sandbox, monkeypatch, key):
    keep_api(monkeypatch)
    sandbox = anyformat_sandbox
    workflow = connect(dag_runner, sandbox, key)
    names = ["deleted", "unavailable", "unauthorised", "invalid", "page", "reset", "odd"]
    ids = {name: sandbox.add_collection(workflow) for name in names}
    echo = {
        "detail": [{"loc": ["header", key], "msg": f"got Bearer {key}", "type": key, "input": key}],
        "error_code": key,
    }
    sandbox.fail_next(6, 503, path=ids["unavailable"], body={"error": key, "request_id": key, "error_code": key})
    sandbox.fail_next(
        1, 401, path=ids["unauthorised"], body={"error": f"Unknown key {key}", "error_code": "AUTH_FAILED"}
    )
    sandbox.fail_next(1, 422, path=ids["invalid"], body=echo)
    sandbox.fail_next(1, 400, path=ids["page"], html=True, body=f"<html>{key}</html>", headers={"X-Key": key})
    sandbox.fail_next(6, "reset_before", path=ids["reset"])
    plain = {"Content-Type": "text/plain"}
    sandbox.fail_next(1, 418, path=ids["odd"], body=f"plain text with {key} in it", headers=plain)
    source = DAG.replace("IDS", repr(ids))
    result = dag_runner.run(source)

    states = {name: result[name].state for name in names}
    assert states == {**dict.fromkeys(names, "failed"), "deleted": "success"}
    for name in ("unavailable", "unauthorised", "invalid", "odd"):
        assert "***" in str(result[name].exception), "the server's echo is struck out, and nothing else of it"
    for task in result.tasks.values():
        assert not holds(json.dumps([task.xcoms, task.rendered], default=repr), key)
        assert ("called back" in task.log) == (task.state == "failed")
        assert not holds(task.log, key)
        for attempt in task.attempts:
            for error in chain(attempt.exception):
                assert not holds(repr(error) + str(error) + repr(vars(error)), key)
    assert not holds(result.serialized, key)
    assert not holds(result.log, key)
    assert files_with(key) == []


def test_a_careless_task_of_a_worker_logs_stars(dag_runner, anyformat_sandbox, monkeypatch, key):
    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "DEBUG")
    collection_id = anyformat_sandbox.add_collection(connect(dag_runner, anyformat_sandbox, key))
    process = dag_runner.start_task(CARELESS.replace("ID", repr(collection_id)), "careless")
    done = process.wait()
    assert done.state == "failed"
    assert anyformat_sandbox.deleted == {collection_id: 1}
    for word in ("shown: ", "logged: ***", "elsewhere: Bearer ***", "printed: ***", "raised: ***"):
        assert word in done.log
    assert files_with(key) == []
    assert files_with("secrets_careless"), "the search finds what is there"


def test_no_error_of_the_hook_or_the_client_holds_it(anyformat_sandbox, monkeypatch, key):
    sandbox = anyformat_sandbox
    sandbox.key = key
    sandbox.fail_next(2, "reset_before", method="DELETE")
    sandbox.fail_next(2, "slow", method="GET", delay=5)
    connection = sandbox.conn_json({"max_attempts": 2, "backoff": 0.01, "timeout": 0.2})
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", connection)
    hook = AnyformatHook()
    for call in (hook.delete_file_collection, hook.list_file_collections):
        with pytest.raises(AnyformatError) as caught:
            call("some-id")
        for error in chain(caught.value):
            assert not holds(repr(error) + str(error) + repr(vars(error)), key)
    assert not holds(repr(hook) + repr(hook.get_conn()) + repr(hook.settings) + repr(vars(hook)), key)
    hook.get_conn().close()
