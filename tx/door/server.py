"""The HTTP server of the door: uvicorn, with an end to connections that are slow or too many."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.link.text import to_json
from tx.door.app import App
from tx.door.limits import CLOSE_S
from tx.door.refusal import Reason


class Connection(H11Protocol):
    """One request. uvicorn itself would wait for one for as long as it takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.config.app
        assert isinstance(app, App)
        self._door = app
        self._timer = self.loop.call_later(app.limits.headers_s, self._late)
        if len(self.connections) > app.limits.connections:
            self._refuse(503, "connections", "too many connections at once; try later.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "http", "this is not HTTP/1.1.")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A client that does not read its answer is not waited for.
        self.loop.call_later(self._door.limits.answer_s, self.transport.abort)

    def _late(self) -> None:
        if self.cycle is None:
            limit = f"{self._door.limits.headers_s:g} s"
            self._refuse(408, "slow", f"the request was not here within {limit}.")

    def _refuse(self, status: int, reason: Reason, sentence: str) -> None:
        """Below ASGI: there is no request, or none that could be read."""
        if self.transport.is_closing():
            return
        self._door.refused[reason] += 1
        if self.cycle is None or not self.cycle.response_started:
            body = to_json({"error": sentence})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self.transport.write((head + body).encode())
        self.transport.close()


class Server:
    def __init__(self, app: App, listener: socket.socket) -> None:
        self._app, self._listener = app, listener
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the app tells what is worth telling
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(CLOSE_S) + 1,
        )
        self._server = uvicorn.Server(config)

    async def serve(self) -> None:
        """Until ``end``."""
        try:
            await self._server.serve([self._listener])
        finally:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # in which they are closed

    def end(self) -> None:
        """In the thread of the loop."""
        self._app.close()
        self._server.should_exit = True
