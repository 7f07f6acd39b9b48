"""Documents on their way in: where they lie, and what makes a submit of one recognisable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.api.runs import Document, check_document_size
from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import stat_result

    from airflow_provider_anyformat.api.client import AnyformatClient
    from airflow_provider_anyformat.retention.plan import Origin


class Source(Protocol):
    """A file or folder: a ``pathlib.Path``, or Airflow's ``ObjectStoragePath``."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    def exists(self) -> bool:
        """Say whether it is there."""

    def is_dir(self) -> bool:
        """Say whether it is a folder."""

    def is_file(self) -> bool:
        """Say whether it is a file."""

    def stat(self) -> stat_result:
        """Say how large it is, among others."""

    def read_bytes(self) -> bytes:
        """Return its content."""

    def iterdir(self) -> Iterator[Source]:
        """Yield what is in the folder."""


def check_source(source: Source, parameter: str = "document") -> None:
    """
    Check that a document is there and can be submitted, without reading it.

    :raises AnyformatValueError: it is missing, a folder, empty or too large.
    :raises AnyformatStorageError: its storage does not answer; a later try may succeed.
    """
    try:
        found, is_dir = source.exists(), source.is_dir()
        size = source.stat().st_size if found and not is_dir else 0
    # Each store has errors of its own, botocore's are not even OSErrors.
    except Exception as error:
        raise AnyformatStorageError(
            f"{parameter}: {shown(str(source))} could not be looked at: {type(error).__name__}: {error}"
        ) from error
    if is_dir:
        raise AnyformatValueError(f"{parameter}: {shown(str(source))} is a folder; give the path of one file")
    if not found:
        raise AnyformatValueError(f"{parameter}: there is no file {shown(str(source))}; check the path")
    check_document_size(str(source), size, parameter)


def read_document(source: Source, name: str, parameter: str = "document") -> Document:
    """
    Read a document.

    :raises AnyformatValueError: it cannot be submitted.
    :raises AnyformatStorageError: it could not be read now.
    """
    check_source(source, parameter)
    try:
        content = source.read_bytes()
    except Exception as error:
        raise AnyformatStorageError(
            f"{parameter}: {shown(str(source))} could not be read: {type(error).__name__}: {error}"
        ) from error
    check_document_size(str(source), len(content), parameter)
    return Document(name, content)


def in_folder(folder: Source, pattern: str) -> list[Source]:
    """
    Return the files of a folder whose names match a glob, by name; hidden ones only if the glob begins with a dot.

    :raises AnyformatValueError: it is not a folder, or nothing in it matches.
    """
    if not folder.is_dir():
        raise AnyformatValueError(
            f"documents: {shown(str(folder))} is not a folder; give one, or a list of paths of files"
        )
    hidden = pattern.startswith(".")
    matching = [
        one for one in folder.iterdir() if fnmatchcase(one.name, pattern) and one.name.startswith(".") == hidden
    ]
    files = sorted((one for one in matching if one.is_file()), key=lambda one: one.name)
    if not files:
        raise AnyformatValueError(
            f"pattern: {shown(pattern)} matches no file in {shown(str(folder))}; check both, or give documents=[] for"
            " none"
        )
    return files


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a document, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def idempotency_key(origin: Origin, life: int, position: int, name: str, digest: str) -> str:
    """
    Return what makes two submits the same one.

    :param life: how often the task was cleared, so that a cleared one submits anew.
    :param position: of the document in its batch, from 0.
    """
    parts = [origin.service, origin.dag_id, origin.task_id, origin.run_id, origin.map_index, name, position, digest]
    return sha256(json.dumps(parts + [life] * bool(life)).encode())


def find_submitted(
    client: AnyformatClient, workflow_id: str, names: Iterable[str], since: datetime | None
) -> dict[str, list[FileCollection]]:
    """
    Look in a workflow's listing for what an earlier try of this task submitted.

    :param names: of the documents.
    :param since: when the DAG run started; older collections are not this run's.
    :return: the rows of each name.
    :raises AnyformatError: the listing is not complete; nothing can be said then.
    """
    found: dict[str, list[FileCollection]] = {name: [] for name in names}
    for row in client.iter_file_collections(workflow_id):
        if row.name in found and (since is None or row.created_at is None or row.created_at >= since):
            found[row.name].append(row)
    return found


def the_one(rows: Sequence[FileCollection], name: str, workflow_id: str) -> str | None:
    """
    Return the id of the collection that an earlier try submitted; ``None`` where there is none.

    :raises AnyformatValueError: it cannot be told which one it is.
    """
    if not rows:
        return None
    if len(rows) > 1 or rows[0].created_at is None:
        ids = ", ".join(row.id for row in rows[:5])
        raise AnyformatValueError(
            f"document_name: {len(rows)} collections of workflow {workflow_id} are called {shown(name)} and may be the"
            f" one that an earlier try of this task submitted: {ids}. Nothing was submitted; delete those that are not"
            " needed, or clear the task to submit the document anew"
        )
    return rows[0].id
