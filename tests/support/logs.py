"""What the provider logs while a task runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


class Lines(logging.Handler):
    """Collected log records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def matching(self, pattern: str) -> list[re.Match[str]]:
        found = (re.search(pattern, record.getMessage()) for record in self.records)
        return [match for match in found if match]

    @property
    def last(self) -> logging.LogRecord:
        return self.records[-1]

    @property
    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self.records)


@contextmanager
def listening() -> Iterator[Lines]:
    """Collect what the provider logs."""
    lines, logger = Lines(), logging.getLogger("airflow_provider_anyformat")
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
