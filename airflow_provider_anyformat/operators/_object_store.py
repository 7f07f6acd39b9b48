"""Files and folders: local ones, and those of object stores through Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyformat._airflow import ObjectStoragePath
    from airflow_provider_anyformat.retention.folder import LocalFolder


def open_folder(path: str, field: str) -> LocalFolder | ObjectFolder:
    """
    Return the folder for a ``ledger_path`` or ``archive_path``; call it in the task's main thread.

    :param path: an absolute path, ``file://…``, or any URL that ``ObjectStoragePath`` takes.
    :param field: the parameter's name, for messages.
    :raises AnyformatValueError: no installed file system knows the URL, or it names another machine's folder.
    """
    from airflow_provider_anyformat.retention.folder import LocalFolder

    root = open_path(path, field)
    # On Airflow 2.11 an ObjectStoragePath is a Path, too.
    return ObjectFolder(root) if hasattr(root, "fs") else LocalFolder(root)


def open_path(path: str, field: str) -> Path | ObjectStoragePath:
    """
    Return the file or folder that a parameter names; call it in the task's main thread.

    :param path: an absolute path, ``file://…``, or any URL that ``ObjectStoragePath`` takes.
    :param field: the parameter's name, for messages.
    :raises AnyformatValueError: no installed file system knows the URL, or it names another machine's folder.
    """
    if path.startswith("/"):
        return Path(path)
    if path.startswith("file://"):
        url = urlsplit(path)
        if url.netloc not in ("", "localhost") or "?" in path or "#" in path:
            raise AnyformatValueError(
                f"{field}: {shown(path)} is not a local folder; write file:///folder, with %3F and %23 for ? and #"
            )
        return Path(unquote(url.path))
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
            f"{field}: {shown(path)} needs a file system for {scheme}://, and no installed one works{hint}: {error}"
        ) from None
    return root


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

    def replace(self, name: str, data: bytes) -> None:
        """Store an object, new or not."""
        self._fs.pipe_file(self._path(name), data)

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._fs.rm_file(self._path(name))

    def read(self, name: str) -> bytes:
        """Read an object."""
        return bytes(self._fs.cat_file(self._path(name)))

    def modified(self, name: str) -> float:
        """Ask the store; a time without a zone may be hours off, and is not one."""
        time = self._fs.modified(self._path(name))
        if time.tzinfo is None:
            raise ValueError(f"{name} has a time without a zone")
        return float(time.timestamp())

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
