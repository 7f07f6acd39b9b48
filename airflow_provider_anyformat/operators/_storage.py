"""Ledger and archive folders: local ones, and those of object stores through Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_anyformat.api.models import shown
from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError
from airflow_provider_anyformat.retention.storage import Folder, LocalFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat._airflow import ObjectStoragePath
    from airflow_provider_anyformat.operators._deleting import Item


def open_folder(path: str, field: str) -> Folder:
    """
    Return the folder for a ``ledger_path`` or ``archive_path``; call it in the task's main thread.

    :param path: an absolute path, ``file://…``, or any URL that ``ObjectStoragePath`` takes.
    :param field: the parameter's name, for messages.
    :raises AnyformatValueError: no installed file system knows the URL, or it names another machine's folder.
    """
    if path.startswith("/"):
        return LocalFolder(path)
    if path.startswith("file://"):
        url = urlsplit(path)
        if url.netloc not in ("", "localhost") or "?" in path or "#" in path:
            raise AnyformatValueError(
                f"{field}: {shown(path)} is no local folder; write file:///folder, and a ? or # in its name as %3F or"
                " %23"
            )
        return LocalFolder(unquote(url.path))
    # Only a task that stores something in an object store needs its file system.
    from airflow_provider_anyformat._airflow import ObjectStoragePath

    scheme = path.partition("://")[0]
    try:
        root = ObjectStoragePath(path)
        root.fs  # noqa: B018 - the file system is found, and its package imported, on first use
    except (ImportError, ValueError) as error:
        # Airflow 2.11.0 sets universal-pathlib no upper bound, and does not work with its 0.3.
        install = "pip install 'apache-airflow-providers-amazon[s3fs]', on Airflow 2.11.0 also 'universal-pathlib<0.3'"
        hint = f" ({install})" if scheme in ("s3", "s3a") else ""
        raise AnyformatValueError(
            f"{field}: {shown(path)} needs a file system for {scheme}://, and there is none that works{hint}: {error}"
        ) from None
    return ObjectFolder(root)


class ObjectFolder:
    """
    A folder of an object store: each file is one put of finished bytes, never a rename or a delete.

    Where the file system has conditional puts (S3, GCS), that one request is all there is, and no right to look is
    needed.

    :param root: where it is.
    """

    def __init__(self, root: ObjectStoragePath) -> None:
        self._root = root
        self._fs: Any = root.fs
        put = getattr(self._fs, "_pipe_file", self._fs.pipe_file)
        self._create = {"mode": "create"} if "mode" in inspect.signature(put).parameters else {}

    @property
    def url(self) -> str:
        """The folder's URL."""
        return str(self._root).rstrip("/")

    def put(self, name: str, data: bytes) -> None:
        """Store a new object."""
        path = self._path(name)
        if not self._create:
            self._fs.invalidate_cache()
            if self._fs.exists(path):
                raise FileExistsError(f"{self.url}/{name} is there already")
        self._fs.pipe_file(path, data, **self._create)

    def read(self, name: str) -> bytes:
        """Read an object."""
        return bytes(self._fs.cat_file(self._path(name)))

    def files(self) -> Iterator[str]:
        """List the objects below this folder."""
        self._fs.invalidate_cache()
        prefix = self._path("").rstrip("/") + "/"
        try:
            found = self._fs.find(prefix)
        except FileNotFoundError:
            return
        for path in found:
            yield str(path).removeprefix(prefix)

    def folder(self, name: str) -> ObjectFolder:
        """Return a folder below."""
        return ObjectFolder(self._root / name)

    def _path(self, name: str) -> str:
        return str((self._root / name).path if name else self._root.path)


class FolderArchive:
    """
    Keep collections' results as ``<workflow_id>/<collection_id>.json``, body as received.

    :param folder: where to.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def save(self, item: Item, body: bytes) -> None:
        """
        Store the results, and read back that they are there.

        A file of that name with the same content is as good; one with other content is left as it is.

        :raises AnyformatStorageError: they are not safely stored.
        """
        name = f"{item.workflow_id}/{item.collection_id}.json"
        where = f"archive_path: the results of collection {item.collection_id}"
        try:
            stored = self._read(name)
            if stored is None:
                self._folder.put(name, body)
                written = self._folder.read(name)
        # Each store has errors of its own, botocore's are not even OSErrors; the collection stays, the others go on.
        except Exception as error:
            raise AnyformatStorageError(f"{where} could not be stored: {type(error).__name__}: {error}") from error
        if stored is None and written != body:
            raise AnyformatStorageError(
                f"{where} came out other than written: {len(written)} bytes instead of {len(body)}, in"
                f" {self._folder.url}/{name}"
            )
        if stored is not None and stored != body:
            raise AnyformatStorageError(
                f"{where} are there already with other content, in {self._folder.url}/{name}; that file was left as it"
                " is, and the collection stays",
                retryable=False,
            )

    def _read(self, name: str) -> bytes | None:
        try:
            return self._folder.read(name)
        except FileNotFoundError:
            return None
