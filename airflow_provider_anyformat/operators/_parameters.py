"""The parameters of all operators in one table: how each is read when the task runs, its default, and what it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from airflow_provider_anyformat.api.models import NULL_WORDS, check_id, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError


class Unset(Enum):
    """What a parameter is when it was left out; unlike a bare ``object()`` it stays itself when it is copied."""

    LEFT_OUT = "left out"


LEFT_OUT: Final = Unset.LEFT_OUT

_FINISHED = ("processed", "error", "cancelled")
_CENTURY = timedelta(days=36_500)
_SKEW = timedelta(minutes=5)
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_DURATION = re.compile(r"P(?=.)(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T([0-9]{1,6})H)?")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+.*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _RefusedError(Exception):
    """Why a value cannot be used; the message of the error is put together where the parameter's name is known."""


def is_null(value: object) -> bool:
    """Say whether ``value`` is ``None``, blank, or a word that a missing value turns into."""
    return value is None or (isinstance(value, str) and (not value.strip() or value.strip().lower() in NULL_WORDS))


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in ("true", "false"):
        raise _RefusedError("it is neither true nor false")
    return word == "true"


def _whole(least: int, most: float = math.inf) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise _RefusedError("it is no whole number")
        if not least <= number <= most:
            raise _RefusedError("it is out of range")
        return number

    return read


def _count(value: object) -> int | str:
    return "unlimited" if isinstance(value, str) and value.strip() == "unlimited" else _whole(1)(value)


def _decimal(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = value
        if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
            number = float(value)
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise _RefusedError("it is no number; write it without a sign for per cent")
        # Said this way round, so that nan, which is neither smaller nor larger, is out of range.
        if not least <= number <= most:
            raise _RefusedError("it is out of range")
        return number

    return read


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        # pendulum's durations know months and years, and its intervals are as long as the days they lie between.
        if any(getattr(value, part, None) for part in ("months", "years", "start", "end")):
            raise _RefusedError("months, years and intervals have no fixed length")
        length = timedelta(seconds=value.total_seconds())
    elif isinstance(value, str):
        length = _iso_duration(value.strip())
    else:
        raise _RefusedError(f"it is of type {type(value).__name__}, whose unit nobody can know")
    if length <= timedelta(0):
        raise _RefusedError("it is not longer than nothing")
    if length > _CENTURY:
        raise _RefusedError("it is longer than a hundred years")
    return length


def _iso_duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is not None:
        weeks, days, hours = (int(part or 0) for part in found.groups())
        return timedelta(weeks=weeks, days=days, hours=hours)
    if re.search(r"\bdays?\b|:", text):
        raise _RefusedError("it is the text of a timedelta, which a template made: write the duration as in P30D")
    if re.fullmatch(r"P[^T]*[YM].*", text):
        raise _RefusedError("the length of months and years depends on the day")
    if re.fullmatch(r"P.*[.,MS].*", text):
        raise _RefusedError("minutes, seconds and fractions are too fine a measure")
    raise _RefusedError("it is no such duration")


def _moment(value: object) -> datetime:
    moment = value
    if isinstance(value, str):
        # A bare date would read as its midnight, in nobody knows which zone.
        if len(value.strip()) < 16:
            raise _RefusedError("it is no date with time and zone; {{ data_interval_end }} gives one")
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _RefusedError("it is no ISO 8601 text") from None
    if not isinstance(moment, datetime):
        raise _RefusedError("it is no date with time and zone")
    if moment.utcoffset() is None:
        raise _RefusedError("it has no time zone: add Z or an offset, or pass an aware datetime")
    try:
        # By way of its text, so that it is no longer one of pendulum's, which are slow to compare.
        moment = datetime.fromisoformat(moment.isoformat()).astimezone(UTC)
    except OverflowError:
        raise _RefusedError("it lies outside the calendar") from None
    if moment > datetime.now(UTC) + _SKEW:
        raise _RefusedError("it lies in the future, where everything would be old enough")
    return moment


def _list(value: object) -> Sequence[Any]:
    if isinstance(value, str):
        value = _parsed(value.strip())
    # Airflow hands over the results of mapped tasks as a lazy sequence of a class of its own.
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview | range):
        raise _RefusedError("it is no list")
    return value


