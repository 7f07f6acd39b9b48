"""What Airflow reads about this provider through the entry point ``apache_airflow_provider``."""

from __future__ import annotations

from typing import Any

HIDDEN_FIELDS = ["login", "extra"]
RELABELING = {"password": "API key", "host": "Host or base URL", "schema": "Scheme"}
PLACEHOLDERS = {
    "password": "your organisation's key, af_…",
    "host": "empty for https://api.anyformat.ai",
    "schema": "empty for https; http only to this machine",
    "port": "empty for 443, or 80 with http",
    "timeout": "30",
    "max_attempts": "5",
    "backoff": "1.0",
    "max_backoff": "120",
    "min_retention": "1",
    "api_version": "v2",
}


def _number(label: str, description: str, default: float, kind: str = "number") -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], "default": default}}


# One entry for each key of the connection's extra; the hook builds the form for Airflow before 3.2 from it.
CONN_FIELDS = {
    "timeout": _number(
        "Time-out (seconds)",
        "For connecting and for each wait on the answer; a whole answer may take four times that.",
        30,
    ),
    "max_attempts": _number("Attempts", "Tries of one request, the first included.", 5, "integer"),
    "backoff": _number(
        "Backoff (seconds)",
        "The wait before the second try; it doubles from try to try, with full jitter.",
        1.0,
    ),
    "max_backoff": _number(
        "Longest wait (seconds)",
        "The longest wait after an error; asked to wait longer, the call ends with an error that may be retried.",
        120,
    ),
    "min_retention": _number(
        "Minimum retention (days)",
        "No purge or list for deletion may ask for a shorter age, whatever its DAG says.",
        1,
    ),
    "api_version": {
        "label": "API version",
        "description": "v2 or v3, the version of the API to speak; ids are the same in both.",
        "schema": {"type": ["string", "null"], "default": "v2"},
    },
}


# What an administrator may require of every task; by default nothing.
CONFIG = {
    "ledger_path": {
        "description": "Folder in which purges, applied plans and bulk deletes are recorded that name no ledger_path.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://audit/anyformat",
        "default": None,
    },
    "min_retention_days": {
        "description": (
            "No purge, plan or list for deletion may ask for a shorter age, in days, whatever its DAG and its"
            " connection say."
        ),
        "version_added": "0.1.0",
        "type": "float",
        "example": "30",
        "default": None,
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form of Airflow's ``provider_info.schema.json``."""
    name = "anyformat"
    return {
        "package-name": "airflow-provider-anyformat",
        "name": name,
        "description": "`anyformat <https://anyformat.ai>`__ turns documents into structured data.",
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://docs.anyformat.ai",
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_anyformat.operators.files",
                    "airflow_provider_anyformat.operators.workflows",
                ],
            }
        ],
        "sensors": [{"integration-name": name, "python-modules": ["airflow_provider_anyformat.sensors.files"]}],
        "triggers": [{"integration-name": name, "python-modules": ["airflow_provider_anyformat.triggers.files"]}],
        "hooks": [{"integration-name": name, "python-modules": ["airflow_provider_anyformat.hooks.anyformat"]}],
        "config": {name: {"description": "Rules of the organisation for every purge.", "options": CONFIG}},
        # Airflow 2.11 shows a task's link only if its class stands here.
        "extra-links": ["airflow_provider_anyformat.links.AnyformatLink"],
        "connection-types": [
            {
                "connection-type": "anyformat",
                "hook-class-name": "airflow_provider_anyformat.hooks.anyformat.AnyformatHook",
                "hook-name": name,
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": CONN_FIELDS,
            }
        ],
    }
