"""Certificates: what they say, to whom, and that they do not hide a changed ledger."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_anyformat.cli.main import main
from airflow_provider_anyformat.retention.certificate import policy_words
from airflow_provider_anyformat.retention.signing import Signer
from tests.support.book import Book

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/certificate.schema.json").read_text())
HOSTILE = "<script>alert(1)</script>|`x`"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Give a ledger in which one collection failed, and was deleted under another spelling, and a run was killed."""
    book = Book(tmp_path_factory.mktemp("ledger"), Signer(base64.b64encode(b"a" * 32).decode()))
    book.run("id-1", "id-2", outcome="failed")
    book.run("ID-1", dag_id=HOSTILE)
    book.killed("id-3", "id-4", known=["id-3"])
    return book


def certify(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["certificate", *map(str, arguments)])
    return code, *capfd.readouterr()


def as_json(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, err = certify(capfd, *arguments, "--json")
    assert err == ""
    content = json.loads(out)
    jsonschema.validate(content, SCHEMA)
    return code, content


def test_a_deleted_collection(written: Book, capfd: pytest.CaptureFixture[str]) -> None:
    code, content = as_json(capfd, written.path, "--collection", "ID-1")
    assert (code, content["whole"], content["certificate"]) == (0, True, "collection")
    collection = content["collection"]
    assert (collection["outcome"], collection["http_status"], collection["request_id"]) == ("deleted", 204, "req-1")
    assert collection["server_date"] == "Tue, 02 Jun 2026 02:00:01 GMT"
    assert [each["outcome"] for each in collection["other_records"]] == ["failed"]
    assert content["run"]["dag"] == HOSTILE
    assert content["hashes"]["summary_sha256"] in written.heads
    assert content["signature"]["file"] in content["hashes"]["files"]
    assert "self-attested" not in " ".join(content["does_not_prove"])


def test_a_collection_of_which_little_is_known(written: Book, capfd: pytest.CaptureFixture[str]) -> None:
    # A killed run speaks against what it did itself, and against nothing else.
    code, content = as_json(capfd, written.path, "--collection", "id-3")
    assert (code, content["whole"], content["run"]["closed"], content["counts"]) == (1, False, False, None)
    assert [each["problem"] for each in content["problems"]] == ["unclosed"]
    assert "self-attested" in " ".join(content["does_not_prove"])
    code, content = as_json(capfd, written.path, "--collection", "id-2")
    assert (code, content["collection"]["outcome"]) == (0, "failed")


ENDS = {"deleted": 0, "already_gone": 1, "gone_unconfirmed": 1, "failed": 2, "unknown": 2, "not_attempted": 2}
PROVEN = [
    "answered this collection's delete with HTTP 204",
    "no longer there when the run came to it",
    "did not delete the collection, or does not",
]


@pytest.mark.parametrize("chained", [True, False])
def test_what_it_proves(tmp_path: Path, capfd: pytest.CaptureFixture[str], chained: bool) -> None:
    book = Book(tmp_path / "ledger", chained=chained)
    ledger = book.begin(ENDS)
    ledger.put("held.jsonl", b'{"case":"2026-17","collection_id":"kept","workflow_id":"w-1"}\n')
    book.end(ledger, {each: each for each in ENDS})
    # What a later run finds of a deleted one is another record of it.
    book.run("deleted", outcome="already_gone")
    said: dict[str, tuple[str | None, str]] = {name: (name, PROVEN[at]) for name, at in ENDS.items()}
    said |= {"kept": ("held", "it was on hold for the case 2026-17"), ledger.name: (None, "The counts are those")}
    for name, (outcome, proven) in said.items():
        _, content = as_json(capfd, book.path, "--collection" if outcome else "--run", name)
        first, second, *chain = content["proves"]
        assert "The task purge of the DAG nightly wrote its plan" in first
        assert proven in second
        assert ["by their hashes" in each for each in chain] == [True] * chained
        assert [
            "behind its answer" in content["does_not_prove"][0],
            "self-attested" in content["does_not_prove"][1],
            "clocks" in content["does_not_prove"][2],
        ] == [True] * 3
        assert content["plan"]["policy_in_words"] == "the ids that the task was given"
        assert content["plan"]["digest"] == json.loads((book.path / ledger.name / "plan.json").read_text())["digest"]
        assert content["hashes"]["previous"] == ([] if chained else None)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", content["made_at"])
        if outcome:
            assert (content["collection"]["outcome"], content["run"]["folder"]) == (outcome, ledger.name)
            assert content["collection"]["attempts"] == (0 if outcome == "held" else 1)
        if outcome == "held":
            assert (content["collection"]["case"], content["collection"]["workflow_id"]) == ("2026-17", "w-1")


def test_a_run(written: Book, capfd: pytest.CaptureFixture[str]) -> None:
    (run,) = (path.relative_to(written.path) for path in written.path.glob("nightly/purge/-1/run-1/1/*"))
    for name in (run, f"{run}/", written.path / run):
        code, content = as_json(capfd, written.path, "--run", name)
        assert (code, content["certificate"], content["collection"]) == (0, "run", None)
        assert content["counts"]["failed"] == 2
        assert set(content["hashes"]["files"]) == {path.name for path in (written.path / run).iterdir()}


def test_what_there_is_no_certificate_for(written: Book, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "certificate.html"
    code, out, err = certify(capfd, written.path, "--collection", "id-9", "--output", output)
    assert (code, out, output.exists()) == (1, "", False)
    assert "id-9" in err
    code, out, err = certify(capfd, written.path, "--run", "nightly/none", "--output", output)
    assert (code, out, output.exists()) == (2, "", False)
    assert "nightly/none" in err


def test_a_changed_ledger_is_certified_as_such(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    book = Book(tmp_path / "ledger")
    book.run("id-1")
    book.run("id-2")
    (changed,) = book.path.glob("*/*/*/run-1/1/*/outcomes-00001.jsonl")
    changed.write_bytes(changed.read_bytes().replace(b"req-1", b"req-2"))
    for form, said in (("html", "THE LEDGER WAS CHANGED"), ("md", "**THE LEDGER WAS CHANGED")):
        code, _, _ = certify(capfd, book.path, "--collection", "id-2", "--format", form, "--output", tmp_path / form)
        assert code == 1
        assert said in (tmp_path / form).read_text()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_and_trusts_nobody(written: Book, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = certify(capfd, written.path, "--collection", "id-1")
    page = Page()
    page.feed(out)
    names = [name for name, _ in page.tags]
    assert (code, names.count("h1")) == (0, 1)
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert not [attributes for _, attributes in page.tags if {"src", "href", "onclick", "style"} & set(attributes)]
    assert not re.search(r"url\(|@import|https?://(?!api\.example)", out)
    assert HOSTILE in page.text
    assert dict(page.tags)["html"] == {"lang": "en"}
    _, markdown, _ = certify(capfd, written.path, "--collection", "id-1", "--format", "md")
    assert "<script>" not in re.sub(r"\\.", "", markdown)
    assert all(line.startswith("|") is line.endswith("|") for line in markdown.splitlines())


POLICY = {
    "older_than": "P90D",
    "reference_time": "2026-06-30T12:00:00Z",
    "age_by": "updated_at",
    "statuses": ["processed", "error"],
    "exclude_collection_ids": ["a"],
    "include_names": 0,
    "exclude_names": 2,
    "keep_last": 3,
}
BARE = POLICY | {"statuses": ["processed"], "exclude_collection_ids": [], "exclude_names": 0, "keep_last": None}
OLD, NEWEST = "processed or error collections older than", "except the newest 3 of each workflow"
ON = "by updated_at on 2026-06-30T12:00:00Z"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            POLICY,
            f"{OLD} 90 days {ON}, but not those whose names match one of 2 patterns, {NEWEST}, except 1 id on hold",
        ),
        (BARE | {"older_than": "PT129600S"}, f"processed collections older than 36 hours {ON}"),
        (
            BARE | {"older_than": "P1D", "include_names": 4, "exclude_collection_ids": ["a", "b"]},
            f"processed collections older than 1 day {ON}, whose names match one of 4 patterns, except 2 ids on hold",
        ),
        (None, "the ids that the task was given"),
    ],
)
def test_a_policy_in_words(policy: dict[str, Any] | None, words: str) -> None:
    assert policy_words(policy) == words
