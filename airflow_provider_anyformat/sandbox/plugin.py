"""
The pytest plugin: the fixture ``anyformat_sandbox``.

It is loaded into every test run of an environment that has this package, and so imports nothing but pytest until the
fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat.sandbox.server import Sandbox


@pytest.fixture
def anyformat_sandbox() -> Iterator[Sandbox]:
    """Give a running, empty anyformat server on loopback, a new one for each test."""
    from airflow_provider_anyformat.sandbox import Sandbox

    with Sandbox() as sandbox:
        yield sandbox
