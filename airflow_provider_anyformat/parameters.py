"""The parameters of operators, rules and the command in one table: how each is read, and what it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from airflow_provider_anyformat.api.models import NULL_WORDS, check_id, shown
from airflow_provider_anyformat.api.runs import is_document_name
from airflow_provider_anyformat.exceptions import AnyformatValueError


class NotGiven(Enum):
    """What a parameter is when it was not given; unlike a bare ``object()`` it stays itself when it is copied."""

    NOT_GIVEN = "not given"

    def __str__(self) -> str:
        # Airflow shows it under Rendered Templates.
        return self.value


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

_CENTURY = timedelta(days=36_500)
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_DURATION = re.compile(r"P(?=.)(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T([0-9]{1,6})H)?")
_SPAN = re.compile(r"PT(?=.)(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})S)?")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+.*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _RejectedError(Exception):
    """Why a value cannot be used; the message of the error is put together where the parameter's name is known."""


def is_null(value: object) -> bool:
    """Say whether ``value`` is ``None``, blank, or a word that a missing value turns into."""
    return value is None or (isinstance(value, str) and (not value.strip() or value.strip().lower() in NULL_WORDS))


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in ("true", "false"):
        raise _RejectedError("it is neither true nor false")
    return word == "true"


def _whole(least: int, most: float = math.inf) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise _RejectedError("it is no whole number")
        if not least <= number <= most:
            raise _RejectedError("it is out of range")
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
            raise _RejectedError("it is no number; write it without a sign for per cent")
        # Said this way round, so that nan, which is neither smaller nor larger, is out of range.
        if not least <= number <= most:
            raise _RejectedError("it is out of range")
        return number

    return read


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        # pendulum's durations know months and years, and its intervals are as long as the days they lie between.
        if any(getattr(value, part, None) for part in ("months", "years", "start", "end")):
            raise _RejectedError("months, years and intervals have no fixed length")
        length = timedelta(seconds=value.total_seconds())
    elif isinstance(value, str):
        length = _iso_duration(value.strip())
    else:
        raise _RejectedError(f"it is of type {type(value).__name__}, whose unit nobody can know")
    if length <= timedelta(0):
        raise _RejectedError("it is not longer than nothing")
    if length > _CENTURY:
        raise _RejectedError("it is longer than a hundred years")
    return length


def _iso_duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is not None:
        weeks, days, hours = (int(part or 0) for part in found.groups())
        return timedelta(weeks=weeks, days=days, hours=hours)
    if re.search(r"\bdays?\b|:", text):
        raise _RejectedError("it is the text of a timedelta, which a template made: write the duration as in P30D")
    if re.fullmatch(r"P[^T]*[YM].*", text):
        raise _RejectedError("the length of months and years depends on the day")
    if re.fullmatch(r"P.*[.,MS].*", text):
        raise _RejectedError("minutes, seconds and fractions are too fine a measure")
    raise _RejectedError("it is no such duration")


def _moment(value: object) -> datetime:
    from airflow_provider_anyformat.retention.policy import CLOCK_SKEW

    moment = value
    if isinstance(value, str):
        # A bare date would read as its midnight, in nobody knows which zone.
        if len(value.strip()) < 16:
            raise _RejectedError("it is no date with time and zone; {{ data_interval_end }} gives one")
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _RejectedError("it is no ISO 8601 text") from None
    if not isinstance(moment, datetime):
        raise _RejectedError("it is no date with time and zone")
    if moment.utcoffset() is None:
        raise _RejectedError("it has no time zone: add Z or an offset, or pass an aware datetime")
    try:
        # By way of its text, so that it is no longer one of pendulum's, which are slow to compare.
        moment = datetime.fromisoformat(moment.isoformat()).astimezone(UTC)
    except OverflowError:
        raise _RejectedError("it lies outside the calendar") from None
    if moment > datetime.now(UTC) + CLOCK_SKEW:
        raise _RejectedError("it lies in the future, where everything would be old enough")
    return moment


def _list(value: object) -> Sequence[Any]:
    if isinstance(value, str):
        value = _parsed(value.strip())
    # Airflow hands over the results of mapped tasks as a lazy sequence of a class of its own.
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview | range):
        raise _RejectedError("it is no list")
    return value


def _parsed(text: str) -> object:
    if not text.startswith(("[", "(")):
        raise _RejectedError('it is no list; text is never split on commas: write ["a", "b"]')
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
        raise _RejectedError(otherwise) from None


