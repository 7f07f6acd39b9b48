"""Which requests of the sandbox go wrong, and by which turns."""

from __future__ import annotations

import http.client
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyformat.sandbox.server import KINDS, TRANSIENT

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox import Sandbox

UNKNOWN = "/v2/files/b2c3d4e5-f6a7-8901-bcde-f12345678901/"


def ask(sandbox: Sandbox, method: str = "DELETE", path: str = UNKNOWN) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {sandbox.key}"})
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


def test_faults_come_in_the_order_they_were_asked_for_and_only_where_they_match(anyformat_sandbox: Sandbox) -> None:
    sandbox = anyformat_sandbox
    sandbox.fail_rate(1, [418], method="DELETE")
    sandbox.fail_next(2, 503, method="DELETE")
    sandbox.fail_next(1, 500, path=r"/results/$")
    sandbox.fail_next(1, 504)
    assert [ask(sandbox) for _ in range(2)] == [503, 503]
    assert ask(sandbox, "GET", "/v2/workflows/none/files/x/results/") == 500
    assert ask(sandbox, "GET", "/health/") == 504
    assert [ask(sandbox) for _ in range(3)] == [418] * 3
    assert ask(sandbox, "GET", "/health/") == 200
    sandbox.clear_faults()
    assert ask(sandbox) == 404


def test_a_share_of_the_deletes_goes_wrong_in_every_way_by_turns(anyformat_sandbox: Sandbox) -> None:
    sandbox, kinds = anyformat_sandbox, (500, 502, 503, 504)
    sandbox.fail_rate(0.2, kinds, method="DELETE", seed=7)
    seen = Counter(ask(sandbox) for _ in range(300))
    wrong = [seen[kind] for kind in kinds]
    assert seen.total() == 300
    assert 30 <= sum(wrong) <= 90
    assert max(wrong) - min(wrong) <= 1
    assert ask(sandbox, "GET", "/health/") == 200


def test_every_kind_is_known_and_what_passes_is_all_but_the_final_ones(anyformat_sandbox: Sandbox) -> None:
    assert set(KINDS) - set(TRANSIENT) == {"status", "redirect"}
    assert {kind for kind in TRANSIENT if isinstance(kind, int)} == {408, 425, 429, 500, 502, 503, 504}
    sandbox = anyformat_sandbox
    sandbox.fail_rate(1, size=10, delay=0)
    for _ in TRANSIENT:
        try:
            ask(sandbox)
        except (OSError, http.client.HTTPException):
            continue
    played = Counter(record.fault for record in sandbox.requests)
    assert set(played) == (set(KINDS) | {"status"}) - {"redirect"}
    assert all(count == 1 for kind, count in played.items() if kind != "status")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param({"k": 0}, "k must be at least 1, not 0", id="no requests"),
        pytest.param({"kind": "sulk"}, "kind: 'sulk'", id="unknown kind"),
        pytest.param({"headrs": {}}, "headrs: a fault has no such field", id="unknown field"),
        pytest.param({"manner": "close"}, "manner: a fault has no such field", id="a field that goes with the kind"),
        pytest.param({"fraction": 0}, "fraction must be above 0", id="no share"),
        pytest.param({"fraction": 1.1}, "at most 1, not 1.1", id="more than all"),
        pytest.param({"fraction": 0.5, "kinds": []}, "kinds is empty", id="no kinds"),
        pytest.param({"fraction": 0.5, "kinds": ["sulk"]}, "kind: 'sulk'", id="unknown kind among them"),
    ],
)
def test_a_fault_that_is_none_is_refused(anyformat_sandbox: Sandbox, options: dict[str, Any], named: str) -> None:
    ask = anyformat_sandbox.fail_rate if "fraction" in options else anyformat_sandbox.fail_next
    with pytest.raises(ValueError, match=named):
        ask(**options)
