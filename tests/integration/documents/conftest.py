"""A sandbox that takes documents, by both versions of the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.sandboxes import connected_sandbox, versions_asked


@pytest.fixture(params=["v2", "v3"])
def version(request: pytest.FixtureRequest) -> str:
    """Return the version of the API that the connection names."""
    return str(request.param)


@pytest.fixture
def server(version: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Yield a sandbox whose runs take 0.2 s, to which the default connection leads; v3 never asks v2."""
    with connected_sandbox(monkeypatch, {"api_version": version}, processing_seconds=0.2) as running:
        yield running
        assert versions_asked(running) <= {version}


@pytest.fixture
def workflow(server: Sandbox) -> str:
    """Return the id of an empty workflow."""
    return server.add_workflow()
