"""``verify``: every change, cut, addition and forgery that can be found is, and nothing that was merely interrupted."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_anyformat.exceptions import AnyformatValueError
from airflow_provider_anyformat.retention.folder import LocalFolder
from airflow_provider_anyformat.retention.plan import canonical, digest_of
from airflow_provider_anyformat.retention.signing import PublicKey, Signer
from airflow_provider_anyformat.retention.verification import Report, verify
from tests.support.book import Book

SIGNER, OTHER = (Signer(base64.b64encode(seed * 32).decode()) for seed in (b"a", b"b"))


class InMemory:
    """A ledger whose bytes a test can change quickly."""

    url = "memory"

    def __init__(self, path: Path) -> None:
        self.content = {
            each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()
        }

    def read(self, name: str) -> bytes:
        return self.content[name]

    def files(self) -> Iterator[str]:
        return iter(list(self.content))

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def modified(self, name: str) -> float:
        raise NotImplementedError

    def folder(self, name: str) -> InMemory:
        raise NotImplementedError


def found(report: Report) -> set[tuple[str, str]]:
    return {(each.run.split("/")[3] if each.run else "", each.problem) for each in report.problems}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Book:
    book = Book(tmp_path_factory.mktemp("written"))
    book.run("id-1", "id-2")
    book.run("id-3")
    book.run("id-4", outcome="failed")
    book.run("id-5", dag_id="weekly")
    return book


@pytest.fixture
def book(written: Book, tmp_path: Path) -> Book:
    """Give a ledger of three runs of one task, and a fourth of another."""
    copy = Book(shutil.copytree(written.path, tmp_path / "ledger"))
    copy.heads += written.heads
    return copy


def test_a_whole_ledger(book: Book, tmp_path: Path) -> None:
    report = verify(book.root, heads=book.heads)
    assert report.as_json() == {
        "ok": True,
        "runs": 4,
        "collections": 5,
        "heads": sorted(book.heads[2:]),
        "not_chained": 0,
        "problems": [],
    }
    summaries = {path.parts[-4]: path.read_bytes() for path in book.path.rglob("summary.json")}
    assert {hashlib.sha256(data).hexdigest() for data in summaries.values()} == set(book.heads)
    previous = {run: json.loads(data)["previous"] for run, data in summaries.items()}
    assert previous == {"run-1": [], "run-2": [book.heads[0]], "run-3": [book.heads[1]], "run-4": []}
    assert "summary_sha256" not in json.loads(summaries["run-1"])
    # It may be moved as a whole, or be looked at from further up or down.
    moved = book.path.rename(tmp_path / "elsewhere")
    for folder in (moved, tmp_path, moved / "nightly/purge"):
        assert not verify(LocalFolder(folder)).problems


@pytest.mark.parametrize("signer", [None, SIGNER], ids=["unsigned", "signed"])
@pytest.mark.untraced
def test_every_single_byte_counts(tmp_path: Path, signer: Signer | None) -> None:
    book = Book(tmp_path, signer)
    book.run("id-1")
    book.run("id-2")
    key = None if signer is None else signer.public_key
    ledger = InMemory(tmp_path)
    assert not verify(ledger, public_key=key).problems
    unnoticed = []
    for name, data in ledger.content.items():
        for place in range(len(data)):
            ledger.content[name] = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            if not verify(ledger, public_key=key).problems:
                unnoticed.append((name, place))
        ledger.content[name] = data
    assert not unnoticed
    assert not verify(ledger, public_key=key).problems


def test_each_file_and_each_folder_is_missed(book: Book) -> None:
    ledger = InMemory(book.path)
    whole = dict(ledger.content)
    for name in whole:
        del ledger.content[name]
        assert verify(ledger).problems, name
        ledger.content = dict(whole)
    for folder in {name.rpartition("/")[0] for name in whole}:
        ledger.content = {name: data for name, data in whole.items() if not name.startswith(f"{folder}/")}
        report = verify(ledger, heads=book.heads)
        assert ("", "unknown_head") in found(report), folder
        # What nothing came after is missed by its hash alone.
        assert (verify(ledger).problems != []) is ("run-1" in folder or "run-2" in folder)


def edit(book: Book, run: str, name: str, change: Callable[[bytes], bytes]) -> None:
    (path,) = book.path.rglob(f"{run}/1/*/{name}")
    path.write_bytes(change(path.read_bytes()))


def forge(book: Book, run: str, change: Callable[[dict[str, Any]], object], **files: Callable[[bytes], bytes]) -> None:
    """Change files of a run and make its summary fit them, as far as one can without a key."""
    (path,) = book.path.rglob(f"{run}/1/*/summary.json")
    summary = json.loads(path.read_bytes())
    for stem, edited in files.items():
        (file,) = path.parent.glob(f"{stem}*.jsonl")
        file.write_bytes(edited(file.read_bytes()))
        summary["sha256"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    change(summary)
    path.write_bytes(canonical(summary | {"digest": digest_of(summary)}))


def nothing(summary: dict[str, Any]) -> None:
    """Leave the summary's own words as they are."""


