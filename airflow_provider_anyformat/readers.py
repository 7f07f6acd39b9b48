"""How each parameter is read: a value comes out, or why what was given cannot be used."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from airflow_provider_anyformat.api.values import (
    CLOCK_SKEW,
    FINISHED_STATUSES,
    NULL_WORDS,
    canonical_id,
    check_id,
    is_document_name,
    shown,
)
from airflow_provider_anyformat.exceptions import AnyformatValueError

_CENTURY = timedelta(days=36_500)
# Compiled on first use: a DAG file needs few of them.
_WHOLE = r"[+-]?[0-9]{1,18}"
_DECIMAL = r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?"
_DURATION = r"P(?=.)(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T([0-9]{1,6})H)?"
_SPAN = r"PT(?=.)(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})S)?"
# What people write, and what str() makes of a timedelta of whole days.
_MEANT_DURATION = r"([0-9]{1,6})(?: ?(d|days?|w|weeks?|h|hours?))?(?:, 0:00:00)?"
_URL = r"[a-z][a-z0-9+.-]*://[^/]+.*"
_DIGEST = r"[0-9a-f]{64}"
_UNREADABLE = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


class RejectedError(Exception):
    """
    Why a value cannot be used; the message of the error is put together where the parameter's name is known.

    :param why: the reason.
    :param way_out: what to do instead; default: what the parameter takes.
    """

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(why)
        self.way_out = way_out


class RejectedPartError(Exception):
    """Why a part of a value, such as an entry of a list, cannot be used: a whole sentence, which shows that part."""


def is_null(value: object) -> bool:
    """Say whether ``value`` is ``None``, blank, or a word that a missing value turns into."""
    return value is None or (isinstance(value, str) and (not value.strip() or value.strip().lower() in NULL_WORDS))


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in ("true", "false"):
        raise RejectedError("it is neither true nor false")
    return word == "true"


def whole(least: int, most: float = math.inf) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(_WHOLE, value.strip()):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise RejectedError("it is not a whole number")
        if not least <= number <= most:
            raise RejectedError("it is out of range")
        return number

    return read


def count(value: object) -> int | str:
    return "unlimited" if isinstance(value, str) and value.strip() == "unlimited" else whole(1)(value)


def decimal(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = value
        if isinstance(value, str) and re.fullmatch(_DECIMAL, value.strip()):
            number = float(value)
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise RejectedError("it is not a number, which is written without %")
        # Said this way round, so that nan, which is neither smaller nor larger, is out of range.
        if not least <= number <= most:
            raise RejectedError("it is out of range")
        return number

    return read


def duration(value: object, without_unit: str = "P{}D") -> timedelta:
    if isinstance(value, timedelta):
        # pendulum's durations know months and years, and its intervals are as long as the days they lie between.
        if any(getattr(value, part, None) for part in ("months", "years", "start", "end")):
            raise RejectedError("months, years and intervals have no fixed length")
        length = timedelta(seconds=value.total_seconds())
    elif isinstance(value, str) or type(value) is int:
        length = _iso_duration(str(value).strip(), without_unit)
    else:
        raise RejectedError(f"it is of type {type(value).__name__}, which has no unit")
    if length <= timedelta(0):
        raise RejectedError("it must be longer than zero")
    if length > _CENTURY:
        raise RejectedError("it is longer than a hundred years")
    return length


def _iso_duration(text: str, without_unit: str) -> timedelta:
    found = re.fullmatch(_DURATION, text)
    if found is not None:
        weeks, days, hours = (int(part or 0) for part in found.groups())
        return timedelta(weeks=weeks, days=days, hours=hours)
    meant = re.fullmatch(_MEANT_DURATION, text.lower())
    if meant is not None:
        number, unit = meant.groups()
        form = {"d": "P{}D", "w": "P{}W", "h": "PT{}H"}[unit[0]] if unit else without_unit
        why = "it is not an ISO 8601 duration" if unit else "it has no unit"
        raise RejectedError(why, f'write "{form.format(number)}"')
    if ":" in text:
        raise RejectedError("it is the text of a timedelta, which a template made", 'write it as in "P30D" or "PT36H"')
    if re.fullmatch(r"P[^T]*[YM].*", text):
        raise RejectedError("the length of months and years depends on the day")
    if re.fullmatch(r"P.*[.,MS].*", text):
        raise RejectedError("it has minutes, seconds or a fraction")
    raise RejectedError("it is not an ISO 8601 duration")


def moment(value: object) -> datetime:
    moment = value
    if isinstance(value, str):
        # A bare date would read as its midnight, in an unknown zone.
        if len(value.strip()) < 16:
            raise RejectedError("it is not a date with time and zone, as {{ data_interval_end }} is")
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise RejectedError("it is not an ISO 8601 text") from None
    if not isinstance(moment, datetime):
        raise RejectedError("it is not a date with time and zone")
    if moment.utcoffset() is None:
        raise RejectedError("it has no time zone", "add Z or an offset, or pass an aware datetime")
    try:
        # Through its text, so that it is no longer one of pendulum's, which are slow to compare.
        moment = datetime.fromisoformat(moment.isoformat()).astimezone(UTC)
    except OverflowError:
        raise RejectedError("it lies outside the calendar") from None
    if moment > datetime.now(UTC) + CLOCK_SKEW:
        raise RejectedError("it is in the future, where everything would be old enough")
    return moment


def _list(value: object) -> Sequence[Any]:
    if isinstance(value, str):
        value = _parsed(value.strip())
    # Airflow hands over the results of mapped tasks as a lazy sequence of a class of its own.
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview | range):
        raise RejectedError("it is not a list")
    return value


def _parsed(text: str) -> object:
    if not text.startswith(("[", "(")):
        raise RejectedError("it is not a list, and text is never split on commas", 'write ["a", "b"]')
    return _literal(text, "it starts like a list but is neither JSON nor a Python literal")


def _literal(text: str, otherwise: str) -> object:
    try:
        return _json_or_python(text)
    except _UNREADABLE:
        raise RejectedError(otherwise) from None


def _json_or_python(text: str) -> object:
    import ast
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value = ast.literal_eval(text)
    _check_commas(text)
    return value


def _check_commas(text: str) -> None:
    """Refuse a literal in which strings stand side by side: Python makes one of them, and so a hold would be lost."""
    import io
    import tokenize

    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING:
            if before:
                raise RejectedError("two strings stand side by side in it", f"put a comma after {shown(before)[1:-1]}")
            before = token.string
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT):
            before = ""


def _entries(value: object, *, may_be_empty: bool) -> tuple[Any, ...]:
    entries = tuple(_list(value))
    if not entries and not may_be_empty:
        raise RejectedError("it is empty, and empty never means all")
    return entries


def texts(value: object, *, may_be_empty: bool) -> tuple[str, ...]:
    texts = _entries(value, may_be_empty=may_be_empty)
    for position, text in enumerate(texts):
        entry = f"entry {position}, {shown(text)}, is"
        if is_null(text):
            raise RejectedPartError(f"{entry} what a missing value looks like; take it out of the list")
        if not isinstance(text, str):
            raise RejectedPartError(f"{entry} of type {type(text).__name__}; give text")
        if _is_text_of_a_list(text):
            raise RejectedPartError(
                f"{entry} itself the text of a list; pass that text alone, without a list around it"
            )
    return tuple(dict.fromkeys(texts))


def _is_text_of_a_list(text: str) -> bool:
    if not text.strip().startswith(("[", "(")):
        return False
    try:
        return isinstance(_json_or_python(text.strip()), list | tuple)
    except _UNREADABLE:
        # A glob may begin with a bracket, too.
        return False
    except RejectedError:
        return True


def ids(value: object, *, may_be_empty: bool = True) -> tuple[str, ...]:
    ids: dict[str, str] = {}
    for position, each in enumerate(_entries(value, may_be_empty=may_be_empty)):
        found = _id(each, f"entry {position}")
        ids.setdefault(canonical_id(found), found)
    return tuple(ids.values())


def _id(value: object, part: str = "") -> str:
    try:
        return check_id(value, part)
    except AnyformatValueError as error:
        raise RejectedPartError(str(error).removeprefix(": ")) from None


def many_ids(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        raise RejectedError(
            "it is not a list, and text is never split on commas",
            'write ["a", "b"]; for one id there is DeleteFileCollectionOperator',
        )
    return ids(value)


def one_id(value: object) -> str:
    if not isinstance(value, str) and isinstance(value, Sequence | set | frozenset | dict):
        raise RejectedError("it is not one id", "for several there is DeleteFileCollectionsOperator(collection_ids=…)")
    return _id(value)


def workflows(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        return (_id(value),)
    return ids(value, may_be_empty=False)


def statuses(value: object) -> tuple[str, ...]:
    statuses = texts(value, may_be_empty=False)
    for position, status in enumerate(statuses):
        if status not in FINISHED_STATUSES:
            raise RejectedPartError(
                f"entry {position}, {shown(status)}, is not a finished status, and deleting a collection cancels its"
                ' processing; take from "processed", "error" and "cancelled"'
            )
    return statuses


def word(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value.strip() not in words:
            raise RejectedError("it is not one of the allowed values")
        return value.strip()

    return read


def text(value: object, longest: int = 250) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.strip().isprintable():
        raise RejectedError(f"it is not printable text of at most {longest} characters")
    return value.strip()


def basis(value: object) -> str:
    # A text of several lines in a file is folded into one.
    return text(" ".join(value.split()) if isinstance(value, str) else value, longest=1000)


def person(value: object) -> str:
    if isinstance(value, str) and value.strip().startswith("{"):
        # A template makes text of the XCom's dictionary, unless the DAG renders native objects.
        value = _literal(value.strip(), "it starts like a dictionary but is neither JSON nor a Python literal")
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("name", "id") if not is_null(value.get(key))), None)
    # No approval is to fail for the no-break space in a person's name.
    return text(" ".join(value.split()) if isinstance(value, str) else value)


def digest(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_DIGEST, value.strip().lower()):
        raise RejectedError("it is not a SHA-256, as the summary of the plan_only run has it")
    return value.strip().lower()


def path(value: object) -> str:
    # What has a protocol is a path of an object store, such as Airflow's ObjectStoragePath.
    text = str(value).strip() if isinstance(value, str | PurePath) or hasattr(value, "protocol") else ""
    local = re.sub(r"^file://(localhost(?=/))?", "", text)
    if not local.startswith("/") and (text.startswith("file:") or not re.fullmatch(_URL, text)):
        raise RejectedError("a relative path, and ~, mean different folders to different workers")
    if not text.isprintable() or ".." in text.split("/"):
        raise RejectedError("it has a .. or a character that cannot be printed in it")
    return text.rstrip("/") if local.strip("/") else text


def file(value: object) -> str:
    found = path(value)
    if not found.startswith("/"):
        raise RejectedError("it is not a local file")
    return found


def source(value: object) -> str:
    if str(value).strip().startswith(("http://", "https://")):
        raise RejectedError("documents are not fetched from web pages; store it first")
    return path(value)


def sources(value: object) -> str | tuple[str, ...]:
    is_one = isinstance(value, str | PurePath) and not str(value).strip().startswith(("[", "("))
    return source(value) if is_one else tuple(map(source, _list(value)))


def span(value: object) -> timedelta:
    found = re.fullmatch(_SPAN, value.strip()) if isinstance(value, str) else None
    if found is not None:
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return duration(value, "PT{}S")


def name(value: object) -> str:
    if not is_document_name(value):
        raise RejectedError("it is not a file name")
    return value
