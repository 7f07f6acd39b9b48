"""The command's verbs, and how each ends: 0 as it should be, 1 a finding, 2 wrong use."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from airflow_provider_anyformat.cli.output import FindingError, Output
from airflow_provider_anyformat.exceptions import AnyformatError, AnyformatValueError

# Each verb's module has add_arguments(parser) and run(arguments, output) -> exit code.
VERBS = {
    "list": ("airflow_provider_anyformat.cli.listing", "write the live listing of a workflow as JSON lines"),
    "explain": (
        "airflow_provider_anyformat.cli.explain",
        "say for each collection of a listing what a policy does, and why",
    ),
    "simulate": (
        "airflow_provider_anyformat.cli.simulate",
        "count what a policy would delete today and on the days to come",
    ),
    "history": ("airflow_provider_anyformat.cli.history", "list the runs of a ledger"),
    "verify": ("airflow_provider_anyformat.cli.verify", "check that a ledger is as it was written"),
    "certificate": ("airflow_provider_anyformat.cli.certificate", "certify what became of a collection, or in a run"),
    "check": ("airflow_provider_anyformat.cli.check", "check a file of rules and the holds it names"),
    "schema": ("airflow_provider_anyformat.cli.schema", "print the JSON Schema of a file of rules"),
}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; argparse adds the usage, which may take ten."""

    def error(self, message: str) -> NoReturn:
        raise AnyformatValueError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param argv: its arguments; default those of the process.
    :return: the exit code.
    """
    output = Output(as_json=False)
    try:
        arguments = _parse(argv)
        output = Output(as_json=arguments.json)
        code: int = arguments.run(arguments, output)
        sys.stdout.flush()
        return code
    except AnyformatValueError as error:
        return _wrong_use(error)
    except (AnyformatError, FindingError) as error:
        output.finding(str(error))
        return 1
    except BrokenPipeError:
        # Whoever reads has read enough, as head does; Python would complain once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _wrong_use(error)
    except KeyboardInterrupt:
        return 130


def _wrong_use(error: Exception) -> int:
    print(f"anyformat-retention: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
    return 2


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    arguments, more = parser.parse_known_args(argv)
    # argparse takes a list of arguments at one place alone; ids may stand behind the flags as well.
    if more and (not hasattr(arguments, "ids") or any(each.startswith("-") for each in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.ids += more
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="anyformat-retention", description="Prove, explain and foresee what retention deletes. Deletes nothing."
    )
    verbs: Any = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, words) in VERBS.items():
        verb = importlib.import_module(module)
        subparser = verbs.add_parser(
            name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False
        )
        subparser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run)
    return parser
