"""What ``anyformat==0.7.0`` does with a document in version 2: upload, run, wait, read a field, list."""

from __future__ import annotations

import json
import os
import sys

from anyformat.sdk import Client
from anyformat.sdk.errors import APIError, SDKTimeout
from anyformat.workflow import Schema

client = Client(os.environ["KEY"], base_url=os.environ["URL"])
workflow = client.workflow("Invoices").parse().extract([Schema.string("vendor", "Who sent it.")]).create()
document = sys.argv[1]
upload = workflow.upload(document)
stored = client.list_files(workflow.id)
uploaded = upload.run().wait(timeout=30, poll_interval=0.1)
ran = workflow.run(document).wait(timeout=30, poll_interval=0.1)
text = workflow.run(text="An invoice of Acme.").wait(timeout=30, poll_interval=0.1)
unnamed = workflow.run(b"An invoice of Acme.").wait(timeout=30, poll_interval=0.1)


def ending(run):
    """Say how the SDK's wait for a run ends."""
    try:
        run.wait(timeout=1, poll_interval=0.1)
    except (APIError, SDKTimeout) as error:
        return type(error).__name__, getattr(error, "status_code", None), getattr(error, "error_code", None)
    return "success", 200, None


# The second time the sandbox says with a 412 that it is over.
endings = [ending(workflow.upload(b"%PDF-1.7", filename="bad.pdf").run()) for _ in range(2)]
print(
    json.dumps(
        {
            "workflows": [one.name for one in client.list_workflows()],
            "stored": [(one.collection_id, one.id, one.name, one.status) for one in stored],
            "upload": (upload.collection_id, upload.file_id),
            "values": [each.field("vendor").value for each in (uploaded, ran, text, unnamed)],
            "text": ran.parse.text,
            "endings": endings,
            "listed": [(one.name, one.status) for one in client.list_files(workflow.id)],
        }
    )
)