def _parsed(text: str) -> object:
    if not text.startswith(("[", "(")):
        raise _RefusedError('it is no list; text is never split on commas: write ["a", "b"]')
    return _literal(text, "it starts like a list but is neither JSON nor a Python literal")


def _literal(text: str, otherwise: str) -> object:
    import ast
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _RefusedError(otherwise) from None


def _texts(value: object, *, may_be_empty: bool) -> tuple[str, ...]:
    texts = tuple(_list(value))
    if not texts and not may_be_empty:
        raise _RefusedError("it is empty, and empty never means all")
    for position, text in enumerate(texts):
        if is_null(text):
            raise _RefusedError(f"entry {position} is {shown(text)}, which is what a missing value looks like")
        if not isinstance(text, str):
            raise _RefusedError(f"entry {position}, {shown(text)}, is of type {type(text).__name__} and not text")
    return tuple(dict.fromkeys(texts))


def _ids(value: object, *, may_be_empty: bool = True) -> tuple[str, ...]:
    ids = tuple(_list(value))
    if not ids and not may_be_empty:
        raise _RefusedError("it is empty, and empty never means all")
    for position, each in enumerate(ids):
        try:
            check_id(each, f"entry {position}")
        except AnyformatValueError as error:
            raise _RefusedError(str(error)) from None
    return tuple(dict.fromkeys(ids))


def _many_ids(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        raise _RefusedError(
            "it is no list; text is never split on commas. For one id there is DeleteFileCollectionOperator"
        )
    return _ids(value)


def _one_id(value: object) -> str:
    if not isinstance(value, str) and isinstance(value, Sequence | set | frozenset | dict):
        raise _RefusedError("it is not one id; for several there is DeleteFileCollectionsOperator(collection_ids=…)")
    try:
        return check_id(value, "the value")
    except AnyformatValueError as error:
        raise _RefusedError(str(error)) from None


def _workflows(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        value = [value]
    return _ids(value, may_be_empty=False)


def _statuses(value: object) -> tuple[str, ...]:
    statuses = _texts(value, may_be_empty=False)
    for status in statuses:
        if status not in _FINISHED:
            raise _RefusedError(
                f"{shown(status)} is not finished, or not known: deleting a collection cancels its processing"
            )
    return statuses


def _word(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value.strip() not in words:
            raise _RefusedError("it is none of its words")
        return value.strip()

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 250 or not value.strip().isprintable():
        raise _RefusedError("it is no printable text of at most 250 characters")
    return value.strip()


def _person(value: object) -> str:
    if isinstance(value, str) and value.strip().startswith("{"):
        # A template makes text of the XCom's dictionary, unless the DAG renders native objects.
        value = _literal(value.strip(), "it starts like a dictionary and is none")
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("name", "id") if not is_null(value.get(key))), None)
    # No approval is to fail for the no-break space in a person's name.
    return _text(" ".join(value.split()) if isinstance(value, str) else value)


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value.strip().lower()):
        raise _RefusedError("it is no SHA-256; the summary of the plan_only run has it as plan_digest")
    return value.strip().lower()


def _path(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | PurePath) else ""
    local = text.removeprefix("file://") if text.startswith("file://") else text
    if not local.startswith("/") and (text.startswith("file:") or not _URL.fullmatch(text)):
        raise _RefusedError("a relative path, and ~, mean different folders to different workers")
    if not text.isprintable() or ".." in text.split("/"):
        raise _RefusedError("it has a .. or a character that cannot be printed in it")
    return text.rstrip("/") if local.strip("/") else text


class Parameter(NamedTuple):
    """
    One parameter.

    :param read: makes a value out of what was given, or says why not.
    :param words: what it takes, to stand behind "it takes".
    :param default: what it is when it was left out, as it would be read; ``LEFT_OUT`` where that means "not wanted".
    :param required: whether it may not be left out.
    :param null_is_left_out: whether a missing value is an answer, and means the same as leaving it out.
    """

    read: Callable[[Any], Any]
    words: str
    default: Any = LEFT_OUT
    required: bool = False
    null_is_left_out: bool = False


_ID_LIST = 'a list of ids, as a list, JSON or a Python literal: ["id-1", "id-2"]'
_GLOBS = 'a list of globs on the whole name: ["invoice-*.pdf"]'
_FOLDER = "an absolute local path, file:// and such a path, or the URL of an object store: s3://bucket/folder"
_DURATIONS = 'a timedelta, or an ISO 8601 duration of weeks, days and hours: "P30D", "P2W", "P1DT12H"'
_COUNTS = 'a whole number of at least 1, or "unlimited"'
_BOOLEAN = "True or False"

