"""
A local anyformat server for demos and for tests of DAGs: it listens on loopback only and keeps nothing on disk.

``python -m airflow_provider_anyformat.sandbox`` starts it from a shell, the pytest fixture ``anyformat_sandbox`` hands
a :class:`~airflow_provider_anyformat.sandbox.server.Sandbox` to a test, and ``with Sandbox() as sandbox:`` runs it
anywhere.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.server import Sandbox

__all__ = ["Sandbox"]

# python-multipart was importable as "multipart" only before its release 0.0.13.
_NEEDED = (("fastapi",), ("uvicorn",), ("python_multipart", "multipart"))


def __getattr__(name: str) -> Any:
    """Import the server when it is asked for: the plugin of pytest must not load FastAPI into every test run."""
    if name != "Sandbox":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for alternatives in _NEEDED:
        if not any(find_spec(module) for module in alternatives):
            raise ModuleNotFoundError(
                f"the sandbox needs {alternatives[0]}, which is not installed:"
                " pip install 'airflow-provider-anyformat[sandbox]'",
                name=alternatives[0],
            )
    from airflow_provider_anyformat.sandbox.server import Sandbox

    return Sandbox
