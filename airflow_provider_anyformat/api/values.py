"""Ids, names, statuses, and how a message shows a value."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TypeGuard

from airflow_provider_anyformat.exceptions import AnyformatValueError

FINISHED_STATUSES = frozenset({"processed", "error", "cancelled"})
KNOWN_STATUSES = FINISHED_STATUSES | {"pending", "queued", "in_progress"}
# Clock skew up to this is normal.
CLOCK_SKEW = timedelta(minutes=5)
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
# What a missing XCom or an empty database field looks like once a template has made it text.
NULL_WORDS = frozenset({"none", "null", "nan", "undefined"})
LONGEST_NAME = 255
_LONGEST_LINE = 100

_matches_id = ID_PATTERN.fullmatch
_is_bare_uuid = re.compile(r"[0-9a-f]{32}").fullmatch


def is_id(value: object) -> TypeGuard[str]:
    """Say whether ``value`` may stand in a URL as the id of a collection, a file or a workflow."""
    return type(value) is str and _matches_id(value) is not None and value.lower() not in NULL_WORDS


def check_id(value: object, field: str = "collection_id") -> str:
    """
    Return ``value`` if it is an id, else say what is wrong with it.

    An id is a ``str`` of 1 to 128 characters out of ``A-Z a-z 0-9 _ -`` and none of the words that a missing value
    turns into. Nothing is ever converted: a number or ``bytes`` that looks like an id is a mistake upstream.

    :param value: what the user gave, after templating.
    :param field: the parameter's name, for the message; default ``collection_id``.
    :raises AnyformatValueError: it is not a valid id; the message names the field, the value and a way out.
    """
    if is_id(value):
        return value
    if value is None or (isinstance(value, str) and value.strip().lower() in NULL_WORDS):
        hint = (
            "an upstream task pushed no value, or its XCom was not found: take `.output` of the task that yields the"
            " id, and name a task inside a task group with its prefix, as in `group.task`"
        )
    elif isinstance(value, str) and not value.strip():
        hint = "it is empty: take `.output` of the task that yields the id, or check the template's key"
    elif isinstance(value, bool | int | float | bytes | bytearray):
        hint = (
            f"it is of type {type(value).__name__} and is not turned into text, which might name another collection:"
            " pass the id as text (native rendering makes a number of an id such as 1e5)"
        )
    elif isinstance(value, str):
        hint = "an id is 1 to 128 characters out of A-Z a-z 0-9 _ -, such as b2c3d4e5-f6a7-8901-bcde-f12345678901"
    else:
        hint = f"it is of type {type(value).__name__}; one id as text is needed, such as `.output` of the upload task"
    raise AnyformatValueError(in_lines(f"{field}: {shown(value)} is not an id: ", hint))


def canonical_id(value: str) -> str:
    """Return an id in the form in which ids are compared: in lower case, and a UUID with its hyphens."""
    text = value.lower()
    if not _is_bare_uuid(text):
        return text
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_document_name(name: object) -> TypeGuard[str]:
    """Say whether ``name`` can be the file name of an upload: without a slash, a line break or the like."""
    if type(name) is not str or name in ("", ".", "..") or "/" in name or not name.isprintable():
        return False
    return len(name.encode("utf-8", "replace")) <= LONGEST_NAME


def in_lines(beginning: str, end: str) -> str:
    """Join the two, on a line each where one would be too long: the log's page cuts lines off."""
    fits = len(beginning) + len(end) <= _LONGEST_LINE
    return f"{beginning}{end}" if fits else f"{beginning.rstrip()}\n  {end}"


def shown(value: object, limit: int = 200) -> str:
    """Return ``value`` as a message may show it: control characters escaped, and cut after ``limit`` characters."""
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
