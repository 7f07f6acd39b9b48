"""
Airflow's names, from where each line has them: 2.11, 3.1, 3.3.

Each is looked up when it is first asked for, so that none is paid for by a module that needs another.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow import __version__

_VERSION = tuple(int(part) for part in __version__.split(".")[:2])
AIRFLOW_V_3_0_PLUS = _VERSION >= (3, 0)
AIRFLOW_V_3_1_PLUS = _VERSION >= (3, 1)
AIRFLOW_V_3_3_PLUS = _VERSION >= (3, 3)

# A name, and the modules that may have it, the newest first. An older place may still work, but warn.
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_PLACES = {
    "AirflowException": _EXCEPTIONS,
    "AirflowFailException": _EXCEPTIONS,
    "AirflowNotFoundException": _EXCEPTIONS,
    "AirflowOptionalProviderFeatureException": _EXCEPTIONS,
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "AirflowSensorTimeout": _EXCEPTIONS,
    "AirflowSkipException": _EXCEPTIONS,
    "Asset": ("airflow.sdk", "airflow.datasets"),
    "AssetAlias": ("airflow.sdk", "airflow.datasets"),
    "BaseEventTrigger": ("airflow.triggers.base",),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "BaseTrigger": ("airflow.triggers.base",),
    "Context": ("airflow.sdk", "airflow.utils.context"),
    "DAG": ("airflow.sdk", "airflow.models.dag"),
    "ObjectStoragePath": ("airflow.sdk", "airflow.io.path"),
    "Param": ("airflow.sdk", "airflow.models.param"),
    "PokeReturnValue": ("airflow.sdk", "airflow.sensors.base"),
    "RetryDecision": ("airflow.sdk.definitions.retry_policy",),
    "RetryPolicy": ("airflow.sdk.definitions.retry_policy",),
    "TaskDeferred": _EXCEPTIONS,
    "TriggerEvent": ("airflow.triggers.base",),
    "XCom": ("airflow.sdk.execution_time.xcom", "airflow.models.xcom"),
    "XComArg": ("airflow.sdk", "airflow.models.xcom_arg"),
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "get_parsing_context": ("airflow.sdk", "airflow.utils.dag_parsing_context"),
    "mask_secret": (
        "airflow.sdk.log",
        "airflow.sdk.execution_time.secrets_masker",
        "airflow.utils.log.secrets_masker",
    ),
    "task": ("airflow.sdk", "airflow.decorators"),
}
_NAMES_IN_2 = {"Asset": "Dataset", "AssetAlias": "DatasetAlias"}


def __getattr__(name: str) -> Any:
    known_as = name if AIRFLOW_V_3_0_PLUS else _NAMES_IN_2.get(name, name)
    for place in _PLACES.get(name, ()):
        try:
            found = getattr(import_module(place), known_as)
        except ModuleNotFoundError as error:
            # Another module that is missing is a broken installation, not an older Airflow.
            if error.name is None or not place.startswith(error.name):
                raise
        except AttributeError:
            continue
        else:
            globals()[name] = found
            return found
    raise AttributeError(f"Airflow {__version__} has no {name}")
