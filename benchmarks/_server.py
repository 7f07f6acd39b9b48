"""
A server that costs next to nothing: what the benchmarks measure then is the client.

It answers every delete with 204, and lists ``list-<rows>-<every>``: so many collections, of which every so-many-th is a
year old and the others are of today. It runs in a process of its own, prints its port, and ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial

PAGE_SIZE = 100
_LIMIT = 100_000_000
_LISTING = re.compile(rb"GET /v2/workflows/list-(\d+)-(\d+)/files/\?page=(\d+)&")
_OLD, _YOUNG = "2020-01-01T00:00:00", datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def page_text(rows: int, every: int, number: int) -> str:
    """Return a page of a listing, numbers from 1, as the service writes it."""
    start = (number - 1) * PAGE_SIZE
    results = ",".join(
        f'{{"id":"{n:08x}-c011-4ec7-a000-{n:012x}","name":"invoice-{n}.pdf","status":"processed",'
        f'"created_at":"{moment}.{n % 1_000_000:06}Z","updated_at":"{moment}.{7 * n % 1_000_000:06}Z",'
        f'"file_id":"{n:08x}-f11e-4ec7-a000-{n:012x}"}}'
        for n in range(start, min(start + PAGE_SIZE, rows))
        for moment in (_YOUNG if n % every else _OLD,)
    )
    return f'{{"count":{rows},"page":{number},"page_size":{PAGE_SIZE},"results":[{results}]}}'


class Connection(asyncio.Protocol):
    """
    One connection of one client; every request is without a body.

    :param latency: seconds until a delete is answered.
    """

    _answered = 0

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            Connection._answered += 1
            if listing := _LISTING.match(request):
                self._send("200 OK", page_text(*map(int, listing.groups())))
            else:
                asyncio.get_running_loop().call_later(self._latency, self._send, "204 No Content")

    def _send(self, status: str, body: str | None = None) -> None:
        about = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if isinstance(self._transport, asyncio.WriteTransport) and not self._transport.is_closing():
            head = (
                f"HTTP/1.1 {status}\r\nDate: {formatdate(usegmt=True)}\r\nX-API-Version: 2.0.0\r\n{about}"
                f"x-ratelimit-limit: {_LIMIT}\r\nx-ratelimit-remaining: {_LIMIT - self._answered}\r\n"
                "x-ratelimit-reset: 60\r\n\r\n"
            )
            self._transport.write((head + (body or "")).encode())


@contextlib.contextmanager
def serving(latency: float = 0.0) -> Iterator[str]:
    """Start the server in a process of its own, give its URL, and end it."""
    command = [sys.executable, __file__, str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the server has no pipes")
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


async def serve(latency: float) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, latency), "127.0.0.1", 0, backlog=200)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
