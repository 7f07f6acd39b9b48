"""What ``anyformat==1.18.0`` does with a document in version 3: create, upload, run, wait, read, list, delete."""

from __future__ import annotations

import json
import os
import sys

from anyformat.sdk import APIError, Client, NotFound, RunFailed
from anyformat.workflow import Schema


def raised(call, *arguments, **named):
    """Say which error of the SDK a call raises."""
    try:
        call(*arguments, **named)
    except (APIError, RunFailed) as error:
        return type(error).__name__, getattr(error, "status_code", None)
    return "success", 200


with Client(api_key=os.environ["KEY"], base_url=os.environ["URL"]) as client:
    draft = client.workflow("Invoices").parse().extract([Schema.string("vendor", "Who sent it.")])
    workflow = draft.create()
    name_taken = raised(draft.create)
    document = sys.argv[1]
    upload = workflow.upload(document)
    first = upload.run(idempotency_key="first")
    replayed = upload.run(idempotency_key="first")
    result = first.wait(timeout=30, poll_interval=0.1)
    file_taken = raised(workflow.run, document)
    renamed = workflow.upload(document, on_conflict="rename")
    by_url = client.get_run(first.id, delivery="url")
    blocks = client.get_run(first.id, parse_format="blocks")
    failing = workflow.run(files=[document.replace("invoice", "bad")])
    failed = raised(failing.wait, timeout=30, poll_interval=0.1)
    workflow.run(text="An invoice of Acme.").wait(timeout=30, poll_interval=0.1)
    packet = client.get_document_packet(upload.document_packet_id)
    listed = list(client.iter_document_packets(workflow.id, limit=2))
    deleted = client.delete_document_packet(packet.id)
    try:
        client.delete_document_packet(packet.id)
        again = 204
    except NotFound as error:
        again = error.status_code
    print(
        json.dumps(
            {
                "workflows": [one.name for one in client.iter_workflows(limit=1)],
                "name_taken": name_taken,
                "file_taken": file_taken,
                "renamed": [(one.name, one.original_name) for one in renamed.files],
                "runs": (first.id, replayed.id),
                "value": result.field("vendor").value,
                "by_url": by_url.result.field("vendor").value,
                "text": result.parse.text,
                "blocks": blocks.result.field("vendor").value,
                "failed": failed,
                "packet": (packet.id, packet.name, packet.status, packet.latest_run_id),
                "listed": [(one.id, one.name, one.status) for one in listed],
                "deleted": deleted,
                "again": again,
            }
        )
    )
