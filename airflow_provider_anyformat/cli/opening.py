"""Local paths and URLs, for reading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.folder import LocalFolder

if TYPE_CHECKING:
    from airflow_provider_anyformat.retention.folder import Folder

# Airflow's way to name the connection in the URL, as summaries have it; here the store's own settings count.
_CONNECTION = re.compile(r"^(s3a?|gcs|gs)://[^/@]+@")


def open_ledger_folder(path: str) -> Folder:
    """
    Return a folder for reading.

    :param path: a local path, or a URL that an installed fsspec file system takes.
    :raises AnyformatValueError: no installed file system takes the URL.
    """
    local = _local(path)
    if local is not None:
        return LocalFolder(local.absolute())
    fs, root = _file_system(path, "LEDGER")
    return _FsspecFolder(fs, root, path.rstrip("/"))


def open_file(path: str, field: str) -> BinaryIO:
    """
    Open a file for reading.

    :param path: a local path, or a URL that an installed fsspec file system takes.
    :param field: what it is, for messages.
    :raises AnyformatValueError: it cannot be opened.
    """
    local = _local(path)
    try:
        if local is not None:
            return local.open("rb")
        fs, name = _file_system(path, field)
        return fs.open(name, "rb")  # type: ignore[no-any-return]
    except AnyformatValueError:
        raise
    except Exception as error:
        # Each object store has exceptions of its own; the operating system's repeat the path.
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise AnyformatValueError(f"{field}: {shown(path)} cannot be read: {reason}") from error


def _local(path: str) -> Path | None:
    if path.startswith("file://"):
        return Path(unquote(urlsplit(path).path))
    return None if "://" in path else Path(path)


def _file_system(url: str, field: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, root = fsspec.url_to_fs(_CONNECTION.sub(r"\1://", url))
    except (ImportError, ValueError) as error:
        raise AnyformatValueError(
            f"{field}: {shown(url)} needs a file system for {url.partition('://')[0]}:// that is not installed: {error}"
        ) from None
    return fs, root


class _FsspecFolder:
    """A folder of an object store that is only read."""

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self.url = url

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError(f"{name}: the command writes to no ledger")

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def modified(self, name: str) -> float:
        raise NotImplementedError(f"{name}: the command asks no file for its time")

    def files(self) -> Iterator[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(f"{self._root}/")
        except FileNotFoundError:
            return
        for path in found:
            yield str(path).removeprefix(f"{self._root}/")

    def folder(self, name: str) -> _FsspecFolder:
        return _FsspecFolder(self._fs, f"{self._root}/{name}", f"{self.url}/{name}")
