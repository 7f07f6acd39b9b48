"""A local folder to which files are only ever added, whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.retention import folder as storage
from airflow_provider_anyformat.retention.folder import Folder, LocalFolder


def names(path: Path) -> list[str]:
    return sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())


def test_what_was_put_can_be_read_and_listed(tmp_path: Path) -> None:
    folder: Folder = LocalFolder(tmp_path / "new" / "ledger")
    assert list(folder.files()) == []
    folder.put("a.json", b"one")
    folder.put("deep/er/b.json", b"two")
    below = folder.folder("deep")
    below.put("c.json", b"")
    assert (folder.read("a.json"), folder.read("deep/er/b.json"), below.read("c.json")) == (b"one", b"two", b"")
    assert sorted(folder.files()) == ["a.json", "deep/c.json", "deep/er/b.json"]
    assert sorted(below.files()) == ["c.json", "er/b.json"]
    assert below.url == f"{tmp_path}/new/ledger/deep"
    with pytest.raises(FileNotFoundError):
        folder.read("none.json")


@pytest.mark.parametrize("linked", [True, False], ids=["links", "no links"])
def test_nothing_that_exists_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    if not linked:
        monkeypatch.setattr(os, "link", no_links)
    folder = LocalFolder(tmp_path)
    folder.put("a", b"first")
    with pytest.raises(FileExistsError):
        folder.put("a", b"second")
    assert names(tmp_path) == ["a"]
    assert folder.read("a") == b"first"


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    LocalFolder(tmp_path).put("deep/a", b"whole")
    assert names(tmp_path) == ["deep/a"]
    assert (tmp_path / "deep" / "a").read_bytes() == b"whole"


def test_a_link_that_fails_for_another_reason_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        LocalFolder(tmp_path).put("a", b"x")
    assert names(tmp_path) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        LocalFolder(tmp_path).put("a", "text")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_a_folder_in_the_way_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file")
    with pytest.raises(OSError, match="a"):
        LocalFolder(tmp_path / "a").put("b", b"x")
    assert (tmp_path / "a").read_bytes() == b"a file"


def test_unfinished_files_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LocalFolder(tmp_path)
    seen: list[list[str]] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(sorted(folder.files()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    folder.put("a", b"x")
    assert seen[0] == []
    assert seen[-1] == ["a"]


def test_a_file_and_its_name_reach_the_disk_before_put_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    LocalFolder(tmp_path).put("one/two/a", b"x")
    parents = [str(tmp_path), f"{tmp_path}/one"]
    assert synced[:2] == parents
    assert synced[2].startswith(f"{tmp_path}/one/two/{storage._UNFINISHED}")
    assert synced[3:] == [f"{tmp_path}/one/two"]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)], ids=["EINVAL", "EIO"])
def test_a_folder_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool
) -> None:
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    if raises:
        with pytest.raises(OSError, match="Input/output"):
            LocalFolder(tmp_path).put("a", b"x")
    else:
        LocalFolder(tmp_path).put("a", b"x")
        assert names(tmp_path) == ["a"]


@pytest.fixture
def somebody() -> Iterator[None]:
    """Root may do everything; for this test it is another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("somebody")
def test_a_folder_that_may_only_be_added_to_will_do() -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o300)
        folder = LocalFolder(root)
        folder.put("one/a", b"x")
        folder.put("b", b"y")
        with pytest.raises(PermissionError):
            list(folder.files())
        Path(root).chmod(0o700)
        assert sorted(folder.files()) == ["b", "one/a"]


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        list(LocalFolder(tmp_path).files())


RACER = """
import sys, time
from pathlib import Path
from airflow_provider_anyformat.retention.folder import LocalFolder

path, mark = sys.argv[1:]
print("ready", flush=True)
while not Path(path, "go").exists():
    time.sleep(0.001)
try:
    LocalFolder(path).put("deep/a", mark.encode() * 100_000)
except FileExistsError:
    sys.exit(1)
"""


def test_of_several_processes_one_wins(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), str(n)], stdout=subprocess.PIPE) for n in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"ready\n"
        (tmp_path / "go").touch()
        assert sorted(racer.wait(20) for racer in racers) == [0, 1, 1, 1]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert names(tmp_path) == ["deep/a", "go"]
    data = (tmp_path / "deep" / "a").read_bytes()
    assert len(data) == 100_000
    assert len(set(data)) == 1


def test_threads_may_share_a_folder(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "new")
    threads = [threading.Thread(target=folder.put, args=(f"x/y/{n}", b"%d" % n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(folder.files()) == [f"x/y/{n}" for n in range(8)]