def _texts(value: object, *, may_be_empty: bool) -> tuple[str, ...]:
    texts = tuple(_list(value))
    if not texts and not may_be_empty:
        raise _RejectedError("it is empty, and empty never means all")
    for position, text in enumerate(texts):
        if is_null(text):
            raise _RejectedError(f"entry {position} is {shown(text)}, which is what a missing value looks like")
        if not isinstance(text, str):
            raise _RejectedError(f"entry {position}, {shown(text)}, is of type {type(text).__name__} and not text")
    return tuple(dict.fromkeys(texts))


def _ids(value: object, *, may_be_empty: bool = True) -> tuple[str, ...]:
    ids = tuple(_list(value))
    if not ids and not may_be_empty:
        raise _RejectedError("it is empty, and empty never means all")
    for position, each in enumerate(ids):
        try:
            check_id(each, f"entry {position}")
        except AnyformatValueError as error:
            raise _RejectedError(str(error)) from None
    return tuple(dict.fromkeys(ids))


def _many_ids(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        raise _RejectedError(
            "it is no list; text is never split on commas. For one id there is DeleteFileCollectionOperator"
        )
    return _ids(value)


def _one_id(value: object) -> str:
    if not isinstance(value, str) and isinstance(value, Sequence | set | frozenset | dict):
        raise _RejectedError("it is not one id; for several there is DeleteFileCollectionsOperator(collection_ids=…)")
    try:
        return check_id(value, "the value")
    except AnyformatValueError as error:
        raise _RejectedError(str(error)) from None


def _workflows(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not value.strip().startswith(("[", "(")):
        value = [value]
    return _ids(value, may_be_empty=False)


def _statuses(value: object) -> tuple[str, ...]:
    from airflow_provider_anyformat.retention.policy import FINISHED_STATUSES

    statuses = _texts(value, may_be_empty=False)
    for status in statuses:
        if status not in FINISHED_STATUSES:
            raise _RejectedError(
                f"{shown(status)} is not finished, or not known: deleting a collection cancels its processing"
            )
    return statuses


def _word(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value.strip() not in words:
            raise _RejectedError("it is none of its words")
        return value.strip()

    return read


def _text(value: object, longest: int = 250) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.strip().isprintable():
        raise _RejectedError(f"it is no printable text of at most {longest} characters")
    return value.strip()


def _basis(value: object) -> str:
    # A text of several lines in a file is folded into one.
    return _text(" ".join(value.split()) if isinstance(value, str) else value, longest=1000)


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
        raise _RejectedError("it is no SHA-256; the summary of the plan_only run has it as plan_digest")
    return value.strip().lower()


def _path(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | PurePath) else ""
    local = text.removeprefix("file://") if text.startswith("file://") else text
    if not local.startswith("/") and (text.startswith("file:") or not _URL.fullmatch(text)):
        raise _RejectedError("a relative path, and ~, mean different folders to different workers")
    if not text.isprintable() or ".." in text.split("/"):
        raise _RejectedError("it has a .. or a character that cannot be printed in it")
    return text.rstrip("/") if local.strip("/") else text


def _file(value: object) -> str:
    path = _path(value)
    if not path.startswith("/"):
        raise _RejectedError("it is not a local file")
    return path


def _source(value: object) -> str:
    if str(value).strip().startswith(("http://", "https://")):
        raise _RejectedError("documents are not fetched from web pages; store it first")
    return _path(value)


def _sources(value: object) -> str | tuple[str, ...]:
    is_one = isinstance(value, str | PurePath) and not str(value).strip().startswith(("[", "("))
    return _source(value) if is_one else tuple(map(_source, _list(value)))


def _span(value: object) -> timedelta:
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return _duration(value)


def _name(value: object) -> str:
    if not is_document_name(value):
        raise _RejectedError("it is not a file name")
    return value


class Parameter(NamedTuple):
    """
    One parameter; its default stands in the signature of whatever takes it.

    :param read: makes a value out of what was given, or says why not.
    :param expects: what it takes, to stand behind "it takes".
    """

    read: Callable[[Any], Any]
    expects: str


_ID_LIST = 'a list of ids, as a list, JSON or a Python literal: ["id-1", "id-2"]'
_GLOBS = 'a list of globs on the whole name: ["invoice-*.pdf"]'
_FOLDER = "an absolute local path, file:// and such a path, or the URL of an object store: s3://bucket/folder"
_DURATIONS = 'a timedelta, or an ISO 8601 duration of weeks, days and hours: "P30D", "P2W", "P1DT12H"'
_BOOLEAN = "True or False"

_PATHS = ("archive_path", "ledger_path", "plan_path", "results_path")
_BOOLEANS = ("ignore_if_missing", "plan_only", "wait_for_completion", "deferrable", "cancel_on_kill")

PARAMETERS: Final[Mapping[str, Parameter]] = {
    **dict.fromkeys(_PATHS, Parameter(_path, _FOLDER)),
    **dict.fromkeys(_BOOLEANS, Parameter(_boolean, _BOOLEAN)),
    "anyformat_conn_id": Parameter(_text, "the id of an Airflow connection of type anyformat"),
    "collection_id": Parameter(_one_id, "one id, as text"),
    "collection_ids": Parameter(_many_ids, _ID_LIST),
    "workflow_id": Parameter(_workflows, f"one id, or {_ID_LIST}"),
    "older_than": Parameter(_duration, _DURATIONS),
    "age_by": Parameter(_word("created_at", "updated_at"), '"created_at" or "updated_at"'),
    "reference_time": Parameter(_moment, "an aware datetime, or its ISO 8601 text, that is not in the future"),
    "statuses": Parameter(_statuses, 'a list out of "processed", "error" and "cancelled"'),
    "exclude_collection_ids": Parameter(_ids, f"{_ID_LIST}; [] holds nothing"),
    "include_names": Parameter(lambda value: _texts(value, may_be_empty=False), _GLOBS),
    "exclude_names": Parameter(lambda value: _texts(value, may_be_empty=True), f"{_GLOBS}; [] holds nothing"),
    "keep_last": Parameter(_whole(0), "a whole number of at least 0"),
    **dict.fromkeys(("max_deletions", "limit"), Parameter(_count, 'a whole number of at least 1, or "unlimited"')),
    "max_deletions_percent": Parameter(_decimal(0, 100), "a number from 0 to 100"),
    "max_times_usual": Parameter(_decimal(math.nextafter(1, 2), 1_000_000), "a number above 1"),
    **dict.fromkeys(("batch_size", "max_documents"), Parameter(_whole(1, 100_000), "a whole number from 1 to 100000")),
    "plan_digest": Parameter(_digest, "64 hexadecimal digits"),
    "plan_ttl": Parameter(_duration, _DURATIONS),
    "approved_by": Parameter(_person, "a name, or the responded_by_user of an ApprovalOperator; None for nobody"),
    "basis": Parameter(_basis, "a text of at most 1000 characters: the law or the contract"),
    "holds": Parameter(_file, "the absolute path of a file of legal holds: /dags/holds.yaml"),
    "signing_conn_id": Parameter(_text, "the id of an Airflow connection whose password is an Ed25519 private key"),
    "max_workers": Parameter(_whole(1, 64), "a whole number from 1 to 64"),
    "quota_reserve": Parameter(_decimal(0, 0.9), "a number from 0 to 0.9"),
    "document": Parameter(_source, "an absolute local path, or the URL of a file in an object store"),
    "document_name": Parameter(_name, "a file name of 1 to 255 bytes without a slash or a line break"),
    "documents": Parameter(_sources, 'a list of paths of files: ["/in/a.pdf", "s3://in/b.pdf"], or one folder'),
    "pattern": Parameter(_text, 'a glob on file names: "*.pdf"'),
    "max_in_flight": Parameter(_whole(1, 1000), "a whole number from 1 to 1000"),
    "poll_interval": Parameter(_decimal(0.5, 86_400), "seconds, from 0.5 to 86400"),
    "timeout": Parameter(_span, 'a timedelta, or an ISO 8601 duration: "PT2H", "PT90S", "P1D"'),
    "on_lost_reply": Parameter(_word("fail", "resubmit"), '"fail" or "resubmit"'),
    "on_partial_failure": Parameter(_word("fail", "continue"), '"fail" or "continue"'),
}
# Airflow has nobody on record where an approval has a default answer that counts when the time is over.
MAY_BE_NULL = frozenset({"approved_by"})


def read_parameters(given: Mapping[str, object]) -> dict[str, Any]:
    """
    Read what was given, after templating.

    :param given: by parameter, out of ``PARAMETERS``.
    :return: the value of each; ``NOT_GIVEN`` stays as it is.
    :raises AnyformatValueError: one cannot be used; the message names it, its value, and what it takes.
    """
    return {name: _read(name, value) for name, value in given.items()}


def _read(name: str, value: object) -> Any:
    parameter = PARAMETERS[name]
    if value is NOT_GIVEN or (name in MAY_BE_NULL and is_null(value)):
        return NOT_GIVEN
    if is_null(value):
        raise AnyformatValueError(
            f"{name}: {shown(value)} was given, which is what a missing value looks like: an upstream task pushed"
            f" nothing, or a template's key does not exist. It takes {parameter.expects}"
        )
    try:
        return parameter.read(value)
    except _RejectedError as why:
        raise AnyformatValueError(
            f"{name}: {shown(value)} cannot be used: {why}. It takes {parameter.expects}"
        ) from None
