"""Where a ledger lies: what it needs of a folder, and how a local one gives it."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A file that is still being written; whoever lists a folder never sees it.
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

        :raises Exception: nobody can tell.
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
