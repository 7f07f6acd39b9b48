"""A certificate as a page: HTML that needs nothing else, and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_Table = tuple[str, list[tuple[str, Any]]]
# What the head of a page says of the record, by whether the ledger is as it was written.
_VERDICT = {
    True: "The record is as it was written: every hash, count and link of the ledger was computed again.",
    False: "THE LEDGER WAS CHANGED, or is not whole. Rely on this record only when the problems below are explained.",
}
_STYLE = """
@page { size: A4; margin: 15mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #111; background: #fff; max-width: 180mm; margin: 8mm auto }
h1 { font-size: 16pt; margin: 0 0 2mm } h2 { font-size: 11pt; margin: 4mm 0 1mm; break-after: avoid }
p { margin: 1mm 0 } ul { margin: 1mm 0; padding-left: 5mm }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { text-align: left; vertical-align: top; padding: .5mm 2mm .5mm 0; border-bottom: .2mm solid #bbb }
th { width: 38mm; font-weight: 600 } td { overflow-wrap: anywhere }
.verdict { border: .5mm solid #1a7f37; padding: 2mm } .verdict.changed { border-color: #b00020; font-weight: 700 }
"""
# More files than this are counted, so that a large run still fits on two pages; the JSON lists them all.
_MOST_FILES = 12
_MOST_PROBLEMS = 10


def as_html(content: dict[str, Any]) -> str:
    """Return a certificate as one HTML page that loads nothing."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(_title(content))}</title>\n<style>{_STYLE}</style></head>\n<body>\n<main>",
        f"<h1>{escape(_title(content))}</h1>",
        f'<p class="verdict{"" if content["whole"] else " changed"}">{escape(_VERDICT[content["whole"]])}</p>',
    ]
    for heading, rows in _tables(content):
        parts.append(f"<h2>{escape(heading)}</h2>\n<table>")
        parts += [
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(_text(value))}</td></tr>' for name, value in rows
        ]
        parts.append("</table>")
    for heading, sentences in _lists(content):
        parts.append(f"<h2>{escape(heading)}</h2>\n<ul>")
        parts += [f"<li>{escape(each)}</li>" for each in sentences]
        parts.append("</ul>")
    parts.append("</main>\n</body>\n</html>\n")
    return "\n".join(parts)


def as_markdown(content: dict[str, Any]) -> str:
    """Return a certificate as Markdown."""
    parts = [f"# {_cell(_title(content))}", f"**{_VERDICT[content['whole']]}**"]
    for heading, rows in _tables(content):
        lines = [f"| {_cell(name)} | {_cell(_text(value))} |" for name, value in rows]
        parts.append("\n".join([f"## {heading}\n", "| | |", "|---|---|", *lines]))
    for heading, sentences in _lists(content):
        parts.append("\n".join([f"## {heading}\n", *(f"- {_cell(each)}" for each in sentences)]))
    return "\n\n".join(parts) + "\n"


def _title(content: dict[str, Any]) -> str:
    if content["collection"] is None:
        return "Certificate of a retention run"
    deleted = content["collection"]["outcome"] == "deleted"
    return "Certificate of deletion" if deleted else "Certificate of a retention record"


def _tables(content: dict[str, Any]) -> Iterator[_Table]:
    plan, run, hashes = content["plan"], content["run"], content["hashes"]
    if content["collection"] is not None:
        yield "What", list(_collection(content["collection"]))
    applied = plan["applied_plan"] or {}
    yield (
        "Under which rule",
        _given(
            ("Policy", plan["policy_in_words"]),
            ("Cutoff", plan["cutoff"]),
            ("Owner", plan["owner"]),
            ("Basis", plan["basis"]),
            ("Holds in force", [f"{hold['case']}: {hold['held']} held" for hold in plan["holds"] or ()]),
            ("Approved by", plan["approved_by"] or ("not on record" if applied else None)),
            ("Approved plan", applied.get("plan_path")),
            ("Its digest", applied.get("plan_digest")),
        ),
    )
    yield (
        "By which run",
        _given(
            ("DAG, task", f"{run['dag']}, {run['task']}"),
            ("Run, try", f"{run['run']}, {run['try']}"),
            ("Folder", run["folder"]),
            ("Planned at", plan["made_at"]),
            ("Server", plan["service"]),
            ("Workflows", plan["workflows"]),
            ("Counts", content["counts"] or "the run did not end"),
        ),
    )
    files = hashes["files"]
    shown = dict(list(files.items())[-_MOST_FILES:])
    signature = content["signature"]
    yield (
        "Hashes (SHA-256)",
        _given(
            ("Plan", plan["digest"]),
            ("Summary", hashes["summary_sha256"]),
            ("Earlier runs", hashes["previous"]),
            ("Signature", f"{signature['file']}, by the key {signature['signed_by']}" if signature else "none"),
            *shown.items(),
            (
                "More files",
                f"{len(files) - len(shown)}; this certificate as JSON lists them" if files != shown else None,
            ),
        ),
    )
    yield (
        "This certificate",
        [("Made at", content["made_at"]), ("Made by", content["made_by"]), ("Ledger", content["ledger"])],
    )


def _collection(collection: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    planned = collection["planned"] or {}
    yield from _given(
        ("Collection", collection["collection_id"]),
        ("Workflow", collection["workflow_id"]),
        ("Status when listed", planned.get("status")),
        ("Created at", planned.get("created_at")),
        ("Updated at", planned.get("updated_at")),
        ("Why it was planned", planned.get("reason")),
        ("Outcome", collection["outcome"]),
        ("On hold for", collection["case"]),
        ("Deleted at", collection["deleted_at"]),
        ("Server's answer", collection["http_status"] and f"HTTP {collection['http_status']}"),
        ("Server's Date", collection["server_date"]),
        ("Request id", collection["request_id"]),
        ("Requests sent", collection["attempts"]),
        ("Recorded in", collection["file"]),
        ("Other records", [f"{each['outcome']} in {each['run']}" for each in collection["other_records"]]),
    )


def _lists(content: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    problems = [f"{each['run'] or 'the ledger'}: {each['problem']}: {each['detail']}" for each in content["problems"]]
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"and {len(problems) - _MOST_PROBLEMS} more"]
    if problems:
        yield "Problems found", problems
    yield "What this proves", content["proves"]
    yield "What it does not prove", content["does_not_prove"]


def _given(*rows: tuple[str, Any]) -> list[tuple[str, Any]]:
    return [row for row in rows if row[1] not in (None, [], "")]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)
    return " ".join(escaped.split())
