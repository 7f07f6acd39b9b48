"""``certificate``: what became of a collection, or in a run, for an auditor."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_anyformat.api.values import check_id, shown
from airflow_provider_anyformat.cli.opening import open_ledger_folder
from airflow_provider_anyformat.cli.output import FindingError, Output
from airflow_provider_anyformat.cli.pages import as_html, as_markdown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.certificate import certify_collection, certify_run
from airflow_provider_anyformat.retention.verification import verify

_FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "html": as_html,
    "md": as_markdown,
    "json": lambda content: json.dumps(content, ensure_ascii=False, indent=2) + "\n",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("ledger", metavar="LEDGER", help="the ledger_path of the tasks, or a copy of it")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--collection", metavar="ID", help="the collection to certify")
    what.add_argument(
        "--run", metavar="FOLDER", dest="folder", help="the run to certify, as history and verify name it"
    )
    parser.add_argument("--format", choices=sorted(_FORMATS), default="html", help="default html; --json is json")
    parser.add_argument("--output", metavar="FILE", help="write it there; default standard output")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Certify; 1 if there is no record, or if the ledger was changed."""
    folder = open_ledger_folder(arguments.ledger)
    if arguments.collection is not None:
        check_id(arguments.collection, "--collection")
    with output.progress("verifying runs") as progress:
        report = verify(folder, progress=progress)
    if arguments.collection is not None:
        content = certify_collection(folder, arguments.collection, report)
        if content is None:
            raise FindingError(f"--collection: no run in {folder.url} has a record of {arguments.collection}")
    else:
        content = certify_run(folder, arguments.folder, report)
        if content is None:
            raise AnyformatValueError(
                f"--run: {shown(arguments.folder)} is not a run in {folder.url}; anyformat-retention history lists them"
            )
    _write(_FORMATS["json" if output.as_json else arguments.format](content), arguments.output, output)
    return 0 if content["whole"] else 1


def _write(text: str, file: str | None, output: Output) -> None:
    if file is None:
        output.text(text)
    else:
        Path(file).write_text(text, encoding="utf-8")
