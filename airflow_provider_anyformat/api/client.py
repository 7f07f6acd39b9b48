"""The client: one method a call. What differs between the versions of the API is in ``v2`` and ``v3``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_anyformat.api import v2, v3
from airflow_provider_anyformat.api.address import DEFAULT_BASE_URL
from airflow_provider_anyformat.api.caller import RESULT_BYTES, Caller
from airflow_provider_anyformat.api.calls import Call, Submit
from airflow_provider_anyformat.api.listing import ListingPass
from airflow_provider_anyformat.api.models import FileCollection, Page
from airflow_provider_anyformat.api.replies import DeleteOutcome
from airflow_provider_anyformat.api.values import check_id, is_id, shown
from airflow_provider_anyformat.exceptions import (
    AnyformatClientError,
    AnyformatError,
    AnyformatLostReplyError,
    AnyformatNotFoundError,
    AnyformatServerError,
    AnyformatStoppedError,
    AnyformatValueError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from airflow_provider_anyformat.api.runs import Document, RunState

__all__ = ["AnyformatClient", "DeleteOutcome"]


class Version(Protocol):
    """What a version of the API has to say: a module of these functions."""

    SUBMITS_ONCE: bool

    def delete(self, caller: Caller, call: Call, collection_id: str, /) -> DeleteOutcome:
        """Delete a collection."""

    def ask_for(self, caller: Caller, call: Call, workflow_id: str, collection_id: str, /) -> None:
        """Ask for a collection; only anyformat's own 404 raises ``AnyformatNotFoundError``."""

    def file_ids(self, caller: Caller, call: Call, collection_id: str, /) -> Collection[str]:
        """Return the ids of a collection's files that the listing does not show."""

    def pages(
        self, caller: Caller, workflow_id: str, /, tries: int | None = None, permit: float | None = None
    ) -> Iterator[Page]:
        """Yield the pages of a listing."""

    def submit(self, caller: Caller, call: Call, workflow_id: str, document: Document, key: str, /) -> object:
        """Submit a document; return what stands where the collection's id should."""

    def look(self, caller: Caller, call: Call, workflow_id: str, collection_id: str, /) -> RunState:
        """Ask how the processing stands."""

    def results(self, caller: Caller, call: Call, workflow_id: str, collection_id: str, limit: int, /) -> bytes:
        """Return the results."""

    def check_key(self, caller: Caller, call: Call, /) -> bool:
        """Make a cheap call that needs a valid key; return whether the answer is anyformat's."""


VERSIONS: Mapping[str, Version] = {"v2": v2, "v3": v3}

log = logging.getLogger(__name__)


