"""Whether a text is a schedule, told without Airflow: what passes here, Airflow takes."""

from __future__ import annotations

import re
from typing import Final

from airflow_provider_anyformat.exceptions import AnyformatValueError

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# For each field its name, its bounds, and its words; the first word stands for the lower bound.
_FIELDS: Final[tuple[tuple[str, int, int, list[str]], ...]] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]{1,4}))?")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def check_schedule(text: str) -> None:
    """
    Refuse what is neither a preset nor a cron expression of five fields that ever comes.

    :raises AnyformatValueError: the message says which field, and why.
    """
    if text in PRESETS:
        return
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise AnyformatValueError(f"it is not a cron expression of five fields, nor one of {', '.join(PRESETS)}")
    _, _, days, months, weekdays = (_values(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True))
    if len(weekdays) >= 7 and not any(day <= _LONGEST_MONTHS[month - 1] for day in days for month in months):
        raise AnyformatValueError("no month that it names has such a day, so it never comes")


def _values(field: str, name: str, least: int, most: int, words: list[str]) -> set[int]:
    values: set[int] = set()
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise AnyformatValueError(f"its {name}, {field!r}, cannot be read")
        first, last, step = found.groups()
        if first is None:
            start, end = least, most
        else:
            start = _number(first, least, words)
            # "5/15" goes on to the end, "5" is 5 alone.
            end = _number(last, least, words) if last else most if step else start
        if not least <= start <= end <= most or step == "0":
            raise AnyformatValueError(f"its {name}, {field!r}, is not within {least} to {most}")
        values.update(range(start, end + 1, int(step or 1)))
    return values


def _number(text: str, least: int, words: list[str]) -> int:
    if text in words:
        return words.index(text) + least
    return int(text) if text.isdecimal() else -1
