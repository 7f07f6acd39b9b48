"""A rule in words, for those who answer for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow_provider_anyformat.parameters import read_parameters
from airflow_provider_anyformat.retention.words import duration_words, several
from airflow_provider_anyformat.rules.models import PURGE_PARAMETERS, is_template
from airflow_provider_anyformat.rules.reading import Rule

# What Markdown would not show as it is.
_MARKUP = re.compile(r"[\\`*_\[\]<>|#]")


def words(rule: Rule) -> str:
    """Return what a rule does, in one sentence; of one that cannot run, why it deletes nothing."""
    if rule.problems:
        return f"Deletes nothing, because the rule is wrong: {'; '.join(each.problem for each in rule.problems)}."
    values = {key: _read(key, value) for key, value in rule.values.items()}
    return f"{', '.join(_selection(values))}{''.join(f'; {each}' for each in _limits(values))}."


def _read(key: str, value: Any) -> Any:
    if key not in PURGE_PARAMETERS or is_template(value):
        return value
    return read_parameters({key: value})[key]


def _selection(values: dict[str, Any]) -> Iterator[str]:
    verb = "Plans to delete" if values.get("plan_only") is True else "Deletes"
    workflows = values["workflow_id"]
    of = _several(workflows) if isinstance(workflows, tuple) else workflows
    age = f"older than {_duration(values['older_than'])}"
    since = " since the last update" if values.get("age_by") == "updated_at" else ""
    plural = "s" if isinstance(workflows, tuple) and len(workflows) > 1 else ""
    yield f"{verb} file collections of workflow{plural} {of} {age}{since}"
    if "statuses" in values:
        yield f"with status {_several(values['statuses'], 'or')}"
    if "include_names" in values:
        yield f"named like {_several(values['include_names'], 'or')}"
    if values.get("exclude_names"):
        yield f"not named like {_several(values['exclude_names'], 'or')}"


def _limits(values: dict[str, Any]) -> Iterator[str]:
    if values.get("keep_last"):
        yield f"keeps the newest {values['keep_last']} of each workflow"
    if values.get("limit", "unlimited") != "unlimited":
        yield f"at most {values['limit']} a run, oldest first"
    if values.get("max_deletions", "unlimited") != "unlimited":
        yield f"fails where a run would delete more than {values['max_deletions']}"
    if values.get("approval"):
        yield "a person approves each plan"
    if "holds" in values:
        yield f"legal holds are in {values['holds']}"


def _several(texts: Any, last: str = "and") -> str:
    return several(texts, last) if isinstance(texts, tuple) else str(texts)


def _duration(length: Any) -> str:
    return duration_words(length) if isinstance(length, timedelta) else str(length)


def markdown(rule: Rule) -> str:
    """Return a rule as Markdown: in words, then its keys as the file has them."""
    rows = "".join(f"| `{key}` | `{_cell(value)}` |\n" for key, value in rule.values.items())
    said = _MARKUP.sub(lambda mark: f"\\{mark[0]}", words(rule))
    return f"{said}\n\n| key | value |\n|---|---|\n{rows}"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
