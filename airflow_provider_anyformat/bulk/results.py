"""Results of finished runs, kept in a folder."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Protocol

from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError
from airflow_provider_anyformat.retention.folder import Folder


class WritableFolder(Folder, Protocol):
    """A folder in which files may also be replaced and removed: results are not evidence, and only the newest count."""

    def replace(self, name: str, data: bytes) -> None:
        """
        Store a file as :meth:`put` does, in the place of one of that name.

        :raises Exception: it could not be stored; the other one is still there.
        """

    def remove(self, name: str) -> None:
        """
        Remove a file.

        :raises Exception: it could not be removed.
        """


class ResultsFolder:
    """
    Keeps results as ``<workflow_id>/<collection_id>.json``, as received.

    :param folder: where to.
    """

    def __init__(self, folder: WritableFolder) -> None:
        self.folder = folder

    def check_writable(self) -> None:
        """
        Try to write, before money is spent on results that cannot be kept.

        :raises AnyformatValueError: the folder cannot be written to.
        """
        name = f".anyformat-{secrets.token_hex(8)}"
        try:
            self.folder.put(name, b"")
        # Each store has errors of its own, botocore's are not even OSErrors.
        except Exception as error:  # noqa: BLE001
            raise AnyformatValueError(
                f"results_path: {self.folder.url!a} cannot be written to ({type(error).__name__}: {error}); grant the"
                " rights, or name another folder"
            ) from None
        # Not everyone who may write may delete.
        with suppress(Exception):
            self.folder.remove(name)

    def keep(self, workflow_id: str, collection_id: str, body: bytes) -> str:
        """
        Store results, in the place of older ones, and read back that they are there.

        :return: where they are.
        :raises AnyformatStorageError: they are not safely stored.
        """
        name = f"{workflow_id}/{collection_id}.json"
        where = f"{self.folder.url}/{name}"
        try:
            self.folder.replace(name, body)
            written = self.folder.read(name)
        except Exception as error:
            raise AnyformatStorageError(
                f"results_path: the results of collection {collection_id} could not be stored in {where}:"
                f" {type(error).__name__}: {error}"
            ) from error
        if written != body:
            raise AnyformatStorageError(
                f"results_path: {where} was read back with other content: {len(written)} bytes instead of {len(body)}"
            )
        return where
