"""The HTTP server of the door: uvicorn, whose connections end in time."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from tx.door.app import App
from tx.door.connection import Connection
from tx.door.limits import CLOSE_S


class OneRequest(Connection):
    """A client that does not read its answer is not waited for."""

    def on_response_complete(self) -> None:
        super().on_response_complete()
        app = self.config.app
        assert isinstance(app, App)
        self.loop.call_later(app.limits.answer_s, self.transport.abort)


class Server:
    def __init__(self, app: App, listener: socket.socket) -> None:
        self._app, self._listener = app, listener
        config = uvicorn.Config(
            app,
            http=OneRequest,
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