PARAMETERS: Final[Mapping[str, Parameter]] = {
    "anyformat_conn_id": Parameter(_text, "the id of an Airflow connection of type anyformat", "anyformat_default"),
    "collection_id": Parameter(_one_id, "one id, as text", required=True),
    "collection_ids": Parameter(_many_ids, _ID_LIST, required=True),
    "workflow_id": Parameter(_workflows, f"one id, or {_ID_LIST}", required=True),
    "ignore_if_missing": Parameter(_boolean, _BOOLEAN, default=False),
    "older_than": Parameter(_duration, _DURATIONS, required=True),
    "age_by": Parameter(_word("created_at", "updated_at"), '"created_at" or "updated_at"', "created_at"),
    "reference_time": Parameter(_moment, "an aware datetime, or its ISO 8601 text, that is not in the future"),
    "statuses": Parameter(_statuses, 'a list out of "processed", "error" and "cancelled"', ("processed",)),
    "exclude_collection_ids": Parameter(_ids, f"{_ID_LIST}; [] holds nothing", ()),
    "include_names": Parameter(lambda value: _texts(value, may_be_empty=False), _GLOBS, ()),
    "exclude_names": Parameter(lambda value: _texts(value, may_be_empty=True), f"{_GLOBS}; [] holds nothing", ()),
    "keep_last": Parameter(_whole(0), "a whole number of at least 0", 0),
    "max_deletions": Parameter(_count, _COUNTS, 1000),
    "max_deletions_percent": Parameter(_decimal(0, 100), "a number from 0 to 100", 100),
    "limit": Parameter(_count, _COUNTS, "unlimited"),
    "batch_size": Parameter(_whole(1, 100_000), "a whole number from 1 to 100000"),
    "plan_only": Parameter(_boolean, _BOOLEAN, default=False),
    "plan_path": Parameter(_path, _FOLDER, required=True),
    "plan_digest": Parameter(_digest, "64 hexadecimal digits", required=True),
    "plan_ttl": Parameter(_duration, _DURATIONS, timedelta(days=3)),
    # Airflow has nobody on record where an approval has a default answer that counts when the time is over.
    "approved_by": Parameter(
        _person, "a name, or the responded_by_user of an ApprovalOperator; None for nobody", null_is_left_out=True
    ),
    "archive_path": Parameter(_path, _FOLDER),
    "ledger_path": Parameter(_path, _FOLDER),
    "max_workers": Parameter(_whole(1, 64), "a whole number from 1 to 64", 8),
    "quota_reserve": Parameter(_decimal(0, 0.9), "a number from 0 to 0.9", 0.1),
}


def read_parameters(names: Iterable[str], values: Mapping[str, object]) -> dict[str, Any]:
    """
    Read what a task was given, after templating.

    :param names: the parameters that the operator has, out of ``PARAMETERS``.
    :param values: what was given for each; one that is missing, or ``LEFT_OUT``, was left out.
    :return: every one of ``names`` with its value or its default; ``LEFT_OUT`` for one that has neither.
    :raises AnyformatValueError: one was given and cannot be used; the message names it, its value, and what it takes.
    """
    return {name: _read(name, values.get(name, LEFT_OUT)) for name in names}


def default(name: str) -> Any:
    """Return the default of a parameter, for an operator's signature."""
    return PARAMETERS[name].default


def _read(name: str, value: object) -> Any:
    parameter = PARAMETERS[name]
    if value is LEFT_OUT or (parameter.null_is_left_out and is_null(value)):
        if parameter.required:
            raise AnyformatValueError(f"{name}: it was left out, and there is no default; it takes {parameter.words}")
        return parameter.default
    if is_null(value):
        raise AnyformatValueError(
            f"{name}: {shown(value)} was given, which is what a missing value looks like: an upstream task pushed"
            " nothing, or a template's key does not exist."
            + ("" if parameter.required else f" Leave {name} out to have its default.")
            + f" It takes {parameter.words}"
        )
    try:
        return parameter.read(value)
    except _RefusedError as why:
        raise AnyformatValueError(f"{name}: {shown(value)} cannot be used: {why}. It takes {parameter.words}") from None
