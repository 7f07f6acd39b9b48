"""``check``: whether a file of rules, and the holds it names, can be used."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.exceptions import AnyformatValueError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("rules", metavar="RULES", help="a retention.yaml")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Check the file; 1 if there is a problem."""
    from airflow_provider_anyformat.rules.check import check

    path = Path(arguments.rules)
    if not path.is_file():
        raise AnyformatValueError(f"RULES: {shown(str(path))} is not a file; give the path of a retention.yaml")
    found = check(path, datetime.now(UTC))
    output.show(found, lambda: _show(found, output))
    return 0 if found["ok"] else 1


def _show(found: dict[str, Any], output: Output) -> None:
    if found["rules"]:
        output.table(("rule", "DAG", "in words"), [tuple(each.values()) for each in found["rules"]])
    if found["problems"]:
        output.table(("rule", "#line", "problem"), [tuple(each.values()) for each in found["problems"]])
    for warning in found["warnings"]:
        output.text(f"warning: {warning}")
    output.text("The rules can be used." if found["ok"] else f"Problems: {len(found['problems'])}.")
