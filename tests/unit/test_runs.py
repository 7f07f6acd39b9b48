"""A document on its way in: its name, its size, and the form in which it travels."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import HTTP

import pytest

from airflow_provider_anyformat.api.runs import LARGEST_DOCUMENT, Document, RunState, multipart
from airflow_provider_anyformat.exceptions import AnyformatValueError


@pytest.mark.parametrize("name", ["a/b.pdf", "a\nb.pdf", "a\r.pdf", "", ".", "..", "a\0.pdf", "x" * 256, "é" * 128])
def test_a_name_that_cannot_travel_is_refused(name: str) -> None:
    with pytest.raises(AnyformatValueError, match=r"^document_name: "):
        Document(name, b"x")


def test_an_empty_or_too_large_document_is_refused() -> None:
    with pytest.raises(AnyformatValueError, match=r"^document: 'a\.pdf' is empty"):
        Document("a.pdf", b"")
    with pytest.raises(AnyformatValueError, match=r"^document: 'a\.pdf' has 20971521 bytes"):
        Document("a.pdf", bytes(LARGEST_DOCUMENT + 1))
    assert len(Document("a.pdf", bytes(LARGEST_DOCUMENT)).content) == LARGEST_DOCUMENT


def test_its_content_is_not_shown() -> None:
    assert "secret" not in repr(Document("a.pdf", b"secret"))


@pytest.mark.parametrize(
    ("name", "travels", "kind"),
    [
        ("a.pdf", "a.pdf", "application/pdf"),
        ("Rechnung ü 東京.pdf", "Rechnung ü 東京.pdf", "application/pdf"),
        ('say "hi".txt', "say %22hi%22.txt", "text/plain"),
        ("no-suffix", "no-suffix", "application/octet-stream"),
        ("back\\slash;.md", "back\\slash;.md", "text/markdown"),
    ],
)
def test_the_name_travels_as_raw_utf_8(name: str, travels: str, kind: str) -> None:
    content = b"\r\n--\x00\xff"
    body, content_type = multipart("files", Document(name, content), {"on_conflict": "rename"})

    assert f'name="files"; filename="{travels}"\r\nContent-Type: {kind}\r\n\r\n'.encode() in body
    assert b"filename*" not in body
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=HTTP)
    field, file = form.iter_parts()
    assert field.get_param("name", header="content-disposition") == "on_conflict"
    assert field.get_payload() == "rename"
    assert file.get_payload(decode=True) == content


def test_what_is_finished() -> None:
    assert [RunState(word).finished for word in ("processed", "error", "cancelled", "queued", "", "verified")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
