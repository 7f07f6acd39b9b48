"""Every message that the README's table quotes is what a task really says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.operators.files import DeleteFileCollectionOperator

README = (Path(__file__).parents[2] / "README.md").read_text()
TABLE = README[README.index("| the task says |") :].partition("\n\n")[0].splitlines()[2:]
QUOTED = [quote for row in TABLE for quote in re.findall(r"`([^`]+)`", row.split("|")[1])]
AN_ID = "0b4176be-f0f3-410a-a3bb-09bf295c0c00"
# A quote, what happens to the server first, the id to delete, and the host of the connection if it is not the sandbox.
CASES: dict[str, tuple[Any, ...]] = {
    "collection_id: None was given": (None, None),
    "HTTP 422": (None, "not-a-uuid"),
    "path.collection_id: Input should be a valid UUID": (None, "not-a-uuid"),
    "HTTP 404": (None, AN_ID),
    "HTTP 401": (lambda sandbox: sandbox.revoke_key(), AN_ID),
    "HTTP 403": (lambda sandbox: sandbox.deny_scope(), AN_ID),
    "HTTP 429": (lambda sandbox: sandbox.fail_next(2, "status", status=429), AN_ID),
    "HTTP 503": (lambda sandbox: sandbox.fail_next(2, "status", status=503), AN_ID),
    "no answer": (None, AN_ID, "http://127.0.0.1:1"),
    "no readable answer": (lambda sandbox: sandbox.fail_next(2, "reset_before"), AN_ID),
    "HTTP 301": (lambda sandbox: sandbox.fail_next(1, "status", status=301), AN_ID),
    "would send the API key in clear": (None, AN_ID, "http://anyformat.example"),
}


def test_every_quote_has_a_case() -> None:
    assert list(CASES) == QUOTED


@pytest.mark.parametrize("quote", QUOTED)
def test_the_task_says_so(quote: str, anyformat_sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, collection_id, *host = CASES[quote]
    connection = json.loads(anyformat_sandbox.conn_json()) | {"extra": {"max_attempts": 2, "backoff": 0.001}}
    if host:
        connection["host"] = host[0]
    monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", json.dumps(connection))
    if prepare:
        prepare(anyformat_sandbox)

    with pytest.raises(Exception, match=re.escape(quote)):
        DeleteFileCollectionOperator(task_id="delete", collection_id=collection_id).execute({})
