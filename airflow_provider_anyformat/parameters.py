"""The parameters of operators, rules and the command in one table: how each is read, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from airflow_provider_anyformat import readers
from airflow_provider_anyformat.api.values import in_lines, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError


class NotGiven(Enum):
    """What a parameter is when it was not given; unlike a bare ``object()`` it stays itself when it is copied."""

    NOT_GIVEN = "not given"

    def __str__(self) -> str:
        # Airflow shows it under Rendered Templates.
        return self.value


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


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
    **dict.fromkeys(_PATHS, Parameter(readers.path, _FOLDER)),
    **dict.fromkeys(_BOOLEANS, Parameter(readers.boolean, _BOOLEAN)),
    "anyformat_conn_id": Parameter(readers.text, "the id of an Airflow connection of type anyformat"),
    "collection_id": Parameter(readers.one_id, "one id, as text"),
    "collection_ids": Parameter(readers.many_ids, _ID_LIST),
    "workflow_id": Parameter(readers.workflows, f"one id, or {_ID_LIST}"),
    "older_than": Parameter(readers.duration, _DURATIONS),
    "age_by": Parameter(readers.word("created_at", "updated_at"), '"created_at" or "updated_at"'),
    "reference_time": Parameter(readers.moment, "an aware datetime, or its ISO 8601 text, that is not in the future"),
    "statuses": Parameter(readers.statuses, 'a list out of "processed", "error" and "cancelled"'),
    "exclude_collection_ids": Parameter(readers.ids, f"{_ID_LIST}; [] holds nothing"),
    "include_names": Parameter(lambda value: readers.texts(value, may_be_empty=False), _GLOBS),
    "exclude_names": Parameter(lambda value: readers.texts(value, may_be_empty=True), f"{_GLOBS}; [] holds nothing"),
    "keep_last": Parameter(readers.whole(0), "a whole number of at least 0"),
    **dict.fromkeys(
        ("max_deletions", "limit"), Parameter(readers.count, 'a whole number of at least 1, or "unlimited"')
    ),
    "max_deletions_percent": Parameter(readers.decimal(0, 100), "a number from 0 to 100"),
    "max_times_usual": Parameter(readers.decimal(math.nextafter(1, 2), 1_000_000), "a number above 1"),
    **dict.fromkeys(
        ("batch_size", "max_documents"), Parameter(readers.whole(1, 100_000), "a whole number from 1 to 100000")
    ),
    "plan_digest": Parameter(readers.digest, "64 hexadecimal digits"),
    "plan_ttl": Parameter(readers.duration, _DURATIONS),
    "approved_by": Parameter(
        readers.person, "a name, or the responded_by_user of an ApprovalOperator; None where no name is on record"
    ),
    "basis": Parameter(readers.basis, "a text of at most 1000 characters: the law or the contract"),
    "holds": Parameter(readers.file, "the absolute path of a file of legal holds: /dags/holds.yaml"),
    "signing_conn_id": Parameter(
        readers.text, "the id of an Airflow connection whose password is an Ed25519 private key"
    ),
    "max_workers": Parameter(readers.whole(1, 64), "a whole number from 1 to 64"),
    "quota_reserve": Parameter(readers.decimal(0, 0.9), "a number from 0 to 0.9"),
    "document": Parameter(readers.source, "an absolute local path, or the URL of a file in an object store"),
    "document_name": Parameter(readers.name, "a file name of 1 to 255 bytes without a slash or a line break"),
    "documents": Parameter(readers.sources, 'a list of paths of files: ["/in/a.pdf", "s3://in/b.pdf"], or one folder'),
    "pattern": Parameter(readers.text, 'a glob on file names: "*.pdf"'),
    "max_in_flight": Parameter(readers.whole(1, 1000), "a whole number from 1 to 1000"),
    "poll_interval": Parameter(readers.decimal(0.5, 86_400), "seconds, from 0.5 to 86400"),
    "timeout": Parameter(readers.span, 'a timedelta, or an ISO 8601 duration: "PT2H", "PT90S", "P1D"'),
    "on_lost_reply": Parameter(readers.word("fail", "resubmit"), '"fail" or "resubmit"'),
    "on_partial_failure": Parameter(readers.word("fail", "continue"), '"fail" or "continue"'),
}
# Airflow records no name where an approval's default answer counts after the timeout.
MAY_BE_NULL = frozenset({"approved_by"})


def read_parameters(given: Mapping[str, object]) -> dict[str, Any]:
    """
    Read what was given, after templating.

    :param given: by parameter, out of ``PARAMETERS``.
    :return: the value of each; ``NOT_GIVEN`` stays as it is.
    :raises AnyformatValueError: one cannot be used; the message names it, its value, and what it takes.
    """
    return {name: _read(name, value) for name, value in given.items()}


def one_workflow(ids: tuple[str, ...]) -> str:
    """
    Return the workflow through which a document goes.

    :raises AnyformatValueError: it is not one.
    """
    if len(ids) != 1:
        raise AnyformatValueError(
            f"workflow_id: {shown(list(ids))} is more than one workflow; give one, and map the task over the others"
        )
    return ids[0]


def _read(name: str, value: object) -> Any:
    parameter = PARAMETERS[name]
    if value is NOT_GIVEN or (name in MAY_BE_NULL and readers.is_null(value)):
        return NOT_GIVEN
    if readers.is_null(value):
        raise AnyformatValueError(
            f"{name}: {shown(value)} was given, which is what a missing value looks like:\n  an upstream task pushed"
            f" nothing, or a template's key does not exist. It takes {parameter.expects}"
        )
    try:
        return parameter.read(value)
    except readers.RejectedError as why:
        way_out = why.way_out or f"it takes {parameter.expects}"
        raise AnyformatValueError(in_lines(f"{name}: {shown(value)} cannot be used: {why}; ", way_out)) from None
    except readers.RejectedPartError as sentence:
        raise AnyformatValueError(f"{name}: {sentence}") from None
