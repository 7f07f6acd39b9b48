"""What Airflow reads about the provider: through the installed entry point, by Airflow's own schemas and managers."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from importlib.resources import files

import airflow
import jsonschema
import pytest

from airflow_provider_anyformat.get_provider_info import get_provider_info
from airflow_provider_anyformat.hooks.anyformat import AnyformatHook

LINE = tuple(int(part) for part in airflow.__version__.split(".")[:2])

FIELDS = {
    # name: (kind of JSON value, default)
    "timeout": ("number", 30),
    "max_attempts": ("integer", 5),
    "backoff": ("number", 1.0),
    "max_backoff": ("number", 120),
    "min_retention": ("number", 1),
    "api_version": ("string", "v2"),
}
HIDDEN = ["login", "extra"]
LABELS = {"password": "API key", "host": "Host or base URL", "schema": "Scheme"}


def float_or_text(value):
    try:
        return float(value)
    except ValueError:
        return value


@pytest.fixture(scope="module")
def info():
    """Give the provider's description as Airflow finds it."""
    found = [point for point in entry_points(group="apache_airflow_provider") if "anyformat" in point.value]
    assert [point.name for point in found] == ["provider_info"]
    assert found[0].dist is not None
    assert found[0].dist.name == "airflow-provider-anyformat"
    return found[0].load()()


def schema(name):
    return json.loads(files("airflow").joinpath(name).read_text())


