"""
The page's files, served without a login, because Airflow does not protect a plugin's own routes.

So they hold no data. The page asks Airflow's REST API for that, with the viewer's session.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles


def make_app() -> FastAPI:
    """Make the app that Airflow mounts under the plugin's prefix."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    return app
