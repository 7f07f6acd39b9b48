"""What may stand in ``retention.yaml`` and ``holds.yaml``: the models that check them and give their JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import date
from functools import partial
from typing import Annotated, Any, Final, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, WrapValidator, create_model

from airflow_provider_anyformat.api.values import is_id, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.parameters import PARAMETERS, read_parameters
from airflow_provider_anyformat.readers import is_null
from airflow_provider_anyformat.retention.plan import Guards
from airflow_provider_anyformat.retention.policy import RetentionPolicy
from airflow_provider_anyformat.rules.schedule import PRESETS, check_schedule

_NAME = re.compile(r"[a-z0-9_]{1,200}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TEMPLATE = re.compile(r"\{[{%]")

Template = Annotated[str, Field(pattern=_TEMPLATE.pattern, description="A template, read when the task runs.")]


class _Strict(BaseModel):
    """Base of the models: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


def _checked(kind: Any, check: Callable[[Any], object], about: str) -> Any:
    """Return the type of a field that keeps what was given, once ``check`` has not refused it."""

    def validate(value: Any, _: Any) -> Any:
        check(value)
        return value

    return Annotated[kind, WrapValidator(validate), Field(description=about)]


def _refuse(key: str, value: object, why: str) -> AnyformatValueError:
    return AnyformatValueError(f"{key}: {shown(value)} cannot be used: {why}")


def _not_null(key: str, value: object) -> None:
    if is_null(value):
        raise _refuse(key, value, "it is empty; write a value, or remove the key if it is not required")


def _text(key: str, value: object, longest: int = 250) -> None:
    _not_null(key, value)
    if not isinstance(value, str):
        raise _refuse(key, value, f"it is of type {type(value).__name__}; write it in quotes")
    if len(value) > longest or not " ".join(value.split()).isprintable():
        raise _refuse(key, value, f"it is not printable text of at most {longest} characters")


def _name(value: object) -> None:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise _refuse("name", value, "it is not 1 to 200 characters out of a-z, 0-9 and _; the DAG's id ends in it")


def _schedule(value: object) -> None:
    _text("schedule", value)
    try:
        check_schedule(str(value))
    except AnyformatValueError as why:
        raise _refuse("schedule", value, str(why)) from None


