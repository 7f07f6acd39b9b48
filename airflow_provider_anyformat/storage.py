"""Files and folders: local ones, and those of object stores through Airflow's ``ObjectStoragePath``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_anyformat.api.values import shown
from airflow_provider_anyformat.exceptions import AnyformatValueError

if TYPE_CHECKING:
    from airflow_provider_anyformat._airflow import ObjectStoragePath
    from airflow_provider_anyformat.retention.folder import LocalFolder, ObjectFolder


def open_folder(path: str, field: str) -> LocalFolder | ObjectFolder:
    """
    Return the folder for a ``ledger_path`` or ``archive_path``; call it in the task's main thread.

    :param path: an absolute path, ``file://…``, or any URL that ``ObjectStoragePath`` takes.
    :param field: the parameter's name, for messages.
    :raises AnyformatValueError: no installed file system knows the URL, or it names another machine's folder.
    """
    from airflow_provider_anyformat.retention.folder import LocalFolder, ObjectFolder

    root: Any = open_path(path, field)
    # On Airflow 2.11 an ObjectStoragePath is a Path, too.
    return ObjectFolder(root.fs, root.path, str(root)) if hasattr(root, "fs") else LocalFolder(root)


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