TAMPERED: dict[str, tuple[Callable[[Book], object], set[tuple[str, str]]]] = {
    "an outcome rewritten": (
        lambda b: edit(b, "run-3", "outcomes-00001.jsonl", lambda data: data.replace(b"failed", b"deleted")),
        {("run-3", "changed")},
    ),
    "a file truncated": (
        lambda b: edit(b, "run-1", "outcomes-00001.jsonl", lambda data: data[: len(data) // 2]),
        {("run-1", "changed"), ("run-1", "no_outcome")},
    ),
    "lines reordered": (
        lambda b: edit(b, "run-1", "plan.jsonl", lambda data: b"".join(reversed(data.splitlines(keepends=True)))),
        {("run-1", "changed")},
    ),
    "a file added": (
        lambda b: (next(b.path.rglob("run-3/1/*")) / "outcomes-00002.jsonl").write_bytes(b""),
        {("run-3", "changed")},
    ),
    "a file of another name added": (
        lambda b: (next(b.path.rglob("run-3/1/*")) / "note.txt").write_bytes(b"x"),
        {("run-3", "changed")},
    ),
    "the counts of the last run": (
        lambda b: forge(b, "run-3", lambda summary: summary.update(deleted=1, failed=0)),
        {("run-3", "changed")},
    ),
    "an earlier summary, all of it fitting": (
        lambda b: forge(b, "run-1", lambda summary: summary.update(listed=99)),
        {("run-2", "cut")},
    ),
    "an outcome taken out, all of it fitting": (
        lambda b: forge(b, "run-3", nothing, outcomes=lambda data: b""),
        {("run-3", "changed"), ("run-3", "no_outcome")},
    ),
    "an outcome of an id that no plan has": (
        lambda b: forge(b, "run-3", nothing, outcomes=lambda data: data + data.replace(b"id-4", b"id-9")),
        {("run-3", "unplanned_outcome")},
    ),
    "another row in the plan, all of it fitting": (
        lambda b: forge(b, "run-3", nothing, plan=lambda data: data.replace(b"id-4", b"id-9")),
        {("run-3", each) for each in ("plan_digest", "unplanned_outcome", "no_outcome", "changed")},
    ),
    "the chain's link taken out": (
        lambda b: forge(b, "run-2", lambda summary: summary.pop("previous")),
        {("run-3", "cut")},
    ),
    "another plan named": (
        lambda b: forge(b, "run-3", lambda summary: summary.update(plan_digest="0" * 64)),
        {("run-3", "plan_digest")},
    ),
    "another folder named": (
        lambda b: forge(b, "run-3", lambda summary: summary.update(ledger="/elsewhere")),
        {("run-3", "changed")},
    ),
    "a line that is not an outcome": (
        lambda b: forge(b, "run-3", nothing, outcomes=lambda data: data + b"[]\n"),
        {("run-3", "changed")},
    ),
    "an outcome that there is not": (
        lambda b: forge(b, "run-3", nothing, outcomes=lambda data: data.replace(b"failed", b"kept")),
        {("run-3", "changed")},
    ),
    "the same summary, written otherwise": (
        lambda b: edit(b, "run-3", "summary.json", lambda data: json.dumps(json.loads(data), indent=1).encode()),
        {("run-3", "changed")},
    ),
    "the summary's digest taken out": (
        lambda b: edit(
            b,
            "run-3",
            "summary.json",
            lambda data: canonical({key: value for key, value in json.loads(data).items() if key != "digest"}),
        ),
        {("run-3", "changed")},
    ),
    "a link that is not a hash": (
        lambda b: forge(b, "run-3", lambda summary: summary["previous"].append(1)),
        {("run-3", "changed")},
    ),
    "the plan's rows taken out, all of it fitting": (
        lambda b: (
            forge(b, "run-3", lambda summary: summary["sha256"].pop("plan.jsonl")),
            next(b.path.rglob("run-3/1/*/plan.jsonl")).unlink(),
        ),
        {("run-3", each) for each in ("missing", "unplanned_outcome", "changed")},
    ),
    "a signature without a key": (
        lambda b: (next(b.path.rglob("run-3/1/*")) / "summary.sig").write_bytes(b"x" * 64),
        {("run-3", "changed")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_tampered_with(book: Book, case: str) -> None:
    tamper, expected = TAMPERED[case]
    tamper(book)
    assert found(verify(book.root)) == expected


NOT_ATTEMPTED = {"a": "deleted", "b": "not_attempted", "g": "gone_unconfirmed", "u": "unknown"}


@pytest.mark.parametrize(
    ("counted", "problems"),
    [
        # A run that had to end counts what it did not come to, and has no outcome of it.
        (3, set()),
        (2, {"no_outcome"}),
        (4, {"changed"}),
        (0, {"no_outcome", "changed"}),
    ],
)
def test_what_a_run_did_not_come_to(tmp_path: Path, counted: int, problems: set[str]) -> None:
    book = Book(tmp_path)
    ledger = book.begin([*NOT_ATTEMPTED, "c", "d"])
    book.end(ledger, NOT_ATTEMPTED, already_gone=1, not_attempted=counted)
    report = verify(book.root)
    assert {each.problem for each in report.problems} == problems
    if counted == 3:
        forge(book, "run-1", lambda summary: summary.update(not_attempted=1, kept={"no_results": 1, "not_listed": 1}))
        assert not verify(book.root).problems


def test_many_ids_are_not_all_named(book: Book) -> None:
    more = b"".join(canonical({"collection_id": f"x{n}", "outcome": "deleted"}) for n in range(7))
    forge(book, "run-3", nothing, outcomes=lambda data: data + more)
    (problem,) = verify(book.root).problems
    assert problem.detail == "it has an outcome of x0, x1, x2, x3, x4 and 2 more, which no plan has"


def test_two_runs_that_changed_places(book: Book) -> None:
    first, second = (next(book.path.rglob(f"run-{n}")) for n in (1, 2))
    first.rename(book.path / "aside")
    second.rename(first)
    (book.path / "aside").rename(second)
    assert found(verify(book.root)) == {("run-1", "changed"), ("run-2", "changed")}


def test_a_head_that_is_not_there(book: Book) -> None:
    assert found(verify(book.root, heads=["0" * 64, book.heads[0]])) == {("", "unknown_head")}


def test_parallel_runs_are_no_fork_to_fear(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.run("id-1")
    both = [book.begin([f"id-{each}"], map_index=each) for each in (2, 3)]
    for each, ledger in zip((2, 3), both, strict=True):
        book.end(ledger, {f"id-{each}": "deleted"})
    assert verify(book.root).heads == sorted(book.heads[1:])
    book.run("id-4", map_index=3)
    report = verify(book.root)
    assert (report.problems, report.heads) == ([], book.heads[3:])


def test_runs_of_the_first_release_are_not_chained_but_vouched_for(tmp_path: Path) -> None:
    book = Book(tmp_path, chained=False)
    for number in range(40):
        book.run(f"id-{number}")
    report = verify(book.root)
    assert (report.as_json()["ok"], report.not_chained, len(report.heads)) == (True, 40, 40)
    book.chained = True
    book.run("id-new")
    report = verify(book.root)
    assert (report.problems, report.not_chained, report.heads) == ([], 40, book.heads[40:])
    forge(book, "run-7", lambda summary: summary.update(listed=99))
    assert found(verify(book.root)) == {("run-41", "cut")}


def test_a_killed_run_is_unclosed(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.run("id-1")
    book.killed("id-2", "id-3", known=["id-2"])
    book.run("id-4")
    report = verify(book.root)
    assert found(report) == {("run-2", "unclosed")}
    assert (report.runs, report.collections) == (3, 3)
    next(tmp_path.rglob("run-2/1/*/plan.json")).unlink()
    assert found(verify(book.root)) == {("run-2", each) for each in ("unclosed", "missing", "unplanned_outcome")}
    # Killed while it wrote its plan: nothing was deleted.
    next(tmp_path.rglob("run-2/1/*/outcomes-00001.jsonl")).unlink()
    assert verify(book.root).as_json()["ok"]


def test_signatures(tmp_path: Path) -> None:
    book = Book(tmp_path, SIGNER)
    for number in (1, 2, 3):
        book.run(f"id-{number}")
    assert not verify(book.root).problems
    assert not verify(book.root, public_key=SIGNER.public_key).problems
    # Another key, and no signature any more.
    assert found(verify(book.root, public_key=OTHER.public_key)) == {(f"run-{n}", "signature") for n in (1, 2, 3)}
    forge(book, "run-3", lambda summary: summary.update(listed=99))
    assert not verify(book.root).problems
    assert found(verify(book.root, public_key=SIGNER.public_key)) == {("run-3", "signature")}
    forge(book, "run-3", lambda summary: summary.pop("signed_by"))
    next(tmp_path.rglob("run-3/1/*/summary.sig")).unlink()
    assert not verify(book.root).problems
    assert found(verify(book.root, public_key=SIGNER.public_key)) == {("run-3", "signature")}
    next(tmp_path.rglob("run-2/1/*/summary.sig")).unlink()
    assert found(verify(book.root)) == {("run-2", "signature")}


def test_signing_may_begin_late(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.run("id-1")
    book.signer = SIGNER
    book.run("id-2")
    assert not verify(book.root, public_key=SIGNER.public_key).problems
    book.signer = None
    book.run("id-3")
    assert found(verify(book.root, public_key=SIGNER.public_key)) == {("run-3", "signature")}


def test_a_ledger_that_is_being_written(book: Book) -> None:
    """A run that closes between the listing and the look at it explains itself."""

    class Growing(LocalFolder):
        looks = 0

        def files(self) -> Iterator[str]:
            # The first look misses the run before the last, as a slow walk may.
            self.looks += 1
            names = list(super().files())
            yield from (name for name in names if self.looks > 1 or "run-2/" not in name)

    assert not verify(Growing(book.path)).problems


@pytest.mark.parametrize("name", ["missing", "empty", "a file"])
def test_what_is_not_a_ledger(tmp_path: Path, name: str) -> None:
    if name == "empty":
        (tmp_path / name).mkdir()
    elif name == "a file":
        (tmp_path / name).write_text("x")
    with pytest.raises(AnyformatValueError, match=r"LEDGER: .* (has no run in it|cannot be read)"):
        verify(LocalFolder(tmp_path / name))


def test_keys(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = private.public_key()
    public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.replace("\n", "\\n"), base64.b64encode(b"a" * 32).decode()):
        assert Signer(secret).public_key.sha256 == SIGNER.public_key.sha256
    for data in (public_pem, public.public_bytes_raw(), base64.b64encode(public.public_bytes_raw()) + b"\n"):
        assert PublicKey.read(data, "key").sha256 == SIGNER.public_key.sha256
    for bad in (None, "", "secret", pem[:-40], base64.b64encode(b"a" * 31).decode()):
        with pytest.raises(AnyformatValueError, match="signing_conn_id") as raised:
            Signer(bad)
        assert not bad or bad not in str(raised.value)
    for bad_key in (b"", b"x", pem.encode()):
        with pytest.raises(AnyformatValueError, match="--public-key: key"):
            PublicKey.read(bad_key, "key")
