"""``verify``: whether a ledger is as it was written."""

from __future__ import annotations

import argparse
import re

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.cli.opening import open_file, open_ledger_folder
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.signing import PublicKey
from airflow_provider_anyformat.retention.verification import Report, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("ledger", metavar="LEDGER", help="the ledger_path of the tasks, or a copy of it")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="SHA256",
        help="summary_sha256 of a run, as its task log or XCom has it; may be repeated",
    )
    parser.add_argument("--public-key", metavar="FILE", help="the Ed25519 public key that signed the summaries")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Verify the ledger; 1 if there is a problem."""
    for head in arguments.head:
        if not re.fullmatch(r"[0-9a-f]{64}", head):
            raise AnyformatValueError(f"--head: {shown(head)} is not a SHA-256; copy summary_sha256 from the task log")
    key = None
    if arguments.public_key is not None:
        with open_file(arguments.public_key, "--public-key") as file:
            key = PublicKey.read(file.read(), shown(arguments.public_key))
    folder = open_ledger_folder(arguments.ledger)
    with output.progress("verifying runs") as progress:
        report = verify(folder, arguments.head, key, progress)
    output.show(report.as_json(), lambda: _show(report, output))
    return 1 if report.problems else 0


def _show(report: Report, output: Output) -> None:
    if report.problems:
        output.table(("problem", "run", "detail"), [(each.problem, each.run, each.detail) for each in report.problems])
    chained = f", {report.not_chained} of them not chained" if report.not_chained else ""
    number = len(report.problems)
    words = f"{number} problem{'' if number == 1 else 's'}" if number else "The ledger is as it was written"
    output.text(f"{words}: {report.runs} runs{chained}, {report.collections} collections.")
    for head in report.heads:
        output.text(f"head {head}")
