"""An S3-compatible server for tests: moto's, which notes what it is asked for and refuses what it is told to."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import requests
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Request:
    """One request: ``copies`` says that a put was to copy another object, ``key`` is the object's, decoded."""

    method: str
    key: str
    query: str
    copies: bool
    conditional: bool


class S3Server:
    """
    Listens on loopback, with one empty bucket.

    :param conn_id: of the Airflow connection to it; Airflow keeps a file system for each, so no two servers share one.
    :param keep: whether what the last server held is still there.
    """

    bucket = "audit"

    def __init__(self, conn_id: str, *, keep: bool = False) -> None:
        self.conn_id = conn_id
        self.requests: list[Request] = []
        self.denies: Callable[[Request], bool] = lambda _: False
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.port}"
        if not keep:
            requests.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()
            requests.put(f"{self.url}/{self.bucket}", timeout=10).raise_for_status()
        self.requests.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on. Twice is no error."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def connection(self) -> dict[str, str]:
        """The environment variable with the Airflow connection."""
        extra = {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2, "read_timeout": 20},
        }
        conn = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(conn)}

    def path(self, key: str) -> str:
        """The URL that a user writes for a folder of the bucket."""
        return f"s3://{self.conn_id}@{self.bucket}/{key}"

    def asked(self, *methods: str) -> list[Request]:
        """What was asked for by these methods."""
        return [request for request in self.requests if request.method in methods]

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sys.settrace(None)  # in the thread of this request
        path = environ["PATH_INFO"].encode("latin-1").decode()
        if path.startswith("/moto-api/"):
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        request = Request(
            environ["REQUEST_METHOD"],
            path.removeprefix(f"/{self.bucket}").lstrip("/"),
            environ.get("QUERY_STRING", ""),
            "HTTP_X_AMZ_COPY_SOURCE" in environ,
            environ.get("HTTP_IF_NONE_MATCH") == "*",
        )
        self.requests.append(request)
        if self.denies(request):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(
                "403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(_DENIED)))]
            )
            return [_DENIED if request.method != "HEAD" else b""]
        return self._moto(environ, start_response)  # type: ignore[no-any-return]
