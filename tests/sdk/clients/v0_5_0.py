"""What ``anyformat==0.5.0`` does for a collection of version 2: list, results, delete, delete again."""

from __future__ import annotations

import json
import os

from anyformat import Anyformat, APIStatusError, NotFoundError


def status_of(call, *arguments, **named):
    """Say which HTTP status the SDK raised for a call."""
    try:
        call(*arguments, **named)
    except APIStatusError as error:
        return type(error).__name__, error.status_code
    return "success", 200


client = Anyformat(api_key=os.environ["KEY"])  # the address is in ANYFORMAT_BASE_URL
workflow_id, running, retried = os.environ["WORKFLOW"], os.environ["RUNNING"], os.environ["RETRIED"]
page = client.workflows.list_files(workflow_id, page_size=2)
results = [
    client.workflows.get_file_results(row.id, workflow_id=workflow_id) for row in page.results if row.id != running
]
early = status_of(client.workflows.get_file_results, running, workflow_id=workflow_id)
deleted = client.files.delete(page.results[0].id)
try:
    client.files.delete(page.results[0].id)
    again = 204
except NotFoundError as error:
    again = error.status_code
# The server deletes it, and resets the connection instead of answering.
lost = status_of(client.files.delete, retried)
print(
    json.dumps(
        {
            "count": page.count,
            "listed": [(row.id, row.name, row.status) for row in page.results],
            "values": [found["extractions"][0]["fields"]["reference"]["value"] for found in results],
            "early": early,
            "deleted": deleted,
            "again": again,
            "lost": lost,
            "workflows": [one.name for one in client.workflows.list().results],
        }
    )
)
