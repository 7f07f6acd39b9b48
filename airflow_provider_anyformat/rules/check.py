"""What ``anyformat-retention check`` says of a file of rules and of the holds it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.retention.holds import Hold
from airflow_provider_anyformat.rules.reading import Problem, read_holds, read_rules
from airflow_provider_anyformat.rules.words import words

_SOON = timedelta(days=30)


def check(path: Path, now: datetime) -> dict[str, Any]:
    """
    Check a file of rules, and every file of holds that a rule names.

    :param path: the file of rules.
    :param now: the time, aware, at which holds have ended or end soon.
    :return: ``ok``, ``rules`` (``name``, ``dag_id``, ``words``), ``problems`` (``rule``, ``line``, ``problem``) and
        ``warnings``, sentences that do not make ``ok`` false.
    """
    file = read_rules(path)
    problems = [*file.problems, *(each for rule in file.rules for each in rule.problems)]
    warnings: dict[str, None] = {}
    for rule in file.rules:
        where = None if rule.wrong("holds") else file.holds_of(rule)
        if where is None:
            continue
        holds, wrong = read_holds(where)
        problems += [Problem(rule.name, rule.lines["holds"], f"holds: {each.in_file(where)}") for each in wrong]
        warnings |= dict.fromkeys(_warnings(where, holds, now))
    return {
        "ok": not problems,
        "rules": [{"name": rule.name, "dag_id": rule.dag_id, "words": words(rule)} for rule in file.rules if rule.name],
        "problems": [asdict(each) for each in problems],
        "warnings": list(warnings),
    }


def _warnings(file: Path, holds: tuple[Hold, ...], now: datetime) -> Iterator[str]:
    for hold in holds:
        if hold.ended(now):
            yield f"{file.name}: hold {hold.case} ended on {hold.ends} and holds nothing any more"
        elif hold.ended(now + _SOON):
            yield f"{file.name}: hold {hold.case} ends on {hold.ends}, within {_SOON.days} days"