class TestDescription:
    def test_the_package_name_is_the_distribution(self, info):
        # With any other name Airflow's discovery raises.
        assert info["package-name"] == distribution("airflow-provider-anyformat").name == "airflow-provider-anyformat"

    def test_valid_by_the_schema_of_the_running_airflow(self, info):
        jsonschema.validate(info, schema("provider_info.schema.json"))

    @pytest.mark.skipif(LINE < (3, 2), reason="the form is data from 3.2 on")
    def test_the_connection_type_is_valid_by_the_schema_that_describes_its_form(self, info):
        described = schema("provider.yaml.schema.json")["properties"]["connection-types"]
        assert "conn-fields" in described["items"]["properties"]
        jsonschema.validate(info["connection-types"], described)

    def test_it_is_plain_data(self, info):
        assert json.loads(json.dumps(info)) == info

    def test_each_call_gives_the_same(self):
        assert get_provider_info() == get_provider_info()

    def test_every_module_and_class_it_names_is_there(self, info):
        for kind in ("operators", "sensors", "triggers", "hooks"):
            for entry in info[kind]:
                assert entry["integration-name"] in {one["integration-name"] for one in info["integrations"]}
                for module in entry["python-modules"]:
                    importlib.import_module(module)
        for link in info["extra-links"]:
            module, _, name = link.rpartition(".")
            assert getattr(importlib.import_module(module), name).name == "anyformat"
        (connection_type,) = info["connection-types"]
        module, _, name = connection_type["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert hook is AnyformatHook
        assert module in info["hooks"][0]["python-modules"]
        assert connection_type["connection-type"] == hook.conn_type == "anyformat"
        assert connection_type["hook-name"] == hook.hook_name

    def test_each_extra_is_a_field_with_label_description_type_and_default(self, info):
        fields = info["connection-types"][0]["conn-fields"]
        assert list(fields) == list(FIELDS)
        for name, (kind, default) in FIELDS.items():
            assert set(fields[name]) == {"label", "description", "schema"}
            assert fields[name]["schema"] == {"type": [kind, "null"], "default": default}
            assert fields[name]["label"]
            assert fields[name]["description"].endswith(".")
        assert len({field["label"] for field in fields.values()}) == len(FIELDS)

    def test_labels_hidden_fields_and_placeholders(self, info):
        behaviour = info["connection-types"][0]["ui-field-behaviour"]
        assert behaviour["hidden-fields"] == HIDDEN
        assert behaviour["relabeling"] == LABELS
        placeholders = behaviour["placeholders"]
        assert set(placeholders) == {"password", "host", "schema", "port", *FIELDS}
        for name, (_, default) in FIELDS.items():
            assert float_or_text(placeholders[name]) == default

    def test_the_defaults_of_the_form_are_those_of_the_hook(self, info, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_ANYFORMAT_DEFAULT", '{"conn_type": "anyformat", "password": "af_12345"}')
        settings = AnyformatHook().settings
        for name, field in info["connection-types"][0]["conn-fields"].items():
            value = getattr(settings, name)
            assert (value.days if name == "min_retention" else value) == field["schema"]["default"]


# Airflow asks for the form in a process of its own kind: it puts stand-ins into sys.modules while it does.
ASK = """
import json, logging, sys, warnings

class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

said = []
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    import airflow.providers_manager as module
    module.log = logging.getLogger("asked")
    module.log.addHandler(Keep(logging.WARNING))
    answer = {}
    if sys.argv[1] == "service":  # first of all, as it puts stand-ins in the place of wtforms
        from airflow.api_fastapi.core_api.services.ui import connections
        connections.log = module.log
        metas = connections.HookMetaService.hook_meta_data()
        (meta,) = [meta for meta in metas if meta.connection_type == "anyformat"]
        answer["meta"] = json.loads(meta.model_dump_json())
    manager = module.ProvidersManager()
    answer["hook"] = manager.hooks["anyformat"]._asdict()
    answer["version"] = manager.providers["airflow-provider-anyformat"].version
    answer["behaviour"] = manager.field_behaviours["anyformat"]
    answer["fields"] = {}
    for name, widget in manager.connection_form_widgets.items():
        if name.startswith("extra__anyformat__") and sys.argv[1] == "manager":
            assert name == "extra__anyformat__" + widget.field_name, name
            assert widget.package_name == "airflow-provider-anyformat", widget
            field = widget.field
            if not isinstance(field, dict):
                kinds = {"IntegerField": "integer", "StringField": "string"}
                field = {
                    "kind": kinds[field.field_class.__name__],
                    "label": str(field.args[0]),
                    "description": str(field.kwargs["description"]),
                    "value": field.kwargs["default"],
                }
            answer["fields"][widget.field_name] = [widget.is_sensitive, field]
answer["warnings"] = [str(w.message) for w in caught if "anyformat" in f"{w.message} {w.filename}".lower()]
answer["log"] = [text for text in said if "anyformat" in text.lower()]
print("ANSWER" + json.dumps(answer))
"""


def ask(way):
    done = subprocess.run(
        [sys.executable, "-c", ASK, way], capture_output=True, text=True, check=False, timeout=100, env=dict(os.environ)
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, done.stdout + done.stderr
    answer = json.loads(lines[0].removeprefix("ANSWER"))
    assert answer["warnings"] == []
    assert answer["log"] == []
    assert answer["version"] == distribution("airflow-provider-anyformat").version
    assert answer["hook"]["hook_class_name"] == "airflow_provider_anyformat.hooks.anyformat.AnyformatHook"
    assert answer["hook"]["connection_id_attribute_name"] == "anyformat_conn_id"
    assert answer["hook"]["package_name"] == "airflow-provider-anyformat"
    assert answer["hook"]["hook_name"] == "anyformat"
    assert answer["hook"]["connection_type"] == "anyformat"
    assert answer["hook"]["connection_testable"] is True
    return answer


def form_from_info(info):
    return info["connection-types"][0]["conn-fields"]


@pytest.mark.skipif((3, 0) <= LINE < (3, 2), reason="3.0 and 3.1 ask through their user interface's service alone")
def test_the_form_that_the_providers_manager_yields(info):
    answer = ask("manager")
    assert list(answer["fields"]) == list(FIELDS)
    for name, (sensitive, field) in answer["fields"].items():
        declared = form_from_info(info)[name]
        kind, default = FIELDS[name]
        assert sensitive is False
        assert field["description"] == declared["description"]
        if LINE >= (3, 2):
            assert field["value"] == default
            assert field["schema"] == {"type": [kind, "null"], "default": default, "title": declared["label"]}
        else:
            assert field["label"] == declared["label"]
            assert field["kind"] == ("integer" if kind == "integer" else "string")
            assert float_or_text(field["value"]) == default
    behaviour = answer["behaviour"]
    assert behaviour["hidden_fields"] == HIDDEN
    assert behaviour["relabeling"] == LABELS
    expected = info["connection-types"][0]["ui-field-behaviour"]["placeholders"]
    assert {
        name.removeprefix("extra__anyformat__"): text for name, text in behaviour["placeholders"].items()
    } == expected


@pytest.mark.skipif(LINE < (3, 0), reason="2.11 builds its form with wtforms itself")
def test_the_form_that_the_user_interface_gets(info):
    meta = ask("service")["meta"]
    assert list(meta["extra_fields"]) == list(FIELDS)
    for name, field in meta["extra_fields"].items():
        declared = form_from_info(info)[name]
        kind, default = FIELDS[name]
        assert float_or_text(field["value"]) == default
        assert field["description"] == declared["description"]
        assert field["schema"]["title"] == declared["label"]
        if LINE < (3, 2):  # there are no numbers with a fraction among its stand-ins
            kind = "integer" if kind == "integer" else "string"
        assert field["schema"]["type"] == [kind, "null"]
    standard = {name: field for name, field in meta["standard_fields"].items() if field is not None}
    placeholders = info["connection-types"][0]["ui-field-behaviour"]["placeholders"]
    assert standard == {
        "login": {"hidden": True, "title": None, "placeholder": None},
        "password": {"hidden": False, "title": "API key", "placeholder": placeholders["password"]},
        "host": {"hidden": False, "title": "Host or base URL", "placeholder": placeholders["host"]},
        "port": {"hidden": False, "title": None, "placeholder": placeholders["port"]},
        "url_schema": {"hidden": False, "title": "Scheme", "placeholder": placeholders["schema"]},
    }


def test_the_hook_s_method_and_the_data_agree(info):
    data = info["connection-types"][0]["ui-field-behaviour"]
    assert AnyformatHook.get_ui_field_behaviour() == {
        "hidden_fields": data["hidden-fields"],
        "relabeling": data["relabeling"],
        "placeholders": data["placeholders"],
    }
