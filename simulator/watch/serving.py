"""The server of the page."""

from __future__ import annotations

import asyncio
import socket
from importlib.util import find_spec

from simulator.address import is_loopback
from simulator.errors import missing_package
from simulator.watch.source import Source
from tx.door.address import bind
from tx.door.guard import Guard

PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn"}


class Watch:
    """Its address is bound when it is made. ``serve`` returns after ``end``, or is interrupted.

    ``address``: HOST:PORT; port 0 takes a free one. ``token``: what every visitor has to show,
    needed where other machines can reach the address. Raises ``MissingPackageError`` and
    ``AddressError``.
    """

    def __init__(self, source: Source, address: str, token: str = "") -> None:
        if not all(find_spec(module) for module in PACKAGES):
            raise missing_package("the live page", ", ".join(PACKAGES.values()), "live")
        import uvicorn

        from simulator.watch.app import App
        from tx.door.connection import Connection

        self._listener = bind(address, token, "the live page")
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self._app = App(source, Guard(token, is_loopback(host)))
        config = uvicorn.Config(
            self._app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    @property
    def refused(self) -> dict[str, int]:
        """Requests and connections that were refused, by reason."""
        return dict(self._app.refused)

    def serve(self) -> None:
        """In this thread."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        from simulator.watch.app import serve_with

        sockets: list[socket.socket] = [self._listener]

        async def served() -> None:
            await self._server.serve(sockets)

        try:
            await serve_with(self._app, served)
        finally:
            self._listener.close()

    def end(self) -> None:
        """From any thread."""
        self._app.end()
        self._server.should_exit = True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._listener.close()
