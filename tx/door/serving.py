"""The thread in which the door is served."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress

from simulator.rgb import White
from tx.door.app import App
from tx.door.guard import Guard
from tx.door.limits import Limits
from tx.door.server import Server
from tx.link import Link

log = logging.getLogger("tx")


class Serving:
    """From its making until ``close``. ``listener`` is closed with it."""

    def __init__(
        self, link: Link, guard: Guard, limits: Limits, white: White, listener: socket.socket
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self.app = App(link, guard, limits, white, self._loop.create_future())
        self._server, self._listener = Server(self.app, listener), listener
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._server.serve())
        except Exception:
            log.exception("the door has failed; it takes no pictures any more")
        finally:
            self.app.end()
            self._listener.close()

    def close(self) -> bool:
        """False where it was closed before."""
        if self._listener.fileno() < 0:
            return False
        with suppress(RuntimeError):  # its loop has ended before
            self._loop.call_soon_threadsafe(self._server.end)
        self._thread.join()
        return True