class AnyformatClient(Caller):
    """
    Speaks HTTP to anyformat: one method a call; ids are checked before anything is sent.

    Threads may share it; each gets a session of its own.

    :param api_key: the API key.
    :param base_url: ``scheme://host[:port]`` of the server; default the real service. ``http`` only to loopback.
    :param api_version: ``"v2"`` (default) or ``"v3"``; the ids are the same in both.
    :param settings: see :class:`~airflow_provider_anyformat.api.caller.Caller`.
    :raises AnyformatValueError: one of them cannot be used; nothing was sent.
    """

    def __init__(
        self, api_key: str, base_url: str = DEFAULT_BASE_URL, *, api_version: str = "v2", **settings: Any
    ) -> None:
        super().__init__(api_key, base_url, **settings)
        if api_version not in VERSIONS:
            raise AnyformatValueError(
                f'api_version: {shown(api_version)} is not a version of the API; give "v2" or "v3", or leave it out'
            )
        self._version = VERSIONS[api_version]
        self._settings = {"api_version": api_version, **settings}

    def again(self, **changes: Any) -> AnyformatClient:
        """
        Return another client like this one, neither stopped nor paced.

        :param changes: settings that are others.
        """
        return AnyformatClient(self.secret, self.base_url, **self._settings | changes)

    @property
    def submits_once(self) -> bool:
        """Whether the server recognises a repeated submit by its key."""
        return self._version.SUBMITS_ONCE

    def delete_file_collection(self, collection_id: str) -> DeleteOutcome:
        """
        Delete a collection, its files and its results, permanently.

        :param collection_id: the ``id`` that the upload or the run returned, never a ``file_id``.
        :return: ``"deleted"`` for HTTP 204 (v3: or another 2xx, if the server then says that it is gone);
            ``"already_gone"`` for HTTP 404 after a try of this call that may have taken effect.
        :raises AnyformatNotFoundError: HTTP 404 at the first try.
        :raises AnyformatError: any other answer; ``fate_unknown`` tells whether it may be gone all the same.
        """
        call = Call(f"DELETE of collection {check_id(collection_id)}")
        try:
            return self._version.delete(self, call, collection_id)
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
            self._version.ask_for(self, call, workflow_id, collection_id)
        except AnyformatNotFoundError:
            return True
        except AnyformatError:
            self.check_stopped(call.name)
            return None
        return False

    def unlisted_file_ids(self, collection_id: str) -> Collection[str]:
        """
        Return the ids of a collection's files where the listing does not show them (v3); nothing if it is gone.

        :raises AnyformatError: the answer does not say it.
        """
        call = Call(f"look at collection {check_id(collection_id)}")
        try:
            return self._version.file_ids(self, call, collection_id)
        except AnyformatNotFoundError:
            return ()

    def iter_pages(self, workflow_id: str) -> Iterator[Page]:
        """
        Yield the pages of a workflow's listing in the server's order.

        Rows may repeat or be missed while the server's data change:
        :class:`~airflow_provider_anyformat.api.listing.ListingPass` tells.

        :raises AnyformatListingError: a page is not what the API documents.
        """
        return self._version.pages(self, check_id(workflow_id, "workflow_id"))

    def first_page(self, workflow_id: str, *, permit: float | None = None) -> dict[str, str]:
        """
        Return the statuses of the collections on the first page of a workflow's listing, by a single request.

        :param permit: see :meth:`look`.
        :raises AnyformatError: the page could not be read.
        """
        pages = self._version.pages(self, check_id(workflow_id, "workflow_id"), tries=1, permit=permit)
        return {row.id: row.status for row in next(pages).collections}

    def iter_file_collections(self, workflow_id: str) -> Iterator[FileCollection]:
        """
        Yield each collection of a workflow once.

        :raises AnyformatListingError: the listing broke off or contradicts itself; it may come after some rows.
        """
        reading = ListingPass(workflow_id)
        for page in self.iter_pages(workflow_id):
            yield from reading.add(page)
        reading.finish()

    def run_workflow(
        self, workflow_id: str, document: Document, idempotency_key: str, *, resubmit: bool = False
    ) -> str:
        """
        Submit a document for processing, once.

        :param idempotency_key: says on v3 that a repeated request is the same one; v2 has no such thing.
        :param resubmit: whether a lost reply may be answered by a second submit on v2, too, which may make and bill a
            second collection. Default ``False``.
        :return: the collection's id.
        :raises AnyformatLostReplyError: on v2, a collection may exist whose id is unknown.
        :raises AnyformatError: it was refused, or could not be sent.
        """
        check_id(workflow_id, "workflow_id")
        call = Submit(f"submit of {shown(document.name)}", repeatable=self._version.SUBMITS_ONCE or resubmit)
        try:
            collection_id = self._version.submit(self, call, workflow_id, document, idempotency_key)
            if not is_id(collection_id):
                raise AnyformatServerError(
                    f"{call.name}: the answer has no collection id, but {shown(collection_id)}", fate_unknown=True
                )
        except AnyformatStoppedError:
            raise
        except AnyformatError as error:
            if call.repeatable or not error.fate_unknown:
                raise
            raise AnyformatLostReplyError(
                f"{error}\nA collection of this document may exist and be billed; its id is unknown. Look for"
                f" {shown(document.name)} in workflow {workflow_id}, then run the task again, or set"
                ' on_lost_reply="resubmit"',
                status_code=error.status_code,
                attempts=error.attempts,
                fate_unknown=True,
            ) from None
        return collection_id

    def look(self, workflow_id: str, collection_id: str, *, permit: float | None = None) -> RunState:
        """
        Ask by a single short request how the processing of a collection stands.

        :param permit: what ``acquire`` of this client's rate limiter returned, where that was called before.
        :raises AnyformatError: the answer does not say it.
        """
        check_id(workflow_id, "workflow_id")
        call = Call(f"look at collection {check_id(collection_id)}", tries=1, permit=permit)
        return self._version.look(self, call, workflow_id, collection_id)

    def get_results(self, workflow_id: str, collection_id: str, *, limit: int = RESULT_BYTES) -> bytes:
        """
        Return a collection's results: on v2 the body as received, on v3 the ``results`` object alone.

        :param limit: bytes that the answer may have. Default 256 MB.
        :raises AnyformatTooLongError: it has more.
        :raises AnyformatNotReadyError: the processing has not ended yet.
        :raises AnyformatNoResultsError: there will be none; that is the server's final word.
        """
        check_id(workflow_id, "workflow_id")
        call = Call(f"results of collection {check_id(collection_id)}")
        return self._version.results(self, call, workflow_id, collection_id, limit)

    def check_key(self, *, permit: float | None = None) -> None:
        """
        Ask for one workflow: the cheapest call that needs a valid key.

        :param permit: see :meth:`look`; with it, a single request is sent.

        :raises AnyformatError: the server cannot be reached, or does not accept the key.
        """
        call = Call("connection test", tries=None if permit is None else 1, permit=permit)
        # A captive portal, or another service at this address, answers 200 as well.
        if not self._version.check_key(self, call):
            raise AnyformatClientError(
                f"{call.name}: HTTP 200: the answer is not anyformat's; check the host of the connection",
                status_code=200,
                attempts=call.attempts,
            )
