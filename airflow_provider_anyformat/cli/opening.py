"""Local paths and URLs, for reading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.folder import LocalFolder, ObjectFolder

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
    return ObjectFolder(fs, root, path)


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
