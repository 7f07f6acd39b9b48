"""``list``: the live listing of a workflow, as JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL
from airflow_provider_anyformat.api.models import Rows
from airflow_provider_anyformat.api.values import check_id
from airflow_provider_anyformat.cli.output import Output
from airflow_provider_anyformat.exceptions import AnyformatListingError, AnyformatValueError

if TYPE_CHECKING:
    from airflow_provider_anyformat.api.client import AnyformatClient

# How many readings may turn out incomplete before there is no listing.
_PASSES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--workflow", required=True, metavar="ID", help="the workflow")
    parser.add_argument("--output", metavar="FILE", help="write it there; default standard output")
    parser.add_argument(
        "--conn-id",
        metavar="ID",
        help="an Airflow connection, where Airflow is installed; default the key in ANYFORMAT_API_KEY and the server"
        " in ANYFORMAT_BASE_URL",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write the listing, once it is complete."""
    check_id(arguments.workflow, "--workflow")
    client = _client(arguments.conn_id)
    try:
        with tempfile.TemporaryFile() as spool:
            _list(client, arguments.workflow, spool, output)
            spool.seek(0)
            if arguments.output is None:
                shutil.copyfileobj(spool, sys.stdout.buffer)
            else:
                with Path(arguments.output).open("wb") as file:
                    shutil.copyfileobj(spool, file)
    finally:
        client.close()
    return 0


def _client(conn_id: str | None) -> AnyformatClient:
    if conn_id is not None:
        try:
            from airflow_provider_anyformat.hooks.anyformat import AnyformatHook
        except ImportError:
            raise AnyformatValueError(
                "--conn-id: Airflow is not installed here; put the key into ANYFORMAT_API_KEY instead"
            ) from None
        return AnyformatHook(conn_id).get_conn()
    from airflow_provider_anyformat.api.client import AnyformatClient

    key = os.environ.get("ANYFORMAT_API_KEY", "")
    if not key.strip():
        raise AnyformatValueError("ANYFORMAT_API_KEY: it is not set; put the API key into it, or give --conn-id")
    return AnyformatClient(key, os.environ.get("ANYFORMAT_BASE_URL", "").strip() or DEFAULT_BASE_URL)


def _list(client: AnyformatClient, workflow_id: str, spool: BinaryIO, output: Output) -> None:
    for number in range(1, _PASSES + 1):
        spool.seek(0)
        spool.truncate()
        try:
            return _one_pass(client, workflow_id, spool, output)
        except AnyformatListingError as error:
            if not error.retryable or number == _PASSES:
                raise
    return None


def _one_pass(client: AnyformatClient, workflow_id: str, spool: BinaryIO, output: Output) -> None:
    from airflow_provider_anyformat.api.listing import ListingPass

    reading = ListingPass(workflow_id)
    with output.progress("listing") as progress:
        for page in client.iter_pages(workflow_id):
            reading.add(page)
            rows = page.collections
            for row in rows.sent if isinstance(rows, Rows) else ():
                line = json.dumps(row | {"workflow_id": workflow_id}, ensure_ascii=False)
                spool.write(line.encode("utf-8", "backslashreplace") + b"\n")
            progress(len(reading), page.count)
    reading.finish()
