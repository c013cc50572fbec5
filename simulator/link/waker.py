"""How a worker thread wakes the thread that polls the socket."""

from __future__ import annotations

import socket
from contextlib import suppress


class Waker:
    """``reader`` is a file descriptor for the poller. Give what is to be taken before ``wake``,
    and take it after ``drain``: a wake that finds another one waiting does nothing.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self.reader = self._reader.fileno()
        self._waiting = False

    def wake(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._writer.send(b"!")

    def drain(self) -> None:
        """When the poller says that there is something to read."""
        with suppress(BlockingIOError):
            self._reader.recv(4096)
        # After reading: a byte that comes in between stands for what is taken from now on.
        self._waiting = False

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
