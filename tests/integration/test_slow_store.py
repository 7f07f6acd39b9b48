"""
A stop while thousands of rows are on their way to a store, or from it, each file of which may take a while.

What comes after the stop is counted: at 80 ms a file, 40 files are more than the four seconds that a stop may take.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.bulk import RunOptions, delete_ids, purge
from airflow_provider_anyformat.exceptions import AnyformatStoppedError
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.ledger import Outcome
from airflow_provider_anyformat.retention.plan import Guards, Origin
from airflow_provider_anyformat.retention.policy import RetentionPolicy
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.book import Book
from tests.support.sandboxes import ago, old

pytestmark = pytest.mark.untraced

ROWS = 12_000
MOST_AFTERWARDS = 8


class CountingFolder(LocalFolder):
    """
    A folder that notes what it is asked for.

    :param calls: ``put`` and ``read``, in order; shared with the folders below.
    :param act: called before each, with its number.
    """

    def __init__(self, path: Path, calls: list[str], act: Callable[[int], None]) -> None:
        super().__init__(path)
        self._calls = calls
        self._act = act

    def put(self, name: str, data: bytes) -> None:
        self._note("put")
        super().put(name, data)

    def read(self, name: str) -> bytes:
        self._note("read")
        return super().read(name)

    def folder(self, name: str) -> CountingFolder:
        return CountingFolder(Path(self.url) / name, self._calls, self._act)

    def _note(self, call: str) -> None:
        self._calls.append(call)
        self._act(len(self._calls))


class Stopped:
    """A run that is told to stop at the n-th file of its ledger."""

    def __init__(self, sandbox: Sandbox, folder: Path, at: int) -> None:
        self.calls: list[str] = []
        self.client = AnyformatClient(sandbox.key, sandbox.url, max_attempts=1)
        self.options = RunOptions(
            origin=Origin(sandbox.url, "nightly", "purge", run_id="run-1", try_number=2),
            max_workers=1,
            quota_reserve=0.1,
            ledger=CountingFolder(folder, self.calls, lambda number: self.client.stop() if number == at else None),
        )
        self._at = at

    def check(self) -> None:
        assert self.calls[self._at - 1 :], "it was never stopped"
        assert len(self.calls) - self._at <= MOST_AFTERWARDS


def test_while_what_is_not_deleted_is_recorded(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.revoke_key()
    run = Stopped(sandbox, tmp_path, at=12)
    with run.client, pytest.raises(AnyformatStoppedError):
        delete_ids(run.client, [str(uuid.uuid4()) for _ in range(ROWS)], Guards("unlimited"), run.options)
    run.check()
    assert set(run.calls) == {"put"}


# An earlier try's outcomes are read twice: for what it may have deleted, and for what it left open.
@pytest.mark.parametrize("at", [10, ROWS // 200 + 15], ids=["earlier", "settling"])
def test_while_an_earlier_try_is_read(sandbox: Sandbox, workflow: str, tmp_path: Path, at: int) -> None:
    ids = [str(uuid.uuid4()) for _ in range(ROWS)]
    killed = Book(tmp_path).begin(ids, run_id="run-1")
    for each in ids:
        killed.record(Outcome(each, workflow, "failed"))
    killed.flush()
    old(sandbox, workflow, 3)
    run = Stopped(sandbox, tmp_path, at)
    policy = RetentionPolicy(older_than=ago(0) - ago(90), reference_time=ago(0))
    with run.client, pytest.raises(AnyformatStoppedError):
        purge(run.client, [workflow], policy, Guards(), run.options)
    run.check()
    assert sandbox.requests_to("DELETE") == []
