"""What one try of a batch makes of each answer, and what it takes from the try before it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_provider_anyformat.api.models import FileCollection
from airflow_provider_anyformat.api.runs import Document, RunState
from airflow_provider_anyformat.bulk import batch as batches
from airflow_provider_anyformat.bulk.batch import Batch, BatchOptions
from airflow_provider_anyformat.bulk.documents import check_source, in_folder, read_document, sha256, the_one
from airflow_provider_anyformat.bulk.manifest import Manifest, Row
from airflow_provider_anyformat.bulk.results import ResultsFolder
from airflow_provider_anyformat.bulk.submitting import STORE_KEY, DocumentRun, Try
from airflow_provider_anyformat.exceptions import (
    AnyformatBulkError,
    AnyformatClientError,
    AnyformatConnectionError,
    AnyformatError,
    AnyformatLostReplyError,
    AnyformatNoResultsError,
    AnyformatNotReadyError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatStorageError,
    AnyformatValueError,
)
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import Origin
from tests.support.workflow_runs import StateStore

ORIGIN = Origin("https://api.example", "d", "t", run_id="r")
START = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = AnyformatServerError("down", status_code=503)
STOPPED = AnyformatStoppedError("the task was told to stop")


def answered(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


class Service:
    """A client whose answers were set before; the time it sleeps does not pass."""

    max_backoff = 60.0
    submits_once = False

    def __init__(self, **answers: Any) -> None:
        self.listed: list[FileCollection] = []
        self.answers = answers
        self.asked: list[str] = []
        self.slept: list[float] = []

    def paced(self, reserve: float) -> Service:
        return self

    def sleep(self, seconds: float, purpose: str) -> None:
        self.slept.append(seconds)

    def check_stopped(self, doing: str) -> None:
        if "stopped" in self.answers:
            raise self.answers["stopped"]

    def iter_file_collections(self, workflow_id: str) -> Iterator[FileCollection]:
        yield from self.listed

    def run_workflow(self, workflow_id: str, document: Document, key: str, *, resubmit: bool) -> str:
        self.asked.append(document.name)
        return str(answered(self.answers.get(document.name, f"id-{document.name}")))

    def first_page(self, workflow_id: str) -> dict[str, str]:
        self.asked.append("page")
        return cast(dict[str, str], answered(self.answers.get("page", {})))

    def look(self, workflow_id: str, collection_id: str) -> RunState:
        self.asked.append(collection_id)
        return cast(RunState, answered(self.answers.get(collection_id, RunState("processed"))))

    def get_results(self, workflow_id: str, collection_id: str) -> bytes:
        return bytes(answered(self.answers.get("results", b"{}")))


def documents(folder: Path, number: int) -> list[Path]:
    paths = [folder / f"{each:02}.pdf" for each in range(number)]
    for path in paths:
        path.write_text(path.name)
    return paths


def row(name: str, **changes: Any) -> Row:
    return Row(f"/in/{name}", name.rpartition("/")[2], sha256(name.encode("utf-8", "surrogateescape")), **changes)


def batch(folder: Path, service: Service, *rows: Row, retry: bool = False, life: int = 0, **options: Any) -> Batch:
    """Make a try of a batch whose manifest, if there is one, has these rows."""
    given = {"max_in_flight": 100, "poll_interval": 0.0, "timeout": timedelta(hours=1), "resubmit": False} | options
    results = ResultsFolder(LocalFolder(folder / "out"))
    if rows:
        Manifest(results.folder, "wf", ORIGIN).create(list(rows), 0)
    attempt = Try(ORIGIN, life, is_retry=retry, run_started=START)
    return Batch(service, "wf", BatchOptions(results, **given), attempt)  # type: ignore[arg-type]


def listed(collection_id: str, name: str = "a.pdf", days: float | None = 1) -> FileCollection:
    return FileCollection(
        collection_id, "wf", "processed", name, None if days is None else START + timedelta(days=days)
    )


@pytest.mark.parametrize(
    ("status", "shown", "found"),
    [
        ("submitting", [], (None, None, None)),
        ("unknown", [], ("unknown", None, None)),
        ("submitting", [listed("x")], ("submitted", "x", None)),
        ("unknown", [listed("x"), listed("y", "b.pdf")], ("submitted", "x", None)),
        ("submitting", [listed("x", days=0)], ("submitted", "x", None)),
        # Another run's, and another row's.
        ("submitting", [listed("x", days=-1)], (None, None, None)),
        ("submitting", [listed("of-b")], (None, None, None)),
        ("submitting", [listed("x"), listed("y")], ("unknown", None, "document_name: 2 collections")),
        ("submitting", [listed("x", days=None)], ("unknown", None, "document_name: 1 collections")),
    ],
)
def test_submits_whose_end_was_not_noted(
    tmp_path: Path, status: str, shown: list[FileCollection], found: tuple[str | None, ...]
) -> None:
    service = Service()
    service.listed = shown
    doubtful = row("a.pdf", status=status, submitted_at=START.isoformat())
    made = batch(tmp_path, service, doubtful, row("b.pdf", status="submitted", collection_id="of-b"), retry=True)
    made.begin([])
    (again, _), (status_, collection_id, error) = made.manifest.rows, found
    assert (again.status, again.collection_id) == (status_, collection_id)
    assert (again.error or "").startswith(error or "")
    assert made._todo == ([again] if status_ is None else [])
    assert service.slept == [0.0]
    # It is on storage: a second look leaves no doubt.
    later = batch(tmp_path, service, retry=True)
    later.manifest.load()
    assert later.manifest.rows[0].status == status_


def test_names_that_several_documents_of_a_batch_have(tmp_path: Path) -> None:
    service, now = Service(), datetime.now(UTC).isoformat()
    service.listed = [listed("x")]
    twice = [row(f"{folder}/a.pdf", status="submitting", submitted_at=now) for folder in "12"]
    made = batch(tmp_path, service, *twice, row("b.pdf", status="submitting"), retry=True)
    made.begin([])
    assert [each.status for each in made.manifest.rows] == ["unknown", "unknown", None]
    assert "several documents of the batch are called 'a.pdf'" in str(made.manifest.rows[0].error)
    # The server may still have been at work on them.
    assert 4 < service.slept[0] <= 5


def test_where_a_repeated_submit_is_recognised_nothing_is_looked_for(tmp_path: Path) -> None:
    service = Service()
    service.submits_once = True
    service.listed = [listed("x")]
    made = batch(tmp_path, service, row("a.pdf", status="unknown"), retry=True)
    made.begin([])
    assert (made.manifest.rows[0].status, service.slept) == (None, [])


@pytest.mark.parametrize(
    ("error", "status", "retryable", "submitted"),
    [
        (AnyformatLostReplyError("lost", fate_unknown=True), "unknown", False, 11),
        (AnyformatConnectionError("reset", fate_unknown=True), "submitting", True, 11),
        (AnyformatServerError("down", status_code=503, retry_after=60.0), None, True, 11),
        (AnyformatClientError("bad", status_code=422), "refused", False, 11),
        # What every other submit would be told, too, ends it.
        (AnyformatServerError("down", status_code=503, retry_after=60.5), None, True, 1),
        *((AnyformatClientError("key", status_code=each), "refused", False, 1) for each in (401, 402, 403)),
    ],
)
def test_a_document_that_is_not_taken(
    tmp_path: Path, error: AnyformatError, status: str | None, retryable: bool, submitted: int
) -> None:
    paths = documents(tmp_path, 11)
    service = Service(**{"00.pdf": error})
    # One after the other.
    made = batch(tmp_path, service, max_in_flight=1)
    made.begin(paths)
    assert made.run()
    bad, *others = made.manifest.rows
    assert (bad.status, bad.error, bad.collection_id) == (status, str(error), None)
    assert (bad.finished_at is not None, bad.submitted_at is None) == (True, status is None)
    assert len([name for name in service.asked if name.endswith(".pdf") and not name.startswith("id-")]) == submitted
    assert [each.status for each in others] == ["processed" if submitted > 1 else None] * 10
    with pytest.raises(AnyformatBulkError) as caught:
        made.raise_failures()
    assert (caught.value.retryable, caught.value.retry_after) == (retryable, error.retry_after)
    first, *told = str(caught.value).splitlines()
    assert first.startswith(f"{12 - submitted} of 11 documents were not processed and stored; all are in ")
    assert told[0] == f"  {paths[0]}: {error}"
    assert told[1:2] == (
        [] if submitted > 1 else [f"  {paths[1]}: it was not submitted, because something stopped the rest"]
    )
    assert told[10:] == ([] if submitted > 1 else ["  … and 1 more"])
    summary = made.summary()
    assert (summary["processed"], summary["failed"], len(summary["collection_ids"])) == (
        submitted - 1,
        12 - submitted,
        submitted - 1,
    )


@pytest.mark.parametrize(("failing", "asked"), [([*range(19), *range(20, 39)], 40), (range(25), 20)])
def test_twenty_failures_in_a_row_end_it(tmp_path: Path, failing: Sequence[int], asked: int) -> None:
    service = Service(**{f"{number:02}.pdf": DOWN for number in failing})
    made = batch(tmp_path, service, max_in_flight=1)
    made.begin(documents(tmp_path, 40))
    assert made.run()
    assert len([name for name in service.asked if name.endswith(".pdf") and not name.startswith("id-")]) == asked
    del made.manifest.rows[10:]
    with pytest.raises(AnyformatBulkError) as caught:
        made.raise_failures()
    assert len(str(caught.value).splitlines()) == 11


@pytest.mark.parametrize("error", [AnyformatStorageError("gone"), ZeroDivisionError()])
def test_a_mistake_of_ours_ends_it(tmp_path: Path, error: Exception) -> None:
    made = batch(tmp_path, Service(**{"00.pdf": error}))
    made.begin(documents(tmp_path, 1))
    if isinstance(error, AnyformatError):
        assert made.run()
    else:
        with pytest.raises(ZeroDivisionError):
            made.run()


@pytest.mark.parametrize(
    ("answers", "asked", "ended"),
    [
        ({"page": {"x": "processed", "y": "in_progress"}}, ["page"], {"x": "processed"}),
        # The listing does not say why, and does not show every one.
        ({"page": {"x": "error", "y": "cancelled"}}, ["page", "x", "y"], {"x": "processed", "y": "processed"}),
        ({"page": {"x": "processed"}, "y": RunState("error", "why")}, ["page", "y"], {"x": "processed", "y": "error"}),
        ({"page": DOWN, "x": DOWN, "y": RunState("queued")}, ["page", "x", "y"], {}),
        ({"page": AnyformatClientError("key", status_code=401)}, ["page"], None),
        ({"x": AnyformatClientError("key", status_code=403)}, ["page", "x"], None),
        ({"x": STOPPED, "stopped": STOPPED}, ["page", "x"], None),
    ],
)
def test_a_look_at_all_in_flight(
    tmp_path: Path, answers: dict[str, Any], asked: list[str], ended: dict[str, str] | None
) -> None:
    service = Service(**answers)
    made = batch(tmp_path, service, *(row(each, status="submitted", collection_id=each) for each in "xy"))
    made.resume([])
    if ended is None:
        with pytest.raises((AnyformatClientError, AnyformatStoppedError)):
            made._look()
        assert [each.status for each in made.manifest.rows] == ["submitted"] * 2
    else:
        assert made._look() is False
        assert {each: state.status for each, (_, state) in made._ended.items()} == ended
        assert [each.collection_id for each in made.in_flight] == [each for each in "xy" if each not in ended]
    assert service.asked == asked


def test_one_in_flight_is_looked_at_alone_and_may_be_gone(tmp_path: Path) -> None:
    service = Service(x=AnyformatClientError("gone", status_code=404))
    made = batch(tmp_path, service, row("a.pdf", status="submitted", collection_id="x"))
    made.resume([])
    assert made._look() is True
    (found,) = made.manifest.rows
    assert (found.status, found.error, service.asked) == ("error", "gone", ["x"])
    assert found.finished_at is not None


@pytest.mark.parametrize(
    ("answers", "status", "error", "retryable"),
    [
        ({}, "processed", None, None),
        ({"x": RunState("error", "too blurred")}, "error", "too blurred", False),
        ({"x": RunState("cancelled")}, "cancelled", "status cancelled", False),
        ({"results": AnyformatNoResultsError("none")}, "error", "none", False),
        ({"results": AnyformatNotReadyError("not yet", retry_after=7.0)}, "submitted", "not yet", True),
        ({"results": AnyformatNotReadyError("not yet")}, "submitted", "not yet", True),
    ],
)
def test_how_a_run_ended(
    tmp_path: Path, answers: dict[str, Any], status: str, error: str | None, retryable: bool | None
) -> None:
    made = batch(tmp_path, Service(**answers), row("a.pdf", status="submitted", collection_id="x"))
    made.resume([])
    assert made.run()
    made.manifest.load()
    (found,) = made.manifest.rows
    assert (found.status, found.error, found.is_safe) == (status, error, retryable is None)
    assert (found.finished_at is None) is (retryable is True)
    if retryable is None:
        made.raise_failures()
        return
    with pytest.raises(AnyformatBulkError) as caught:
        made.raise_failures()
    assert (caught.value.retryable, caught.value.retry_after) == (
        retryable,
        getattr(answers.get("results"), "retry_after", None),
    )


def test_time_runs_from_the_submit_or_from_the_beginning_of_a_retry(tmp_path: Path) -> None:
    ago = {n: (datetime.now(UTC) - timedelta(minutes=n)).isoformat() for n in (50, 70)}
    rows = [row(f"{n}", status="submitted", collection_id=str(n), submitted_at=at) for n, at in ago.items()]
    made = batch(tmp_path, Service(), *rows)
    made.resume([])
    made.began = 0.0
    assert [each.collection_id for each in made.in_flight] == ["50"]
    now = datetime.now(UTC).timestamp()
    assert made.deadline() == pytest.approx(now + 600, abs=60)
    assert "collection 70 was not finished at the timeout" in made._unfinished(rows[1])
    made.began = now
    assert len(made.in_flight) == 2
    assert made.deadline() == pytest.approx(now + 3600, abs=60)
    made.manifest.rows = []
    assert made.deadline() == pytest.approx(now, abs=60)


def test_that_a_document_is_being_submitted_is_on_storage_before_it_is(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Watching(Service):
        def run_workflow(self, workflow_id: str, document: Document, key: str, *, resubmit: bool) -> str:
            seen.extend(json.loads(line)["status"] for line in Path(made.manifest.url).read_text().splitlines())
            return super().run_workflow(workflow_id, document, key, resubmit=resubmit)

    made = batch(tmp_path, Watching(), max_in_flight=1)
    made.begin(documents(tmp_path, 2))
    assert made.run()
    assert seen[:2] == ["submitting", None]
    assert seen[3] == "submitting"


class Pool:
    """Takes uploads and ends none."""

    def submit(self, *_: Any) -> Future[str]:
        return Future()


def test_few_are_noted_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, pool = batch(tmp_path, Service()), cast(ThreadPoolExecutor, Pool())
    paths = documents(tmp_path, 40)
    made.begin(paths)
    paths[0].write_text("other")
    made._hand_out(pool)
    assert [each.status for each in made.manifest.rows[:20]] == ["refused", *["submitting"] * 18, None]
    for left, then in ((7, 7), (6, 18)):
        for upload in list(made._uploads)[left:]:
            del made._uploads[upload]
        made._hand_out(pool)
        assert len(made._uploads) == then
    made._uploads.clear()
    monkeypatch.setattr(batches, "_LARGEST_AHEAD", 2 * len("00.pdf"))
    made._hand_out(pool)
    assert len(made._uploads) == 2


def test_what_stops_the_rest_cancels_what_has_not_begun(tmp_path: Path) -> None:
    made = batch(tmp_path, Service())
    made.begin(documents(tmp_path, 4))
    made._hand_out(cast(ThreadPoolExecutor, Pool()))
    cancelled, refused, done, waiting = made._uploads
    cancelled.cancel()
    refused.set_exception(AnyformatClientError("key", status_code=401))
    done.set_result("x")
    assert made._collect()
    assert [each.status for each in made.manifest.rows] == [None, "refused", "submitted", "submitting"]
    assert waiting.cancelled()


def test_a_stop_waits_for_what_is_being_sent_and_begins_nothing(tmp_path: Path) -> None:
    class Slow(Service):
        begun = threading.Semaphore(0)

        def run_workflow(self, *_: Any, **__: Any) -> str:
            self.begun.release()
            time.sleep(0.3)
            return "x"

        def sleep(self, seconds: float, purpose: str) -> None:
            for _ in range(6):
                assert self.begun.acquire(timeout=30)
            raise STOPPED

    made = batch(tmp_path, Slow())
    made.begin(documents(tmp_path, 8))
    with pytest.raises(AnyformatStoppedError):
        made.run()
    made.manifest.load()
    assert [each.status for each in made.manifest.rows] == ["submitted"] * 6 + [None] * 2


def test_what_is_stored_is_noted_while_others_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(Service):
        def look(self, workflow_id: str, collection_id: str) -> RunState:
            assert len(self.asked) < 1000
            noted = "processed" in Path(made.manifest.url).read_text()
            super().look(workflow_id, collection_id)
            return RunState("processed" if collection_id == "x" or noted else "queued")

    monkeypatch.setattr(batches, "_SAVES_APART", 0.0)
    made = batch(tmp_path, Waiting(), *(row(each, status="submitted", collection_id=each) for each in "xy"))
    made.resume([])
    assert made.run()


def test_no_more_than_allowed_are_in_flight(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    service = Service(**{f"id-{number:02}.pdf": RunState("queued") for number in range(5)})
    made = batch(tmp_path, service, max_in_flight=3)
    made.begin(documents(tmp_path, 5))
    assert made.run(wait=False) is False
    assert [each.status for each in made.manifest.rows] == ["submitted"] * 3 + [None] * 2
    assert caplog.messages == ["0 of 5 documents are processed and stored, 0 in flight"]


def test_documents_that_changed_or_are_not_given_again(tmp_path: Path) -> None:
    paths = documents(tmp_path, 4)
    made = batch(tmp_path, Service())
    made.begin(paths)
    paths[0].write_text("other")
    paths[3].unlink()
    made._sources.pop(str(paths[1]))
    assert made.run()
    assert [each.status for each in made.manifest.rows] == ["refused", "refused", "processed", "refused"]
    assert ["changed while" in str(each.error) for each in made.manifest.rows] == [True, False, False, False]
    assert str(made.manifest.rows[3].error).startswith("documents: there is no file")
    assert "given to an earlier try only" in str(made.manifest.rows[1].error)
    odd = tmp_path / "a\nb.pdf"
    odd.write_text("x")
    with pytest.raises(AnyformatValueError, match="its name cannot be the file name"):
        batch(tmp_path, Service()).begin([odd])


def test_a_manifest_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    manifest = Manifest(LocalFolder(tmp_path), "wf", ORIGIN)
    assert manifest.load() is False
    # A folder's name need not be UTF-8.
    rows = [row("\udcff/é.pdf")]
    manifest.create(rows, 3)
    path = Path(manifest.url)
    assert "é".encode() in path.read_bytes()
    assert (manifest.load(), manifest.life, manifest.rows) == (True, 3, rows)
    path.with_name("manifest.cleared").unlink()
    again = Manifest(LocalFolder(tmp_path), "wf", ORIGIN)
    assert (again.load(), again.life) == (True, 0)
    for content in ("no JSON", '{"document": "a", "document_name": "a", "sha256": "0"}'):
        path.write_text(content)
        with pytest.raises(AnyformatStorageError, match="cannot be read"):
            manifest.load()
    (tmp_path / "file").write_text("x")
    with pytest.raises(AnyformatValueError, match=r"cannot be written.*; grant the rights"):
        Manifest(LocalFolder(tmp_path / "file"), "wf", ORIGIN).create([], 0)


def test_a_cleared_batch_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = batch(tmp_path, Service(), row("a.pdf", status="submitted", collection_id="x"), row("b.pdf"), life=1)
    made.begin(documents(tmp_path, 2))
    assert [each.collection_id for each in made.manifest.rows] == [None, None]
    assert made.manifest.life == 1
    (told,) = caplog.messages
    assert told.endswith("leaves these collections behind: ['x']")


def test_results_that_are_not_safely_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LocalFolder(tmp_path / "out")
    results = ResultsFolder(folder)
    results.check_writable()
    assert (results.keep("wf", "x", b"{}"), list(folder.files())) == (f"{folder.url}/wf/x.json", ["wf/x.json"])
    monkeypatch.setattr(folder, "read", lambda _: b"[ ]")
    with pytest.raises(AnyformatStorageError, match="read back with other content: 3 bytes instead of 2"):
        results.keep("wf", "x", b"{}")
    (tmp_path / "file").touch()
    broken = ResultsFolder(LocalFolder(tmp_path / "file"))
    with pytest.raises(AnyformatStorageError, match="collection x could not be stored"):
        broken.keep("wf", "x", b"{}")
    with pytest.raises(AnyformatValueError, match=r"cannot be written to .* grant the rights"):
        broken.check_writable()


def test_storage_that_does_not_answer(tmp_path: Path) -> None:
    def fail() -> Any:
        raise OSError("away")

    away = {"name": "a", "exists": lambda: True, "is_dir": lambda: False}
    with pytest.raises(AnyformatStorageError, match="could not be looked at: OSError: away"):
        check_source(SimpleNamespace(**away, stat=fail))
    with pytest.raises(AnyformatStorageError, match="could not be read: OSError: away"):
        read_document(SimpleNamespace(**away, stat=lambda: SimpleNamespace(st_size=1), read_bytes=fail), "a")
    # Emptied before it is looked at, or between the look and the reading.
    for size, read in ((0, fail), (1, bytes)):
        emptied = SimpleNamespace(**away, stat=lambda size=size: SimpleNamespace(st_size=size), read_bytes=read)
        with pytest.raises(AnyformatValueError, match=r"^documents: .* is empty"):
            read_document(emptied, "a", "documents")


@pytest.mark.parametrize(
    ("attempt", "kept", "shown", "once", "found"),
    [
        ({}, {"collection_id": "k", "life": 0}, ["x"], False, "id-a.pdf"),
        ({"is_retry": True}, {"collection_id": "k", "life": 0}, ["x"], False, "k"),
        ({"is_retry": True}, {"collection_id": "k", "life": 1}, ["x"], False, "x"),
        ({"is_retry": True}, None, ["x"], False, "x"),
        ({"is_retry": True}, "odd", [], False, "id-a.pdf"),
        ({"is_retry": True}, None, ["x"], True, "id-a.pdf"),
        ({"life": 2}, {"collection_id": "k", "life": 1}, ["x"], False, "id-a.pdf leaves collection k behind"),
        ({"life": 2}, None, ["x", "y"], False, "id-a.pdf leaves collection x, y behind"),
        ({"life": 2}, None, [], False, "id-a.pdf"),
        ({"life": 2}, None, None, False, "id-a.pdf Could not"),
    ],
)
def test_one_document(
    caplog: pytest.LogCaptureFixture,
    attempt: dict[str, Any],
    kept: Any,
    shown: list[str] | None,
    once: bool,
    found: str,
) -> None:
    service, store = Service(), StateStore({STORE_KEY: kept} if kept else {})
    service.submits_once = once
    service.listed = cast(Any, Broken()) if shown is None else [listed(each) for each in shown]
    made = Try(ORIGIN, run_started=START, store=store, **attempt)
    run = DocumentRun(service, "wf", "a.pdf", lambda: Document("a.pdf", b"x"), made, resubmit=False)  # type: ignore[arg-type]
    collection_id, _, told = found.partition(" ")
    assert run.submit_once() == collection_id
    if service.asked:
        assert store[STORE_KEY] == {"collection_id": "id-a.pdf", "life": made.life}
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == bool(told)
    assert all(told in each for each in said)


class Broken:
    """A listing that breaks off."""

    def __iter__(self) -> Iterator[FileCollection]:
        raise AnyformatServerError("down")


def test_hidden_files_are_asked_for(tmp_path: Path) -> None:
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    assert [str(each.name) for each in in_folder(tmp_path, "*")] == ["a", "b"]
    assert [str(each.name) for each in in_folder(tmp_path, ".*")] == [".c"]


def test_which_of_several_cannot_be_told() -> None:
    assert the_one([], "a.pdf", "wf") is None
    assert the_one([listed("x")], "a.pdf", "wf") == "x"
    with pytest.raises(AnyformatValueError, match=r": 0, 1, 2, 3, 4\. Nothing was submitted"):
        the_one([listed(str(number)) for number in range(6)], "a.pdf", "wf")
