"""uvicorn in a thread of its own, with a start that waits and a stop that does not."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from airflow_provider_anyformat.sandbox.gate import Gate
    from airflow_provider_anyformat.sandbox.wire import Connections

HOST = "127.0.0.1"
# A start takes some 20 ms; the bounds allow for an overloaded machine.
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class Runner:
    """
    Serves on loopback from when it is made until :meth:`stop`.

    :param gate: the ASGI application.
    :param connections: those it serves.
    :param port: where to listen; 0 for any free port.
    :raises OSError: the port is taken.
    """

    def __init__(self, gate: Gate, connections: Connections, port: int) -> None:
        self._connections = connections
        self._listener = _listen(port)
        self.port: int = self._listener.getsockname()[1]
        self._config = uvicorn.Config(
            gate,
            http=connections.protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        self._error: Exception | None = None
        self._up = False
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anyformat-sandbox", daemon=True)
        self._thread.start()
        self._settled.wait(_START_SECONDS)
        if not self._up:
            raise RuntimeError(f"the sandbox did not start: {self._error}") from self._error

    def stop(self) -> None:
        """Drop every connection, answer nothing more, and return when the port is free."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for the start
            self._error = error
        finally:
            self._listener.close()
            self._settled.set()

    async def _serve(self) -> None:
        server = uvicorn.Server(self._config)
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        while not server.started:
            if serving.done():
                return serving.result()
            await asyncio.sleep(0.001)
        self._up = True
        self._settled.set()
        await self._stopping.wait()
        for listening in server.servers:
            listening.close()
        self._connections.close()
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=1)
        # Its own way out looks at a flag ten times a second; there is nothing left to wait for.
        serving.cancel()
        return None


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, a page takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener
