"""The connection in real DAG runs: what cannot be used fails the task for good, before a request is sent."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
from tests.support.dag_source import HEAD, failed_at_once, keep_api

KEY = "af_connection-key-0123456789"

# conn_id: fields in the place of those that work, the field that the task names, and what else it says; the rest is in
# tests/unit/test_hook.py.
BAD: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "blank_key": ({"password": "   "}, "password", ["there is no API key"]),
    "looks_like": ({"host": "http://127.0.0.1.example.org"}, "host", ["'127.0.0.1.example.org'", "use https"]),
    "extra_list": ({"extra": [1]}, "extra", ['{"timeout": 30}']),
}

DAG = (
    HEAD
    + """
    with DAG("connection", **BEGIN):
        for conn_id in CONN_IDS:
            DeleteFileCollectionOperator(
                task_id=conn_id, collection_id=ID, anyformat_conn_id="{{ task.task_id }}", **QUICK
            )
        DeleteFileCollectionOperator(
            task_id="good", collection_id=ID, anyformat_conn_id="{{ dag.dag_id }}_{{ 'good' }}", **QUICK
        )
        DeleteFileCollectionOperator(task_id="as_uri", collection_id=BY_URI, anyformat_conn_id="as_uri")
"""
)


def test_what_cannot_be_used_fails_for_good_before_a_request(dag_runner, anyformat_sandbox, monkeypatch):
    keep_api(monkeypatch)
    anyformat_sandbox.key = KEY
    collection_id = anyformat_sandbox.add_collection(anyformat_sandbox.add_workflow())
    by_uri = anyformat_sandbox.add_collection(anyformat_sandbox.add_workflow())
    port = anyformat_sandbox.port
    working = {"conn_type": "anyformat", "password": KEY, "host": f"http://127.0.0.1:{port}"}
    for conn_id, (fields, _, _) in BAD.items():
        dag_runner.connect({**working, **fields}, conn_id)
    dag_runner.connect({**working, "extra": {"tiemout": 5, "timeout": "20"}}, "connection_good")
    dag_runner.connect(f"anyformat://:{KEY}@127.0.0.1:{port}/http?timeout=5&max_attempts=1", "as_uri")
    source = DAG.replace("CONN_IDS", repr([*BAD, "connection_nobody"])).replace("BY_URI", repr(by_uri))
    result = dag_runner.run(source.replace("ID", repr(collection_id)))

    for conn_id, (_, field, words) in BAD.items():
        assert failed_at_once(result[conn_id], *words).startswith(f"{field}: ")
        assert KEY not in result[conn_id].log
    # A secrets backend that fails for a moment looks the same as a connection that is not there.
    assert result["connection_nobody"].try_number == 3
    assert "anyformat_conn_id: there is no connection 'connection_nobody'" in result["connection_nobody"].log

    assert (result["good"].state, result["good"].return_value) == ("success", collection_id)
    (warning,) = [line for line in result["good"].log.splitlines() if "unknown key" in line]
    assert "warning" in warning.lower()
    for word in (
        "connection_good",
        "tiemout",
        "timeout, max_attempts, backoff, max_backoff, min_retention, api_version",
    ):
        assert word in warning
    assert anyformat_sandbox.deleted == {collection_id: 1, by_uri: 1}
    assert len(anyformat_sandbox.requests) == 2
    for request in anyformat_sandbox.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["user-agent"].startswith("airflow-provider-anyformat/")


class TestTestConnection:
    @pytest.fixture
    def ask(self, monkeypatch):
        def ask(url, key=KEY, **extra):
            fields = {"conn_type": "anyformat", "host": url, "password": key}
            fields["extra"] = {"max_attempts": 1, "timeout": 3, **extra}
            monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", json.dumps(fields))
            ok, text = AnyformatHook().test_connection()
            assert key not in text
            assert text == text.strip()
            return ok, text

        return ask

    def test_the_right_key(self, ask, anyformat_sandbox):
        anyformat_sandbox.key = KEY
        ok, text = ask(anyformat_sandbox.url)
        assert ok is True
        assert text == f"{anyformat_sandbox.url} accepts the API key"
        (request,) = anyformat_sandbox.requests
        assert (request.method, request.path, request.query) == ("GET", "/v2/workflows/", "page_size=1")

    def test_a_wrong_key(self, ask, anyformat_sandbox):
        ok, text = ask(anyformat_sandbox.url)
        assert ok is False
        assert "HTTP 401" in text
        assert "does not accept the API key" in text

    def test_a_key_that_may_not(self, ask, anyformat_sandbox):
        anyformat_sandbox.key = KEY
        anyformat_sandbox.deny_scope("workflows:read", method="GET")
        ok, text = ask(anyformat_sandbox.url)
        assert ok is False
        assert "HTTP 403" in text
        assert "workflows:read" in text

    def test_nobody_listens(self, ask):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            ok, text = ask(f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert ok is False
        assert "refused" in text

    def test_no_such_name(self, ask):
        ok, text = ask("https://anyformat.invalid")
        assert ok is False
        assert "anyformat.invalid" in text or "name" in text.lower()

    def test_a_server_that_breaks(self, ask, anyformat_sandbox):
        anyformat_sandbox.key = KEY
        anyformat_sandbox.fail_next(1, "html")
        ok, text = ask(anyformat_sandbox.url)
        assert ok is False
        assert "HTTP 502" in text

    def test_a_server_that_says_nothing(self, ask, anyformat_sandbox):
        anyformat_sandbox.key = KEY
        anyformat_sandbox.fail_next(1, "slow", delay=30)
        ok, text = ask(anyformat_sandbox.url, timeout=0.3)
        assert ok is False
        assert "answer" in text

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("text/html", b"<html>Welcome to the hotel's network</html>"),
            ("application/json", b'{"ok": true}'),
            ("", b""),
        ],
        ids=["portal", "other service", "empty"],
    )
    def test_something_that_is_not_anyformat(self, ask, kind, body):
        class Other(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            ok, text = ask(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert ok is False
        assert "the answer is not anyformat's; check the host of the connection" in text

    def test_a_connection_that_is_not_there(self, airflow_database):
        ok, text = AnyformatHook("nobody_made_this").test_connection()
        assert ok is False
        assert text.startswith("anyformat_conn_id: there is no connection 'nobody_made_this'")
        # A secrets backend that fails for a moment looks the same.
        with pytest.raises(AnyformatValueError) as caught:
            AnyformatHook("nobody_made_this").get_conn()
        assert caught.value.retryable

    def test_as_airflow_asks(self, anyformat_sandbox):
        """The button of the form makes a temporary connection and asks the hook of its type."""
        from airflow.models.connection import Connection

        connection = Connection(conn_id="anyformat_default", uri=None, conn_type="anyformat")
        connection.host, connection.password = anyformat_sandbox.url, anyformat_sandbox.key
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(AnyformatHook, "get_connection", classmethod(lambda cls, conn_id: connection))
            assert connection.test_connection() == (True, f"{anyformat_sandbox.url} accepts the API key")
