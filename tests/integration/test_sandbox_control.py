"""The handles of a sandbox: what a test does with one in its own process, and over HTTP with one in another."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
import uvicorn

from airflow_provider_anyformat.sandbox import Sandbox

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.server import RequestRecord


def call(sandbox: Sandbox, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {sandbox.key}", **options.pop("headers", {})}
    return requests.request(method, sandbox.url + path, headers=headers, timeout=20, **options)


def ids(sandbox: Sandbox, workflow_id: str, page: int, page_size: int) -> list[str]:
    reply = call(sandbox, "GET", f"/v2/workflows/{workflow_id}/files/?page={page}&page_size={page_size}")
    return [row["id"] for row in reply.json()["results"]]


# --- running ---------------------------------------------------------------------------------------------------------


def test_it_listens_on_loopback_alone(anyformat_sandbox: Sandbox) -> None:
    assert anyformat_sandbox.url == f"http://127.0.0.1:{anyformat_sandbox.port}"
    with socket.socket() as probe:
        # Another loopback address is refused, and so it is not listening on all of them.
        assert probe.connect_ex(("127.0.0.2", anyformat_sandbox.port)) != 0


def test_it_stops_and_goes_on_at_the_same_port_with_what_it_had() -> None:
    sandbox = Sandbox()
    sandbox.stop()
    with sandbox:
        assert sandbox.start() is sandbox
        url, workflow_id = sandbox.url, sandbox.add_workflow()
        collection_id = sandbox.add_collection(workflow_id)
        with requests.Session() as session:
            assert session.get(f"{url}/health/", timeout=20).status_code == 200
            sandbox.stop()
            with pytest.raises(requests.ConnectionError):
                session.get(f"{url}/health/", timeout=20)
        assert sandbox.start().url == url
        assert ids(sandbox, workflow_id, 1, 10) == [collection_id]
    assert not [thread for thread in threading.enumerate() if thread.name == "anyformat-sandbox"]


def test_two_run_side_by_side_and_know_nothing_of_each_other(anyformat_sandbox: Sandbox) -> None:
    with Sandbox(key="af_another_key") as other:
        assert other.url != anyformat_sandbox.url
        assert call(other, "GET", "/v2/workflows/").status_code == 200
        assert (
            requests.get(
                f"{anyformat_sandbox.url}/v2/workflows/", headers={"Authorization": f"Bearer {other.key}"}, timeout=20
            ).status_code
            == 401
        )
        assert other.add_workflow() not in {
            row["id"] for row in call(anyformat_sandbox, "GET", "/v2/workflows/").json()["results"]
        }


def test_a_port_that_is_taken_is_an_error(anyformat_sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=anyformat_sandbox.port).start()


def test_a_server_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def startup(*_: Any, **__: Any) -> None:
        raise OSError("no more sockets")

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    with pytest.raises(RuntimeError, match="did not start") as caught:
        Sandbox().start()
    assert str(caught.value.__cause__) == "no more sockets"


def test_it_shows_where_it_is_and_not_its_key() -> None:
    assert repr(Sandbox(key="af_a_real_one", port=4711)) == "<Sandbox at http://127.0.0.1:4711>"


def test_the_connection_it_hands_out(anyformat_sandbox: Sandbox) -> None:
    assert json.loads(anyformat_sandbox.conn_json()) == {
        "conn_type": "anyformat",
        "host": anyformat_sandbox.url,
        "password": "af_sandbox",
    }
    environment = anyformat_sandbox.conn_env({"timeout": 5}, conn_id="purge")
    assert list(environment) == ["AIRFLOW_CONN_PURGE"]
    assert json.loads(environment["AIRFLOW_CONN_PURGE"])["extra"] == {"timeout": 5}
    assert list(anyformat_sandbox.conn_env()) == ["AIRFLOW_CONN_ANYFORMAT_DEFAULT"]


def test_latency_is_what_every_answer_takes_and_not_one_after_the_other(anyformat_sandbox: Sandbox) -> None:
    anyformat_sandbox.latency = 0.4
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: call(anyformat_sandbox, "GET", "/v2/workflows/"), range(16)))
    assert min(reply.elapsed.total_seconds() for reply in replies) >= 0.4
    assert sum(reply.elapsed.total_seconds() for reply in replies) < 16 * 0.4 * 4


# --- what is on the server -------------------------------------------------------------------------------------------


def test_filling_makes_distinct_rows_of_growing_youth(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow("w-1")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = anyformat_sandbox.fill(
        workflow_id, 5000, status="error", name="scan {}.tif", created_at=start, step=timedelta(minutes=1)
    )
    anyformat_sandbox.order = "oldest"
    rows = anyformat_sandbox.collections("w-1")
    assert len(set(made)) == 5000
    assert [row["id"] for row in rows] == made
    assert rows[0]["created_at"] == "2026-01-01T00:00:00Z"
    assert rows[4999]["created_at"] == rows[4999]["updated_at"] == "2026-01-04T11:19:00Z"
    assert (rows[4999]["name"], rows[4999]["status"]) == ("scan 4999.tif", "error")
    assert anyformat_sandbox.fill(workflow_id, 0) == []
    assert anyformat_sandbox.fill(workflow_id, 1, name=None) != made[:1]
    assert anyformat_sandbox.collections(workflow_id)[-1]["name"] is None


def test_a_listing_follows_every_change(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    a, b, c = anyformat_sandbox.fill(workflow_id, 3, created_at=start, step=timedelta(hours=1))
    assert ids(anyformat_sandbox, workflow_id, 1, 10) == [c, b, a]
    anyformat_sandbox.remove_collection(b)
    assert ids(anyformat_sandbox, workflow_id, 1, 10) == [c, a]
    assert anyformat_sandbox.deleted == {}
    d = anyformat_sandbox.add_collection(workflow_id)
    assert ids(anyformat_sandbox, workflow_id, 1, 2) == [d, c]
    assert ids(anyformat_sandbox, workflow_id, 2, 2) == [a]
    anyformat_sandbox.update_collection(a, created_at=datetime.now(UTC) + timedelta(days=1))
    assert ids(anyformat_sandbox, workflow_id, 1, 10) == [a, d, c]


def test_only_what_is_given_is_changed(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow()
    collection_id = anyformat_sandbox.add_collection(workflow_id, name="a.pdf")
    (before,) = anyformat_sandbox.collections(workflow_id)
    changes: list[dict[str, Any]] = [
        {"status": "in_progress"},
        {"name": None},
        {"name": "b.pdf"},
        {"updated_at": "2026-02-02T00:00:00Z"},
        {"created_at": None},
    ]
    for change in changes:
        anyformat_sandbox.update_collection(collection_id, **change)
        before.update(change)
        assert anyformat_sandbox.collections(workflow_id) == [before]
    with pytest.raises(KeyError):
        anyformat_sandbox.update_collection("none", status="error")
    with pytest.raises(KeyError):
        anyformat_sandbox.remove_collection("none")


def test_ids_are_given_once_and_workflows_are_known(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow("w-1")
    anyformat_sandbox.add_collection(workflow_id, id="c-1")
    with pytest.raises(ValueError, match="w-1"):
        anyformat_sandbox.add_workflow("w-1")
    with pytest.raises(ValueError, match="c-1"):
        anyformat_sandbox.add_collection(workflow_id, id="c-1")
    with pytest.raises(KeyError, match="w-2"):
        anyformat_sandbox.fill("w-2", 1)
    assert len(anyformat_sandbox.collections(workflow_id)) == 1


def test_rows_may_come_and_go_while_a_listing_is_read(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow()
    made = anyformat_sandbox.fill(workflow_id, 30)

    def shift(record: RequestRecord) -> None:
        assert record.status is None
        if "page=2" in record.query:
            anyformat_sandbox.remove_collection(made[0])
            anyformat_sandbox.add_collection(workflow_id, created_at=datetime.now(UTC) + timedelta(days=1))

    anyformat_sandbox.on_request.append(shift)
    first, second = ids(anyformat_sandbox, workflow_id, 1, 10), ids(anyformat_sandbox, workflow_id, 2, 10)
    assert first[0] == made[0]
    assert made[0] not in anyformat_sandbox
    # One vanished above and one appeared above: the second page is as if nothing had moved.
    assert len(set(first + second)) == 20


def test_deletes_from_many_threads_are_counted_once_each(anyformat_sandbox: Sandbox) -> None:
    anyformat_sandbox.rate_limit = None
    workflow_id = anyformat_sandbox.add_workflow()
    made = anyformat_sandbox.fill(workflow_id, 40)
    paths = [f"/v2/files/{collection_id}/" for collection_id in made] * 3
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda path: call(anyformat_sandbox, "DELETE", path).status_code, paths))
    assert (statuses.count(204), statuses.count(404)) == (40, 80)
    assert anyformat_sandbox.deleted == dict.fromkeys(made, 1)


# --- what arrived ----------------------------------------------------------------------------------------------------


def test_what_arrived_is_written_down(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow()
    body = b"x" * 5000
    call(
        anyformat_sandbox, "POST", f"/v2/workflows/{workflow_id}/run/", files={"file": body}, headers={"Cookie": "a=b"}
    )
    call(anyformat_sandbox, "GET", "/v2/files/a%2Fb/?page=1&x=%20", headers={"User-Agent": "mine/1.0"})
    post, get = anyformat_sandbox.requests
    assert (post.method, post.path, post.status) == ("POST", f"/v2/workflows/{workflow_id}/run/", 200)
    assert len(body) < post.body_length < len(body) + 1000
    assert (post.headers["cookie"], post.headers["authorization"]) == ("a=b", "Bearer af_sandbox")
    assert (get.path, get.query, get.headers["user-agent"]) == ("/v2/files/a%2Fb/", "page=1&x=%20", "mine/1.0")
    assert (get.status, get.body_length, get.fault) == (404, 0, None)
    assert abs(get.time - datetime.now(UTC).timestamp()) < 60
    assert get.time >= post.time
    assert anyformat_sandbox.requests_to("get") == [get]
    assert anyformat_sandbox.requests_to(path=r"/run/$") == [post]
    assert anyformat_sandbox.requests_to() == [post, get]
    anyformat_sandbox.clear_requests()
    assert anyformat_sandbox.requests == []


def test_a_body_of_unknown_length_is_counted_as_it_is_read(anyformat_sandbox: Sandbox) -> None:
    workflow_id = anyformat_sandbox.add_workflow()
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"/v2/workflows/{workflow_id}/run/"
    parts = [b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', b"x" * 300, b"\r\n--b--\r\n"]
    assert call(anyformat_sandbox, "POST", path, data=iter(parts), headers=form).status_code == 200
    assert [record.body_length for record in anyformat_sandbox.requests] == [sum(map(len, parts))]


def test_requests_of_one_connection_are_known_by_their_port(anyformat_sandbox: Sandbox) -> None:
    with requests.Session() as session:
        for _ in range(3):
            session.get(f"{anyformat_sandbox.url}/health/", timeout=20)
    assert len({record.client_port for record in anyformat_sandbox.requests}) == 1
    requests.get(f"{anyformat_sandbox.url}/health/", timeout=20)
    assert len({record.client_port for record in anyformat_sandbox.requests}) == 2


def test_the_log_forgets_the_oldest() -> None:
    with Sandbox(log_size=2) as sandbox:
        for page in (1, 2, 3):
            call(sandbox, "GET", f"/v2/workflows/?page={page}")
        assert [record.query for record in sandbox.requests] == ["page=2", "page=3"]


# --- from another process --------------------------------------------------------------------------------------------


def test_it_can_be_filled_and_looked_at_over_http(anyformat_sandbox: Sandbox) -> None:
    url = f"{anyformat_sandbox.url}/_sandbox"
    options = {"n": 3, "created_at": "2026-01-01T00:00:00Z", "step": 3600, "name": "n{}", "status": "error"}
    made = requests.post(f"{url}/fill", json=options, timeout=20).json()
    workflow_id = made["workflow_id"]
    rows = anyformat_sandbox.collections(workflow_id)
    assert [(row["id"], row["name"], row["status"]) for row in rows] == [
        (made["ids"][n], f"n{n}", "error") for n in (2, 1, 0)
    ]
    assert rows[0]["created_at"] == "2026-01-01T02:00:00Z"
    assert requests.post(f"{url}/fill", json={"workflow_id": workflow_id, "n": 1}, timeout=20).status_code == 200
    assert requests.post(f"{url}/fill", json={"workflow_id": "w-2", "n": 0}, timeout=20).json()["workflow_id"] == "w-2"
    assert call(anyformat_sandbox, "DELETE", f"/v2/files/{made['ids'][0]}/").status_code == 204
    assert requests.get(f"{url}/state", timeout=20).json() == {
        "workflows": [
            {"id": workflow_id, "name": "workflow", "count": 3, "statuses": {"error": 2, "processed": 1}},
            {"id": "w-2", "name": "workflow", "count": 0, "statuses": {}},
        ],
        "created": [],
        "submitted": {},
        "started": {},
        "deleted": {made["ids"][0]: 1},
        "cancelled": [],
    }


def test_faults_can_be_asked_for_over_http(anyformat_sandbox: Sandbox) -> None:
    url = f"{anyformat_sandbox.url}/_sandbox/faults"

    def status() -> int:
        return call(anyformat_sandbox, "GET", "/v2/workflows/").status_code

    wish = {"k": 2, "status": 429, "method": "GET", "headers": {"Retry-After": "7"}}
    assert requests.post(url, json=wish, timeout=20).status_code == 204
    assert call(anyformat_sandbox, "GET", "/v2/workflows/").headers["Retry-After"] == "7"
    assert [status(), status()] == [429, 200]
    assert requests.post(url, json={"fraction": 1, "kinds": [503]}, timeout=20).status_code == 204
    assert [status(), status()] == [503, 503]
    assert requests.delete(url, timeout=20).status_code == 204
    assert status() == 200
    assert requests.post(url, json={"kind": "slow", "delay": 0}, timeout=20).status_code == 204
    assert status() == 200
    assert anyformat_sandbox.requests[-1].fault == "slow"
    assert requests.post(url, json={"fraction": 1, "path": "/health"}, timeout=20).status_code == 204
    assert status() == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("faults", {"kind": "sulk"}, id="unknown kind"),
        pytest.param("faults", {"k": 0}, id="no requests"),
        pytest.param("faults", {"fraction": 2}, id="more than all"),
        pytest.param("faults", {"knid": "html"}, id="misspelt"),
        pytest.param("faults", {"delay": "soon"}, id="no number"),
        pytest.param("documents", {"name": "a.pdf", "status": "processed"}, id="no failure"),
        pytest.param("fill", {"n": -1}, id="negative"),
        pytest.param("fill", {"n": 1, "age": 3}, id="unknown field"),
    ],
)
def test_a_wish_that_is_none_is_refused(anyformat_sandbox: Sandbox, path: str, body: dict[str, Any]) -> None:
    reply = requests.post(f"{anyformat_sandbox.url}/_sandbox/{path}", json=body, timeout=20)
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["msg"]


def test_requests_can_be_read_over_http_without_their_keys(anyformat_sandbox: Sandbox) -> None:
    url = f"{anyformat_sandbox.url}/_sandbox/requests"
    call(anyformat_sandbox, "GET", "/v2/workflows/", headers={"Cookie": "secret=1"})
    for headers in ({}, {"Authorization": "Bearer af_the_real_one"}):
        requests.delete(f"{anyformat_sandbox.url}/v2/files/x/", headers=headers, timeout=20)
    reply = requests.get(url, timeout=20)
    assert "af_" not in reply.text
    assert "secret" not in reply.text
    assert [(one["method"], one["status"], one["key"]) for one in reply.json()] == [
        ("GET", 200, "valid"),
        ("DELETE", 403, "missing"),
        ("DELETE", 401, "wrong"),
    ]
    assert len(requests.get(url, params={"method": "DELETE"}, timeout=20).json()) == 2
    assert requests.delete(url, timeout=20).status_code == 204
    assert requests.get(url, timeout=20).json() == []
