"""What a verb says: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_provider_anyformat.retention.evidence import no_progress

# Where nothing says how wide it is; ids and folders must not be cut.
_WIDTH_OF_A_FILE = 400


class FindingError(Exception):
    """What was asked for was found not to be as it should be; exit code 1."""


class Output:
    """
    Standard output and standard error of one call.

    :param as_json: whether a program reads it.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, document: dict[str, Any], people: Callable[[], None]) -> None:
        """Print ``document`` for a program, or have ``people`` print."""
        if self.as_json:
            self.text(json.dumps(document, ensure_ascii=False))
        else:
            people()

    def text(self, text: str) -> None:
        """Print a text."""
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; columns whose names begin with ``#`` hold numbers."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(
                name.removeprefix("#"), justify="right" if name.startswith("#") else "left", overflow="fold"
            )
        for row in rows:
            # Text takes names as they are, also those that look like rich's markup.
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        if sys.stdout.isatty():
            console.print(table)
            return
        with console.capture() as capture:
            console.print(table)
        for line in capture.get().splitlines():
            self.text(line.rstrip())

    def finding(self, sentence: str) -> None:
        """Say why the exit code is 1 where a verb has nothing else to show."""
        if self.as_json:
            self.text(json.dumps({"error": sentence}, ensure_ascii=False))
        else:
            print(f"anyformat-retention: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201

    @contextmanager
    def progress(self, words: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show how far long work is, to a person at a terminal; yield a function to call with ``(done, total)``."""
        if self.as_json or not sys.stderr.isatty():
            yield no_progress
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(words, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