def _retries(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise _refuse("retries", value, "it is not a whole number from 0 to 100")


def _approval(value: object) -> None:
    if not isinstance(value, bool):
        raise _refuse("approval", value, "it is neither true nor false")


def is_template(value: object) -> bool:
    """Say whether a value holds a template of Airflow's, so that only the task knows what it becomes."""
    if isinstance(value, list):
        return any(map(is_template, value))
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def _parameter(name: str, key: str, value: object) -> None:
    _not_null(key, value)
    if is_template(value):
        return
    try:
        read_parameters({name: value})
    except AnyformatValueError as error:
        raise AnyformatValueError(str(error).replace(f"{name}:", f"{key}:", 1)) from None


# The parameters of PurgeFileCollectionsOperator that a rule takes as they are, with the types of their values.
PURGE_PARAMETERS: Final[dict[str, Any]] = {
    name: kind
    for options in (RetentionPolicy, Guards)
    for name, kind in get_type_hints(options).items()
    if name != "holds"
} | {
    "workflow_id": str | list[str],
    "basis": str,
    "plan_only": bool,
    "archive_path": str,
    "ledger_path": str,
    "signing_conn_id": str,
    "max_workers": int,
    "quota_reserve": float,
}


def _parameter_type(name: str, key: str, kind: Any) -> Any:
    expects = PARAMETERS[name].expects
    return _checked(kind | Template, partial(_parameter, name, key), f"{expects[0].upper()}{expects[1:]}.")


_OWN_KEYS: Final[dict[str, Any]] = {
    "name": _checked(
        Annotated[str, Field(pattern=f"^{_NAME.pattern}$")],
        _name,
        "The rule's name, unlike any other: a-z, 0-9 and _. The DAG is anyformat_retention_<name>, so a rule that is"
        " renamed begins a new history.",
    ),
    "owner": _checked(str, partial(_text, "owner"), "Who answers for the rule: recorded in each plan and certificate."),
    "schedule": _checked(
        str, _schedule, f"When it runs, in UTC: a cron expression of five fields, or {', '.join(PRESETS)}."
    ),
    "retries": _checked(int, _retries, "How often Airflow tries a failed task again, 0 to 100. Default 0."),
    "conn_id": _parameter_type("anyformat_conn_id", "conn_id", str),
    "approval": _checked(
        bool,
        _approval,
        "Whether a person approves each plan before anything is deleted. Requires Airflow 3.1 and ledger_path."
        " Default false.",
    ),
    "holds": _checked(str, partial(_text, "holds"), "A file of legal holds; its path is relative to this file."),
}
KEYS: Final[dict[str, Any]] = _OWN_KEYS | {
    name: _parameter_type(name, name, kind) for name, kind in PURGE_PARAMETERS.items()
}
REQUIRED: Final = ("name", "workflow_id", "older_than", "owner", "basis", "schedule")
NOT_IN_DEFAULTS: Final = ("name", "older_than")


def _model(name: str, about: str, keys: dict[str, Any], required: Collection[str] = ()) -> Any:
    # A factory, so that the JSON Schema names no default: the operator has it.
    left_out = Field(default_factory=lambda: None)
    fields: Any = {key: (kind, ... if key in required else left_out) for key, kind in keys.items()}
    return create_model(name, __base__=_Strict, __doc__=about, **fields)


def _listed(model: Any, about: str, least: int = 0) -> Any:
    return Annotated[list[model], Field(min_length=least, description=about)]


Rule = _model("Rule", "One rule, which becomes one DAG.", KEYS, REQUIRED)
Defaults = _model(
    "Defaults", "What a rule has that does not say it.", {k: v for k, v in KEYS.items() if k not in NOT_IN_DEFAULTS}
)
RetentionFile = _model(
    "RetentionFile",
    "retention.yaml: how long the documents of each workflow are kept.",
    {
        "version": Annotated[Literal[1], Field(description="The version of this format.")],
        "defaults": Annotated[Defaults, Field(description="What a rule has that does not say it.")],
        "rules": _listed(Rule, "The rules; each becomes a DAG.", least=1),
    },
    ("version", "rules"),
)


def read_date(key: str, value: object) -> date:
    """
    Read a day.

    :raises AnyformatValueError: it is not one.
    """
    try:
        if not isinstance(value, str) or _DATE.fullmatch(value) is None:
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise _refuse(key, value, "it is not a date such as 2026-05-01") from None


def _texts(key: str, value: object, *, ids: bool) -> None:
    if not isinstance(value, list) or not value:
        raise _refuse(key, value, "it is not a list with at least one entry; remove the key if it selects nothing")
    for position, entry in enumerate(value):
        if is_null(entry) or not isinstance(entry, str):
            raise _refuse(key, entry, f"entry {position} is missing or not text; write it in quotes")
        if ids and not is_id(entry):
            raise _refuse(key, entry, f"entry {position} is not a valid id")


def _day_type(key: str, about: str) -> Any:
    return _checked(Annotated[str, Field(json_schema_extra={"format": "date"})], partial(read_date, key), about)


def _texts_type(key: str, about: str, *, ids: bool) -> Any:
    return _checked(Annotated[list[str], Field(min_length=1)], partial(_texts, key, ids=ids), about)


HOLD_KEYS: Final[dict[str, Any]] = {
    "case": _checked(str, partial(_text, "case"), "What the hold is for; certificates name it."),
    "owner": _checked(str, partial(_text, "owner"), "Who answers for it."),
    "reason": _checked(str, partial(_text, "reason", longest=1000), "Why it exists."),
    "from": _day_type("from", "The first day, in UTC, on which it holds. Default: it holds already."),
    "until": _day_type("until", "The first day, in UTC, on which it holds no longer. Default: it holds until removed."),
    "workflow_ids": _texts_type("workflow_ids", "Everything in these workflows is held.", ids=True),
    "collection_ids": _texts_type("collection_ids", "These collections, or those of these files, are held.", ids=True),
    "names": _texts_type(
        "names",
        "Globs on the whole document name, without case; what has no name is held by any.",
        ids=False,
    ),
}
Hold = _model("Hold", "One legal hold: what any of its selectors matches is held; it needs one.", HOLD_KEYS, ("case",))
HoldsFile = _model(
    "HoldsFile",
    "holds.yaml: what is not deleted, whatever a rule says.",
    {"holds": _listed(Hold, "The holds; an empty list holds nothing.")},
    ("holds",),
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``retention.yaml``; that of ``holds.yaml`` is ``#/$defs/HoldsFile`` in it."""
    schema: dict[str, Any] = RetentionFile.model_json_schema()
    holds = HoldsFile.model_json_schema()
    schema["$defs"] |= holds.pop("$defs") | {"HoldsFile": holds}
    # What else a rule requires, its defaults may have.
    schema["$defs"]["Rule"]["required"] = list(NOT_IN_DEFAULTS)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
