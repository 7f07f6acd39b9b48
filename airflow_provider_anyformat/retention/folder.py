"""Where a ledger is: what it needs of a folder, and how local ones and object stores give it."""

from __future__ import annotations

import errno
import inspect
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A file that is still being written; it is never listed.
_UNFINISHED = ".unfinished-"


class Folder(Protocol):
    """
    A folder in which files are only ever added, whole.

    Names are relative to it, with ``/`` between segments; a folder on the way to a file needs no making of its own.
    """

    @property
    def url(self) -> str:
        """The folder's address, for people and for a later task."""

    def put(self, name: str, data: bytes) -> None:
        """
        Store a new file, so that it is there as a whole or not at all, and stays when the machine fails.

        :raises FileExistsError: there is one of that name; it is left as it is.
        :raises Exception: it could not be stored.
        """

    def read(self, name: str) -> bytes:
        """
        Return a file's content.

        :raises FileNotFoundError: there is none of that name.
        :raises Exception: it could not be read.
        """

    def modified(self, name: str) -> float:
        """
        Return when a file was written, in seconds since 1970.

        :raises Exception: that is unknown.
        """

    def files(self) -> Iterator[str]:
        """Yield the names of all files below this folder, in any order; none where the folder is missing."""

    def folder(self, name: str) -> Folder:
        """Return the folder ``name`` below this one, whether it is there or not."""


class LocalFolder:
    """
    A folder of this machine.

    :param path: absolute.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    @property
    def url(self) -> str:
        """The absolute path."""
        return str(self._path)

    def put(self, name: str, data: bytes) -> None:
        """Write a temporary file beside it, bring it to the disk, give it its name, which must be free."""
        self._write(name, data, _rename)

    def replace(self, name: str, data: bytes) -> None:
        """Do the same, but the name may be taken."""
        self._write(name, data, os.replace)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._path / name).unlink()

    def _write(self, name: str, data: bytes, rename: Callable[[Path, Path], None]) -> None:
        target = self._path / name
        self._make(target.parent)
        temporary = target.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            rename(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        _sync_name(target)

    def read(self, name: str) -> bytes:
        """Read a file."""
        return (self._path / name).read_bytes()

    def modified(self, name: str) -> float:
        """Ask the file system."""
        return (self._path / name).stat().st_mtime

    def files(self) -> Iterator[str]:
        """Walk the folder."""
        # By text alone: a path's object for each of a year's runs takes longer than the disk.
        below, start = [str(self._path)], len(str(self._path).rstrip("/")) + 1
        while below:
            try:
                entries = list(os.scandir(below.pop()))
            except FileNotFoundError:
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif not entry.name.startswith(_UNFINISHED):
                    yield entry.path[start:]

    def folder(self, name: str) -> LocalFolder:
        """Return a folder below."""
        return LocalFolder(self._path / name)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_name(folder)


class Interruptible:
    """
    A folder whose reader can be told to stop: a store may take long for each of many files.

    :param folder: the folder.
    :param check: called before each file is read; what it raises ends the work.
    """

    def __init__(self, folder: Folder, check: Callable[[], None]) -> None:
        self._folder = folder
        self._check = check
        self.url = folder.url
        self.put = folder.put
        self.files = folder.files

    def read(self, name: str) -> bytes:
        """Read a file."""
        self._check()
        return self._folder.read(name)

    def modified(self, name: str) -> float:
        """Ask the folder."""
        self._check()
        return self._folder.modified(name)

    def folder(self, name: str) -> Interruptible:
        """Return a folder below."""
        return Interruptible(self._folder.folder(name), self._check)


class ObjectFolder:
    """
    A folder of an object store: each file is one put of finished bytes, never a rename or a delete.

    Where the file system has conditional puts (S3, GCS), that one request is all there is, and no right to look is
    needed.

    :param fs: the store, an fsspec file system.
    :param root: the folder's path there.
    :param url: its URL, for people and for a later task.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self.url = url.rstrip("/")
        put = getattr(fs, "_pipe_file", fs.pipe_file)
        self._create = {"mode": "create"} if "mode" in inspect.signature(put).parameters else {}

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
        prefix = f"{self._root}/"
        try:
            found = self._fs.find(prefix)
        except FileNotFoundError:
            return
        for path in found:
            yield str(path).removeprefix(prefix)

    def folder(self, name: str) -> ObjectFolder:
        """Return a folder below."""
        return ObjectFolder(self._fs, self._path(name), f"{self.url}/{name}")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _rename(temporary: Path, target: Path) -> None:
    """Give a file its name, unless that is taken; ``os.rename`` would replace the other without a word."""
    try:
        os.link(temporary, target)
    except OSError as error:
        # Some file systems know no links (FAT, a few network shares).
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        temporary.rename(target)


def _sync_name(path: Path) -> None:
    """Bring the name of a new file or folder to the disk; a file whose name is lost is lost."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except PermissionError:
        # Some may add to a folder and not list it. File systems with a journal bring the name along with what it names.
        descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Not every file system can do this for a folder; there is nothing better to do.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
