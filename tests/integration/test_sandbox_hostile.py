"""Bad clients: whatever is sent to a route of the sandbox, the answer is a refusal in JSON, never a 500."""

from __future__ import annotations

import http.client
import itertools
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox import Sandbox

B = "multipart/form-data; boundary=b"


def part(name: str, content: bytes = b"x", filename: bytes | None = b"a.pdf", more: bytes = b"") -> bytes:
    shown = b"" if filename is None else b'; filename="' + filename + b'"'
    return (
        b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + shown + more + b"\r\n\r\n" + content
    )


def form(*parts: bytes) -> bytes:
    return b"\r\n".join([*parts, b"--b--\r\n"])


BODIES: dict[str, tuple[str | None, bytes]] = {
    "nothing": (None, b""),
    "no boundary": ("multipart/form-data", b"--b\r\n"),
    "cut off": (B, part("files")[:30]),
    "without its end": (B, part("files")),
    "not multipart": (B, b"\x00\xff" * 40),
    "a text where a file is meant": (B, form(part("files", filename=None), part("file", filename=None))),
    "an empty name": (B, form(part("files", filename=b""), part("file", filename=b""))),
    "a name that is not UTF-8": (B, form(part("files", filename=b"\xff\xfe.pdf"), part("file", filename=b"\xff.pdf"))),
    "a path as name": (B, form(part("files", filename=b"../../etc/passwd"), part("file", filename=b"a/b\x00.pdf"))),
    "a type": (B, form(part("files", more=b"\r\nContent-Type: \xff"), part("file", more=b"\r\nContent-Type: x"))),
    "101 files": (B, form(*[part("files", filename=b"%d.pdf" % n) for n in range(101)])),
    "2000 fields": (B, form(*[part("on_conflict", filename=None)] * 2000)),
    "no JSON": ("application/json", b"{"),
    "a list": ("application/json", b"[1]"),
    "deep JSON": ("application/json", b'{"nodes":' + b"[" * 100_000),
    "nested JSON": ("application/json", b'{"name":' + b"[" * 400 + b"]" * 400 + b"}"),
    "not a number": ("application/json", b'{"name": NaN, "nodes": [NaN]}'),
    "half a character": (
        "application/json",
        b'{"name": "\\ud800", "nodes": [{"extraction_schema": {"fields": [{"name": "\\ud800"}]}}]}',
    ),
    "odd nodes": (
        "application/json",
        b'{"name": "n", "nodes": [{"extraction_schema": 1}, {"extraction_schema": {"fields": [1, {"name": 2}]}}]}',
    ),
    "not UTF-8": ("application/json", b'{"name": "\xff"}'),
}
POSTS = (
    "/v2/workflows/",
    *(f"/v2/workflows/{{w}}/{route}/" for route in ("run", "upload", "files", "files/{c}/run", "files/%00/run")),
    "/v3/workflows/",
    *(f"/v3/workflows/{{w}}/{route}/" for route in ("upload", "upload/run")),
    "/v3/document-packets/{c}/run/",
)
IDS = (
    "%00",
    "%ff",
    "a%2Fb",
    "..%2f..",
    "%F0%9F%98%80",
    "{{}}",
    "urn:uuid:{c}",
    "{c}%0A",
    "a" * 5000,
    "%C0%80",
    "'",
    "-1",
)
GETS = (
    *(f"/v2/workflows/{odd}/files/" for odd in IDS),
    *(f"/v2/workflows/{{w}}/files/{odd}/results/" for odd in IDS),
    *(f"/v3/workflows/{odd}/document-packets/" for odd in IDS),
    *(f"/v3/document-packets/{odd}/" for odd in IDS),
    *(f"/v3/runs/{odd}/" for odd in IDS),
    *(f"/presigned/{odd}/?signature={odd}" for odd in IDS),
    *(
        f"/v3/{listing}/?{query}"
        for listing in ("workflows", "workflows/{w}/document-packets")
        for query in (
            *(f"cursor={cursor}" for cursor in ("", "x", "%ff", "MS4=", "LTEuMQ==", "OTk5OS45" * 500, "4pmlLjE=")),
            *("limit=0", "limit=x", "limit=" + "9" * 40, "limit=1e3", "limit=" + "9" * 5000, "cursor=MS4x&cursor=x"),
        )
    ),
    *(f"/v3/runs/{{c}}/?{query}" for query in ("delivery=x", "parse_format=%00", "delivery=url&delivery=inline")),
    *(f"/v2/workflows/{{w}}/files/?{query}" for query in ("page=" + "9" * 40, "page_size=" + "9" * 40)),
)


def asked(sandbox: Sandbox, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Authorization": f"Bearer {sandbox.key}", **named})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.fixture
def known(anyformat_sandbox: Sandbox) -> dict[str, str]:
    anyformat_sandbox.rate_limit = anyformat_sandbox.submission_limit = None
    anyformat_sandbox.processing_seconds = 0
    workflow_id = anyformat_sandbox.add_workflow()
    return {"w": workflow_id, "c": anyformat_sandbox.add_collection(workflow_id)}


def test_a_bad_body_is_refused(anyformat_sandbox: Sandbox, known: dict[str, str]) -> None:
    for route, (name, (content_type, body)) in itertools.product(POSTS, BODIES.items()):
        headers = {} if content_type is None else {"Content_Type": content_type}
        path = route.format(**known)
        status, said = asked(anyformat_sandbox, "POST", path, body, Idempotency_Key="\xff" * 300, **headers)
        assert status < 500, (path, name, said)
        json.loads(said.decode("utf-8", "surrogatepass"))
    assert asked(anyformat_sandbox, "GET", "/_sandbox/state")[0] == 200
    for listing in ("/v2/workflows/", "/v3/workflows/?limit=100", f"/v3/workflows/{known['w']}/document-packets/"):
        assert asked(anyformat_sandbox, "GET", listing)[0] == 200


def test_a_bad_path_or_query_is_refused(anyformat_sandbox: Sandbox, known: dict[str, str]) -> None:
    for path, method in itertools.product(GETS, ("GET", "DELETE", "PUT", "POST")):
        status, said = asked(anyformat_sandbox, method, path.format(**known))
        assert status < 500, (method, path, said)


def test_a_bad_wish_is_refused(anyformat_sandbox: Sandbox) -> None:
    for route, (_, (_, body)) in itertools.product(("fill", "faults", "documents"), BODIES.items()):
        assert asked(anyformat_sandbox, "POST", f"/_sandbox/{route}", body, Content_Type="application/json")[0] < 500
