"""The client: one method a call, and the one place that builds URLs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_anyformat import __version__
from airflow_provider_anyformat.api.calls import Call, Caller
from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page, check_id
from airflow_provider_anyformat.api.replies import (
    DeleteOutcome,
    is_own,
    read_http_date,
    repeats,
)
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatError,
    AnyformatListingError,
    AnyformatNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["AnyformatClient", "DeleteOutcome"]

log = logging.getLogger(__name__)

USER_AGENT = f"airflow-provider-anyformat/{__version__}"
PAGE_SIZE = 100
LISTING_BYTES = 32 * 1024 * 1024
RESULT_BYTES = 256 * 1024 * 1024


class AnyformatClient(Caller):
    """
    Speaks HTTP to anyformat: one method a call; ids are checked before anything is sent.

    Threads may share it; each gets a session of its own. For its parameters see
    :class:`~airflow_provider_anyformat.api.calls.Caller`.
    """

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        """
        Delete a collection, its files and its results, permanently: ``DELETE /v2/files/{collection_id}/``.

        :param collection_id: the ``id`` that the upload or the run returned, never a ``file_id``.
        :return: ``"deleted"`` for HTTP 204; ``"already_gone"`` for HTTP 404 after a try of this call that may have
            taken effect.
        :raises AnyformatNotFoundError: HTTP 404 at the first try.
        :raises AnyformatError: any other answer; ``fate_unknown`` tells whether it may be gone all the same.
        """
        call = Call(f"DELETE of collection {check_id(collection_id)}")
        try:
            reply = self.call(call, "DELETE", self._url("files", collection_id), expected=204)
        except AnyformatNotFoundError as error:
            if not call.fate_unknown:
                raise
            log.warning("%s: HTTP 404 after a try that may have taken effect: that try deleted it", call.name)
            return DeleteOutcome(
                "already_gone",
                http_status=404,
                error_code=error.error_code,
                request_id=error.request_id,
                attempts=call.attempts,
                server_date=error.server_date,
            )
        return DeleteOutcome("deleted", http_status=204, attempts=call.attempts, server_date=reply.server_date)

    def iter_pages(self, workflow_id: str) -> Iterator[Page]:
        """
        Yield the pages of a workflow's listing, ``GET /v2/workflows/{workflow_id}/files/``, in the server's order.

        The last page is found by the ``count`` and ``page_size`` that came back. Rows may repeat or be missed while the
        server's data change: :class:`~airflow_provider_anyformat.api.listing.ListingPass` tells.

        :raises AnyformatListingError: a page is not what the API documents.
        """
        url = self._url("workflows", check_id(workflow_id, "workflow_id"), "files")
        number = 0
        more = True
        while more:
            number += 1
            page = self._page(url, workflow_id, number)
            yield page
            more = number * page.page_size < page.count and bool(page.collections)

    def _page(self, url: str, workflow_id: str, number: int) -> Page:
        call = Call(f"listing of workflow {workflow_id}, page {number}")
        params = {"page": number, "page_size": PAGE_SIZE}
        try:
            reply = self.call(call, "GET", url, expected=200, limit=LISTING_BYTES, params=params)
            date = read_http_date(reply.headers.get("Date", ""))
            return Page.from_json(reply.json_object() or {}, workflow_id, number, date)
        except AnyformatNotFoundError as error:
            if number == 1:
                raise
            words, status = f"{error}\nrows went away while the listing was read", 404
        except AnyformatListingError as error:
            words, status = f"{call.name}: HTTP 200: {error}", 200
            if repeats(reply.body.decode("utf-8", "replace"), self._auth.token):
                words = f"{call.name}: HTTP 200: it cannot be used, and is not shown, for it repeats the API key"
        raise AnyformatListingError(words, status_code=status, attempts=call.attempts)

    def iter_file_collections(self, workflow_id: str) -> Iterator[FileCollection]:
        """
        Yield each collection of a workflow once.

        :raises AnyformatListingError: the listing broke off or contradicts itself; it may come after some rows.
        """
        reading = ListingPass(workflow_id)
        for page in self.iter_pages(workflow_id):
            yield from reading.add(page)
        reading.finish()

    def get_results(self, workflow_id: str, collection_id: str) -> bytes:
        """
        Return a collection's results as received: ``GET /v2/workflows/{workflow_id}/files/{collection_id}/results/``.

        :raises AnyformatClientError: HTTP 412 while there are none, or an answer that is no JSON object.
        """
        check_id(workflow_id, "workflow_id")
        call = Call(f"results of collection {check_id(collection_id)}")
        url = self._url("workflows", workflow_id, "files", collection_id, "results")
        reply = self.call(call, "GET", url, expected=200, limit=RESULT_BYTES)
        if reply.json_object() is None:
            raise AnyformatClientError(
                f"{call.name}: HTTP 200: the answer is no JSON object", status_code=200, attempts=call.attempts
            )
        return reply.body

    def is_gone(self, workflow_id: str, collection_id: str) -> bool | None:
        """
        Ask the server whether a collection is gone; absence from a listing does not tell.

        :return: ``True`` only on anyformat's own 404, ``False`` where it exists (HTTP 200, 412, 422), ``None`` where
            the answer is unclear.
        :raises AnyformatStoppedError: the task was told to stop.
        """
        check_id(workflow_id, "workflow_id")
        call = Call(f"look at collection {check_id(collection_id)}")
        try:
            self.call(call, "GET", self._url("workflows", workflow_id, "files", collection_id, "results"), expected=200)
        except AnyformatNotFoundError:
            return True
        except AnyformatError as error:
            self.check_stopped(call.name)
            return False if error.status_code in (200, 412, 422) else None
        return False

    def check_key(self) -> None:
        """
        Ask for one workflow: the cheapest call that needs a valid key.

        :raises AnyformatError: the server cannot be reached, or does not accept the key.
        """
        call = Call("connection test")
        reply = self.call(
            call, "GET", self._url("workflows"), expected=200, limit=LISTING_BYTES, params={"page_size": 1}
        )
        body = reply.json_object() or {}
        # A captive portal, or another service at this address, answers 200 as well.
        if not isinstance(body.get("results"), list) and not (body and is_own(reply)):
            raise AnyformatClientError(
                f"{call.name}: HTTP 200: the answer is not anyformat's; check the host of the connection",
                status_code=200,
                attempts=call.attempts,
            )

    def _url(self, *segments: str) -> str:
        return f"{self.base_url}/v2/{'/'.join(segments)}/"
