"""The plugin: what it costs, what it tells Airflow, and that the page's files keep to themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_anyformat.plugin
from airflow_provider_anyformat._airflow import AIRFLOW_V_3_1_PLUS
from airflow_provider_anyformat.plugin import AnyformatPlugin
from airflow_provider_anyformat.retention.reasons import ANOMALIES

STATIC = Path(airflow_provider_anyformat.plugin.__file__).with_name("static")
FILES = sorted(STATIC.iterdir())
needs_page = pytest.mark.skipif(not AIRFLOW_V_3_1_PLUS, reason="the page came with Airflow 3.1")

LOAD = """
import json, sys
import airflow.plugins_manager
before = set(sys.modules)
from airflow_provider_anyformat.plugin import AnyformatPlugin
brought = {name.partition(".")[0] for name in set(sys.modules) - before}
plugin = AnyformatPlugin()
apps = []
if "ask" in sys.argv:
    apps = [[app["name"], app["url_prefix"], type(app["app"]).__name__] for app in plugin.fastapi_apps]
print("ANSWER" + json.dumps([sorted(brought), getattr(plugin, "external_views", None), apps]))
"""


def load(*arguments, **settings):
    command = [sys.executable, "-c", LOAD, *arguments]
    environment = {"PATH": "", "HOME": "", "AIRFLOW_HOME": "/nonexistent/airflow", **settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "ANSWER" in done.stdout, done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])


@needs_page
def test_what_airflow_is_told(tmp_path):
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__API__BASE_URL": "https://example.org/tools/airflow/"}
    _, (view,), apps = load("ask", **home)
    assert view["href"] == "/tools/airflow/anyformat/static/retention.html"
    assert {key: view[key] for key in ("name", "destination", "category", "url_route")} == {
        "name": "Retention",
        "destination": "nav",
        "category": "browse",
        "url_route": "anyformat-retention",
    }
    assert apps == [["anyformat", "/anyformat", "FastAPI"]]
    assert (STATIC / view["href"].rpartition("/")[2]).is_file()


def test_loading_it_brings_no_web_framework(tmp_path):
    loaded, views, _ = load(AIRFLOW_HOME=str(tmp_path))
    assert loaded == ["airflow_provider_anyformat"]
    assert (views is not None) == AIRFLOW_V_3_1_PLUS
    assert "fastapi_apps" not in vars(AnyformatPlugin())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_page_is_plain_and_asks_nobody_else(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert max(map(len, text.splitlines())) <= 200
    # Links lead elsewhere on a click; the namespace of SVG is a name.
    elsewhere = set(re.findall(r"\w+://[^\s\"'`]+", text))
    assert elsewhere <= {"https://app.anyformat.ai/workflows/", "http://www.w3.org/2000/svg"}
    for written in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "POST", "@import"):
        assert written not in text
    assert not re.search(r"<script(?! src=\"[a-z]+\.js\" defer>)|\son\w+=\"", text)


def test_the_page_names_the_same_anomalies_as_the_policy():
    listed = re.search(r"const ANOMALIES = (\[.*?\]);", (STATIC / "words.js").read_text(), re.DOTALL)
    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) >= ANOMALIES
