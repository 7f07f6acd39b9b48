"""The page "Retention" in Airflow's navigation, from Airflow 3.1 on; loaded by the entry point ``airflow.plugins``."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_anyformat._airflow import AIRFLOW_V_3_1_PLUS, AirflowPlugin, conf

URL_PREFIX = "/anyformat"
# Where the page stands among Airflow's own.
URL_ROUTE = "anyformat-retention"


def airflow_path() -> str:
    """Return the path that Airflow's web interface is served under, without a slash at the end: mostly empty."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def page_address() -> str:
    """Return the path of the page's file."""
    return f"{airflow_path()}{URL_PREFIX}/static/retention.html"


class AnyformatPlugin(AirflowPlugin):
    """Serve the page's files, which hold no data, and show it under Browse."""

    name = "anyformat"

    if AIRFLOW_V_3_1_PLUS:
        external_views = [
            {
                "name": "Retention",
                "href": page_address(),
                "destination": "nav",
                "category": "browse",
                "url_route": URL_ROUTE,
            }
        ]

        @cached_property
        def fastapi_apps(self) -> list[dict[str, Any]]:
            """Only the API server asks for it; FastAPI would cost every worker and every parse 0.7 seconds."""
            from airflow_provider_anyformat.plugin.web import make_app

            return [{"name": "anyformat", "app": make_app(), "url_prefix": URL_PREFIX}]
