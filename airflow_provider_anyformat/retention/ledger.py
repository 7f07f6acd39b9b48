"""What happened to each id, on disk as it happens."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_anyformat.exceptions import AnyformatLedgerError
from airflow_provider_anyformat.retention.plan import (
    HELD_FILE,
    PLAN_FILE,
    ROWS_FILE,
    SUMMARY_FILE,
    Origin,
    PurgePlan,
    canonical,
    digest_of,
)
from airflow_provider_anyformat.retention.signing import SIGNATURE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyformat.retention.folder import Folder
    from airflow_provider_anyformat.retention.signing import Signer

# Beside a summary it says that the run ended with requests under way; listing a folder is enough to see it.
OPEN_FILE = "open.json"
# A kill may lose the record of this many outcomes, or of this many seconds, whichever is less.
PART_ROWS = 200
PART_SECONDS = 10.0
OUTCOMES = frozenset({"deleted", "already_gone", "gone_unconfirmed", "failed", "not_attempted", "unknown"})
GONE = frozenset({"deleted", "already_gone", "gone_unconfirmed"})

# The longest name of a file that every file system takes, with room to spare.
_LONGEST_NAME = 240


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one collection, from the reply to the row of ``outcomes-….jsonl``.

    :param collection_id: its id.
    :param workflow_id: its workflow; ``None`` where only ids were given.
    :param outcome: one of ``OUTCOMES``. Before it is written also ``missing`` (HTTP 404, not judged yet),
        ``no_results``, ``no_longer_due`` and ``not_listed``.
    :param http_status: status of the last answer, or ``None``.
    :param error_code: the envelope's, or ``None``.
    :param request_id: likewise.
    :param attempts: how many requests were sent for it.
    :param deleted_at: when the answer came, in UTC, for ``deleted``.
    :param server_date: the ``Date`` of the last answer, as sent.
    :param archived: ``"none"`` where the server said that there are no results to archive; written only then.
    :param message: why, for the log; empty where there is nothing to say. It is not written, nor are the last three.
    :param retryable: whether a later try of a failed one could succeed.
    :param fatal: whether the same would happen to every other collection.
    :param retry_after: seconds that the server asked to wait, or ``None``.
    """

    collection_id: str
    workflow_id: str | None
    outcome: str
    http_status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    attempts: int = 0
    deleted_at: str | None = None
    server_date: str | None = None
    archived: str | None = None
    message: str = ""
    retryable: bool = False
    fatal: bool = False
    retry_after: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the collection is gone, whoever deleted it."""
        return self.outcome in GONE

    def line(self) -> bytes:
        """Return the row of ``outcomes-….jsonl``."""
        row = {name: getattr(self, name) for name in _WRITTEN}
        return canonical(row if self.archived is None else row | {"archived": self.archived})


_WRITTEN = tuple(each.name for each in fields(Outcome))[:9]


class Ledger:
    """
    The record of one run, in a new folder below ``root``.

    First :meth:`write_plan`, then :meth:`record` for each outcome, with :meth:`tick` in between as often as possible,
    at the end :meth:`close`. Every file is written once and whole. All of it belongs to one thread.

    :param root: the folder that the user named.
    :param origin: which run this is.
    :param signer: signs the summary; default: it is not signed.
    :param clock: seconds that only ever grow; default ``time.monotonic``.
    """

    def __init__(
        self,
        root: Folder,
        origin: Origin,
        *,
        signer: Signer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"{run_folder(origin)}/{secrets.token_hex(4)}"
        self._folder = root.folder(self.name)
        self._clock = clock
        self._waiting: dict[str, Outcome] = {}
        self._waiting_since = 0.0
        self._parts = 0
        self._digests: dict[str, str] = {}
        # Files whose put did not return: a signal's exception, or an error, may come when all is written.
        self._in_doubt: dict[str, str] = {}
        self._signer = signer
        # What a signature was made of is what is written, also where the first attempt to write it failed.
        self._summary: bytes | None = None
        # The hashes of the earlier runs' summaries that this one names; none where they could not be looked for.
        self.previous: list[str] | None = None

    @property
    def url(self) -> str:
        """The run's own folder; ``plan_path`` and ``ledger`` of the summary."""
        return self._folder.url

    @property
    def unwritten(self) -> list[Outcome]:
        """The outcomes that no part holds yet."""
        return list(self._waiting.values())

    def write_plan(self, plan: PurgePlan) -> None:
        """
        Write the plan. A folder with a ``plan.json`` has a whole plan, because that is written last.

        :raises AnyformatLedgerError: it could not be written: nothing may be deleted.
        """
        self.put(ROWS_FILE, plan.rows_bytes())
        if plan.cases:
            self.put(HELD_FILE, plan.held_bytes())
        self.put(PLAN_FILE, plan.json_bytes())

    @property
    def summary_sha256(self) -> str | None:
        """SHA-256 of the bytes of ``summary.json``; ``None`` before :meth:`close`."""
        return self._digests.get(SUMMARY_FILE)

    def record(self, outcome: Outcome) -> None:
        """Take an outcome. A later one for the same id replaces it while it is not written, else it outranks it."""
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting[outcome.collection_id] = outcome

    def due(self) -> bool:
        """Say whether outcomes have to be written now."""
        if len(self._waiting) >= PART_ROWS:
            return True
        return bool(self._waiting) and self._clock() - self._waiting_since >= PART_SECONDS

    def tick(self) -> None:
        """
        Write what is due.

        :raises AnyformatLedgerError: it could not be written; :attr:`unwritten` still has it.
        """
        if self.due():
            self.flush()

    def flush(self) -> None:
        """
        Write every outcome taken so far.

        :raises AnyformatLedgerError: it could not be written; :attr:`unwritten` still has it.
        """
        while self._waiting:
            rows = list(self._waiting.values())[:PART_ROWS]
            # A put that failed may have stored the file all the same: its name is not used twice.
            self._parts += 1
            self.put(f"outcomes-{self._parts:05d}.jsonl", b"".join([row.line() for row in rows]))
            for row in rows:
                del self._waiting[row.collection_id]
            self._waiting_since = self._clock()

    def forget(self, outcome: Outcome) -> None:
        """Drop an outcome that was reported elsewhere."""
        self._waiting.pop(outcome.collection_id, None)

    def close(self, summary: dict[str, Any]) -> None:
        """
        Write the remaining outcomes, then ``summary.json`` with the SHA-256 of every file. Calling it twice is fine.

        :param summary: what the task returns.
        :raises AnyformatLedgerError: it could not be written; :attr:`unwritten` has the outcomes that no part holds.
        """
        self.flush()
        for name in list(self._in_doubt):
            self._is_there(name)
        if self._summary is None:
            self._summary = self._last_words(summary)
        if self._signer is not None:
            # Before the summary: a run with a summary is whole, and a killed one is not taken for tampered with.
            self.put(SIGNATURE_FILE, self._signer.sign(self._summary))
        self.put(SUMMARY_FILE, self._summary)

    def _last_words(self, summary: dict[str, Any]) -> bytes:
        content = summary | {"sha256": dict(self._digests)}
        if self._signer is not None:
            content["signed_by"] = self._signer.public_key.sha256
        if self.previous is not None:
            content["previous"] = self.previous
            content["digest"] = digest_of(content)
        return canonical(content)

    def leave_open(self) -> None:
        """
        Say, before :meth:`close`, that the fate of some ids is unknown: a later run is to settle them.

        :raises AnyformatLedgerError: it could not be written.
        """
        self.put(OPEN_FILE, b"{}\n")

    def put(self, name: str, data: bytes) -> None:
        """
        Add a file to the run's folder; one that is there already, because it was cut short before, stays as it is.

        :raises AnyformatLedgerError: it could not be written.
        """
        if name in self._digests or self._is_there(name):
            return
        self._in_doubt[name] = hashlib.sha256(data).hexdigest()
        try:
            self._folder.put(name, data)
        except Exception as error:
            raise AnyformatLedgerError(
                f"ledger_path: {name} could not be written to {self.url}: {type(error).__name__}: {error}."
                " Nothing is deleted without a record; see that the task may write there and that there is room"
            ) from error
        self._digests[name] = self._in_doubt.pop(name)

    def _is_there(self, name: str) -> bool:
        """Say whether a file in doubt was written after all, and note it if so."""
        digest = self._in_doubt.get(name)
        if digest is None:
            return False
        try:
            whole = hashlib.sha256(self._folder.read(name)).hexdigest() == digest
        except Exception:  # noqa: BLE001 - missing, or unknown
            return False
        if whole:
            self._digests[name] = digest
            del self._in_doubt[name]
        return whole


def task_folder(origin: Origin) -> str:
    """Return the folder, below the ledger's, of all runs of one task."""
    return f"{encoded(origin.dag_id)}/{encoded(origin.task_id)}"


def run_folder(origin: Origin) -> str:
    """Return the folder, below the ledger's, of one try of one run of one task."""
    return f"{task_folder(origin)}/{origin.map_index}/{encoded(origin.run_id)}/{origin.try_number}"


def encoded(name: str) -> str:
    """
    Return ``name`` as the name of one folder: other characters than ``[A-Za-z0-9_.=+-]`` percent-encoded.

    ``.`` and ``..``, which would be other folders, are encoded too. What is longer than a file system takes is cut, and
    ends in ``~`` and a part of its SHA-256.
    """
    text = quote(name, safe="=+", errors="surrogatepass").replace("~", "%7E")
    if not text.strip("."):
        text = text.replace(".", "%2E") or "_"
    if len(text) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        text = f"{text[: _LONGEST_NAME - 20]}~{digest}"
    return text
