"""``schema``: the JSON Schema of a file of rules, for editors."""

from __future__ import annotations

import argparse
import json

from airflow_provider_anyformat.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""
    del parser


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the schema, which is JSON either way."""
    from airflow_provider_anyformat.rules.models import json_schema

    del arguments
    output.text(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
