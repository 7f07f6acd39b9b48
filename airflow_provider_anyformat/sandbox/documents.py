"""Rules for documents that come in, and the shape of the results that go out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastapi import UploadFile

    from airflow_provider_anyformat.sandbox.rows import Row

MOST_BYTES = 20 * 1024 * 1024
#: Of one document packet.
MOST_FILES = 100
_TYPES = (
    "bmp csv doc docx eml epub gif htm html jpeg jpg markdown md mp3 msg odt pdf png ppt pptx rtf tiff txt wav xls xlsx"
)
#: What the vendor's SDK 0.7 calls a document that was given as text.
TEXT_NAME = "text-input.txt"


class Document(NamedTuple):
    """One uploaded document."""

    name: str
    size: int
    sha256: str

    @property
    def problem(self) -> str:
        """Why it is not accepted; empty where it is. A name without a suffix is accepted: the SDK sends such names."""
        suffix = self.name.rpartition(".")[2].lower() if "." in self.name else ""
        if suffix and suffix not in _TYPES.split():
            return f"Files of the type {suffix!r} are not supported."
        return f"A file has {MOST_BYTES:,} bytes at most; this one has {self.size:,}." if self.size > MOST_BYTES else ""


async def read(upload: UploadFile) -> Document:
    """Read an upload; keep only its name, size and digest."""
    digest, size = hashlib.sha256(), 0
    while part := await upload.read(1 << 20):
        digest.update(part)
        size += len(part)
    return Document(upload.filename or "", size, digest.hexdigest())


def results(row: Row) -> dict[str, Any]:
    """Return the results of a collection in the published shape: every key is always present, and no call differs."""
    fields = {name: _field(f"{row.id}/{name}") for name in row.workflow.fields}
    text = "\n\n".join(field["value"] for field in fields.values())
    return {
        "collection_id": row.id,
        "document_packet_id": row.id,
        "verification_url": f"https://app.anyformat.ai/workflows/{row.workflow.id}/files/{row.id}",
        "parse": {"markdown": text, "text": text, "layout_confidence": 97.0, "parse_confidence": 97.0, "blocks": []},
        "classifications": [],
        "splits": [],
        "extractions": [{"split_name": None, "partition": None, "fields": fields, "validations": []}] if fields else [],
        "edits": [],
        "extraction": fields or None,
    }


def results_v3(row: Row, parse_format: str) -> dict[str, Any]:
    """Return the results as version 3 shows them: without ``collection_id``, and with the format of the parsed text."""
    found = results(row)
    del found["collection_id"]
    parse = found["parse"]
    if parse_format == "none":
        found["parse"] = None
    elif parse_format == "blocks":
        found["parse"] = {"format": "blocks", "layout_confidence": 97.0, "parse_confidence": 97.0, "pages": []}
    else:
        found["parse"] = {"format": "markdown", **parse}
    return found


def _field(seed: str) -> dict[str, Any]:
    value = hashlib.sha256(seed.encode()).hexdigest()[:8]
    return {
        "value": value,
        "value_override": None,
        "verification_status": "not_verified",
        "confidence": 97.0,
        "evidence": [{"text": value, "page_number": 1}],
    }
