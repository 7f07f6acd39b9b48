"""The manifest of a batch: one row per document, on storage before the first submit."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyformat.exceptions import AnyformatStorageError, AnyformatValueError
from airflow_provider_anyformat.retention.ledger import encoded

if TYPE_CHECKING:
    from airflow_provider_anyformat.bulk.results import WritableFolder
    from airflow_provider_anyformat.retention.plan import Origin

_NAME = "manifest.jsonl"
# Beside it: how often the task had been cleared when it was made.
_LIFE = "manifest.cleared"


@dataclass(slots=True)
class Row:
    """
    One document of a batch.

    :param document: where it lies.
    :param document_name: the file name that the server gets.
    :param sha256: of its content.
    :param collection_id: once it is known.
    :param status: ``None`` before the submit, ``submitting``, ``submitted``; ``processed``, ``error`` or ``cancelled``
        when the run is over; ``unknown`` where the reply to the submit was lost, ``refused`` where it was not taken.
    :param results_path: where the results are, once they are safely stored.
    :param submitted_at: ISO 8601, UTC.
    :param finished_at: likewise.
    :param error: why it did not end well, in words.
    """

    document: str
    document_name: str
    sha256: str
    collection_id: str | None = None
    status: str | None = None
    results_path: str | None = None
    submitted_at: str | None = None
    finished_at: str | None = None
    error: str | None = None

    @property
    def is_safe(self) -> bool:
        """Whether its results are safely stored."""
        return self.results_path is not None

    @property
    def is_over(self) -> bool:
        """Whether no later try can change anything."""
        return self.is_safe or self.status in ("error", "cancelled", "refused", "unknown")


_KEYS = {field.name for field in fields(Row)}


class Manifest:
    """
    The rows, and their file.

    :param folder: the results' folder; the file is below it.
    :param workflow_id: the workflow.
    :param origin: the run; all its tries share the file.
    :ivar life: how often the task had been cleared when the rows were made.
    """

    def __init__(self, folder: WritableFolder, workflow_id: str, origin: Origin) -> None:
        self._folder = folder
        run = "/".join(encoded(part) for part in (origin.dag_id, origin.run_id, origin.task_id))
        self._place = f"{workflow_id}/runs/{run}/{origin.map_index}"
        self._name = f"{self._place}/{_NAME}"
        self.rows: list[Row] = []
        self.life = 0

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"{self._folder.url}/{self._name}"

    def load(self) -> bool:
        """
        Read what an earlier try left; say whether there was anything.

        :raises AnyformatStorageError: it cannot be read, so what was submitted is unknown.
        """
        try:
            lines = self._folder.read(self._name).splitlines()
            self.rows = [_read(json.loads(line.decode("utf-8", "surrogateescape"))) for line in lines]
            with suppress(FileNotFoundError):
                self.life = int(self._folder.read(f"{self._place}/{_LIFE}"))
        except FileNotFoundError:
            return False
        # Each store has errors of its own, botocore's are not even OSErrors.
        except Exception as error:
            raise AnyformatStorageError(
                f"results_path: the manifest {self.url} cannot be read: {type(error).__name__}: {error}"
            ) from error
        return True

    def save(self) -> None:
        """
        Write all rows, in the place of those before.

        :raises AnyformatStorageError: they could not be written.
        """
        text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows)
        try:
            self._folder.replace(self._name, text.encode("utf-8", "surrogateescape"))
        except Exception as error:
            raise AnyformatStorageError(
                f"results_path: the manifest {self.url} cannot be written: {type(error).__name__}: {error}"
            ) from error

    def create(self, rows: list[Row], life: int) -> None:
        """
        Write it before anything is submitted.

        :param life: how often the task was cleared.
        :raises AnyformatValueError: the folder cannot be written to.
        """
        self.rows, self.life = rows, life
        try:
            self.save()
            # Last: if the worker dies in between, a retry treats the rows as old, and makes new ones.
            self._folder.replace(f"{self._place}/{_LIFE}", str(life).encode())
        except AnyformatStorageError as error:
            raise AnyformatValueError(f"{error}; grant the rights, or name another results_path") from None


def _read(content: dict[str, Any]) -> Row:
    if set(content) != _KEYS:
        raise ValueError(f"a row has the keys {sorted(content)}")
    return Row(**content)


def now() -> str:
    """Return the moment as a row has it."""
    return datetime.now(UTC).isoformat()
