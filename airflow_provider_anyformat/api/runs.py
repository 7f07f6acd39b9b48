"""A document on its way in, and how its run stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_anyformat.api.values import FINISHED_STATUSES, LONGEST_NAME, is_document_name, shown
from airflow_provider_anyformat.exceptions import AnyformatValueError

# What the server takes; it refuses the rest only after the upload.
LARGEST_DOCUMENT = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """
    A document to submit.

    :param name: the file name that the server gets.
    :param content: its bytes, 1 to 20 MiB.
    :raises AnyformatValueError: the name has a ``/`` or a line break, or the content is empty or too large.
    """

    name: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not is_document_name(self.name):
            raise AnyformatValueError(
                f"document_name: {shown(self.name)} is not a file name; give one of 1 to {LONGEST_NAME} bytes without"
                " a slash or a line break"
            )
        check_document_size(self.name, len(self.content))


def check_document_size(what: str, size: int, parameter: str = "document") -> None:
    """
    Check that a document is neither empty nor larger than the server takes.

    :raises AnyformatValueError: it is.
    """
    if not size:
        raise AnyformatValueError(f"{parameter}: {shown(what)} is empty; submit a document with content")
    if size > LARGEST_DOCUMENT:
        raise AnyformatValueError(
            f"{parameter}: {shown(what)} has {size} bytes, and anyformat takes at most {LARGEST_DOCUMENT} (20 MiB);"
            " split or compress it"
        )


@dataclass(frozen=True, slots=True)
class RunState:
    """
    How the processing of a collection stands.

    :param status: ``processed``, ``error`` or ``cancelled`` when it is over; else a word of the server's.
    :param detail: what the server says of a run that did not end well; empty where it says nothing.
    """

    status: str
    detail: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in FINISHED_STATUSES


def multipart(part: str, document: Document, fields: dict[str, str]) -> tuple[bytes, str]:
    """
    Encode an upload as ``multipart/form-data``; the file name travels as raw UTF-8 (RFC 7578 section 5.1.1).

    ``urllib3`` before 2.0 would write ``filename*=``, which that section forbids.

    :return: the body and the ``Content-Type``.
    """
    import mimetypes
    import secrets

    boundary = secrets.token_hex(16)
    kind = mimetypes.guess_type(document.name)[0] or "application/octet-stream"
    name = document.name.replace('"', "%22")
    texts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = (
        f'{"".join(texts)}--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    body = b"".join([head.encode(), document.content, f"\r\n--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"
