"""Results that are kept before their collection is deleted."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_anyformat.exceptions import AnyformatStorageError

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.policy import PlannedRow


class Archive:
    """
    Keep collections' results as ``<workflow_id>/<collection_id>.json``, body as received.

    :param folder: where to.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def save(self, row: PlannedRow, body: bytes) -> None:
        """
        Store the results, and read back that they are there.

        A file of that name with the same content is as good, whoever wrote it and when; one with other content is left
        as it is.

        :raises AnyformatStorageError: they are not safely stored.
        """
        name = f"{row.workflow_id}/{row.collection_id}.json"
        where = f"archive_path: the results of collection {row.collection_id}"
        is_ours = False
        try:
            stored = self._read(name)
            if stored is None:
                # Another run may store the same at the same moment.
                with suppress(FileExistsError):
                    self._folder.put(name, body)
                    is_ours = True
                stored = self._folder.read(name)
        # Each store has errors of its own, botocore's are not even OSErrors; the collection stays, the others go on.
        except Exception as error:
            raise AnyformatStorageError(f"{where} could not be stored: {type(error).__name__}: {error}") from error
        if is_ours and stored != body:
            raise AnyformatStorageError(
                f"{where} was read back with other content: {len(stored)} bytes instead of {len(body)}, in"
                f" {self._folder.url}/{name}"
            )
        if stored != body:
            raise AnyformatStorageError(
                f"{where} already exist with other content, in {self._folder.url}/{name}; that file was left as it"
                " is, and the collection stays",
                retryable=False,
            )

    def _read(self, name: str) -> bytes | None:
        try:
            return self._folder.read(name)
        except FileNotFoundError:
            return None
