"""The sandbox's rate limits, asked over a real socket, in each reading."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox import Sandbox

NAMES = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


def ask(sandbox: Sandbox, path: str = "/v2/workflows/", method: str = "GET", **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {options.pop('key', sandbox.key)}"}
    return requests.request(method, sandbox.url + path, headers=headers, allow_redirects=False, timeout=10, **options)


def statuses(sandbox: Sandbox, n: int, **options: Any) -> list[int]:
    return [ask(sandbox, **options).status_code for _ in range(n)]


@pytest.fixture
def narrow(anyformat_sandbox: Sandbox) -> Sandbox:
    """Three requests in a window that no test outlives."""
    anyformat_sandbox.rate_limit = 3
    anyformat_sandbox.window = 3600
    return anyformat_sandbox


def test_the_published_limits_are_the_defaults(anyformat_sandbox: Sandbox) -> None:
    general = ask(anyformat_sandbox).headers
    path = f"/v2/workflows/{anyformat_sandbox.add_workflow()}/run/"
    submission = ask(anyformat_sandbox, path, "POST", files={"file": b"x"}).headers
    assert [general[name] for name in NAMES] == ["600", "599", "60"]
    assert [submission[name] for name in NAMES] == ["60", "59", "60"]


def test_remaining_counts_down_and_then_comes_a_429(narrow: Sandbox) -> None:
    replies = [ask(narrow) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
    assert [reply.headers.get("x-ratelimit-remaining") for reply in replies] == ["2", "1", "0", None, None]
    assert replies[0].headers["x-ratelimit-reset"] == "3600"
    refused = replies[3]
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert (refused.json()["error_code"], refused.json()["retryable"]) == ("RATE_LIMITED", True)


def test_only_success_carries_the_headers_and_refused_deletes_do_nothing(narrow: Sandbox) -> None:
    workflow_id = narrow.add_workflow()
    collection_id = narrow.add_collection(workflow_id)
    missing = ask(narrow, "/v2/files/b2c3d4e5-f6a7-8901-bcde-f12345678901/", "DELETE")
    assert missing.status_code == 404
    assert not {name.lower() for name in missing.headers} & set(NAMES)
    assert ask(narrow).headers["x-ratelimit-remaining"] == "1"
    assert statuses(narrow, 1) == [200]
    assert ask(narrow, f"/v2/files/{collection_id}/", "DELETE").status_code == 429
    assert collection_id in narrow


def test_what_is_refused_or_redirected_before_costs_nothing(narrow: Sandbox) -> None:
    assert statuses(narrow, 5, key="af_wrong_key") == [401] * 5
    assert statuses(narrow, 5, path="/v2/workflows") == [301] * 5
    assert [requests.get(f"{narrow.url}/health/", timeout=10).status_code for _ in range(5)] == [200] * 5
    assert statuses(narrow, 4) == [200, 200, 200, 429]


def test_submissions_are_counted_apart(narrow: Sandbox) -> None:
    narrow.submission_limit = 2
    path = f"/v2/workflows/{narrow.add_workflow()}"
    sent = [("run", "file"), ("files", "files"), ("run", "file"), ("upload", "file"), ("files/x/run", "file")]
    replies = [ask(narrow, f"{path}/{route}/", "POST", files={part: b"x"}) for route, part in sent]
    assert [reply.status_code for reply in replies] == [200, 200, 429, 429, 429]
    assert replies[0].headers["x-ratelimit-limit"] == "2"
    assert statuses(narrow, 4, path=f"{path}/files/") == [200, 200, 200, 429]


@pytest.mark.parametrize(("limit_per", "other"), [("key", [200]), ("organisation", [429])])
def test_another_key_of_the_organisation(narrow: Sandbox, limit_per: Any, other: list[int]) -> None:
    narrow.limit_per = limit_per
    narrow.add_key("af_a_colleagues")
    assert statuses(narrow, 4) == [200, 200, 200, 429]
    assert statuses(narrow, 1, key="af_a_colleagues") == other


def test_no_limit_and_no_headers(narrow: Sandbox) -> None:
    narrow.omit_rate_headers = True
    replies = [ask(narrow) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert not {name.lower() for reply in replies for name in reply.headers} & set(NAMES)
    narrow.omit_rate_headers = False
    narrow.rate_limit = None
    free = ask(narrow)
    assert free.status_code == 200
    assert not {name.lower() for name in free.headers} & set(NAMES)


def test_a_reset_is_never_longer_than_the_window(anyformat_sandbox: Sandbox) -> None:
    resets = []
    for length in range(61, 121):
        anyformat_sandbox.window = length
        anyformat_sandbox.replace_key()
        resets.append(int(ask(anyformat_sandbox).headers["x-ratelimit-reset"]) - length)
    assert set(resets) == {0}


def test_a_window_ends_when_its_header_said(anyformat_sandbox: Sandbox) -> None:
    anyformat_sandbox.rate_limit = 1
    anyformat_sandbox.window = 1.5
    assert ask(anyformat_sandbox).headers["x-ratelimit-reset"] == "2"
    refused = ask(anyformat_sandbox)
    assert refused.status_code == 429
    time.sleep(int(refused.headers["Retry-After"]))
    assert ask(anyformat_sandbox).status_code == 200


def test_by_the_clock_a_window_has_begun_before_its_first_request(anyformat_sandbox: Sandbox) -> None:
    # At a multiple of an hour by the monotonic clock nearly the whole of it would be left: stay clear of that.
    left = 3600 - time.monotonic() % 3600
    anyformat_sandbox.window = 3600 if 30 < left < 3570 else 7777
    anyformat_sandbox.window_anchor = "clock"
    expected = anyformat_sandbox.window - time.monotonic() % anyformat_sandbox.window
    assert abs(int(ask(anyformat_sandbox).headers["x-ratelimit-reset"]) - expected) < 20


def test_refusals_may_extend_the_window(anyformat_sandbox: Sandbox) -> None:
    anyformat_sandbox.rate_limit = 1
    anyformat_sandbox.window = 1
    anyformat_sandbox.refusals_extend = True
    assert statuses(anyformat_sandbox, 1) == [200]
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        assert statuses(anyformat_sandbox, 1) == [429]
        time.sleep(0.1)
    time.sleep(1.1)
    assert statuses(anyformat_sandbox, 1) == [200]
