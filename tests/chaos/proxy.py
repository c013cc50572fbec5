"""A TCP proxy that treats connections badly, on command.

Bytes are never changed or left out within a connection that lives on: TCP would not do that
either. What is lost is lost because the connection ends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from concurrent.futures import Future

CHUNK = 65536
LINGER_NONE = struct.pack("ii", 1, 0)  # close() sends RST


class Proxy:
    """Carries connections from a free loopback port to ``target`` (a port there), in a thread.

    ``delay_s`` and ``split`` hold for every chunk from now on; the other faults happen once.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.split = CHUNK  # bytes forwarded at once
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._flowing: asyncio.Event = self._call(self._make_event())
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _make_event(self) -> asyncio.Event:
        event = asyncio.Event()
        event.set()
        return event

    def _call(self, what):  # type: ignore[no-untyped-def]
        future: Future = asyncio.run_coroutine_threadsafe(what, self._loop)
        return future.result(10)

    # -- faults ------------------------------------------------------------------------------

    def reset(self) -> None:
        """RST on every connection; what is under way is gone."""
        self._loop.call_soon_threadsafe(self._reset)

    def half_close(self) -> None:
        """FIN in one direction of every connection; the other goes on."""
        self._loop.call_soon_threadsafe(self._half_close)

    def stall(self, seconds: float) -> None:
        """Nothing passes for so long, then it does: a cable that was pulled and put back."""
        self._loop.call_soon_threadsafe(self._flowing.clear)
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._flowing.set)

    def drop(self, seconds: float) -> None:
        """Nothing passes for so long, and what waited is lost with its connection."""
        self.stall(seconds + 1)
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._reset)

    def calm(self) -> None:
        """No fault from now on."""
        self.delay_s, self.split = 0.0, CHUNK
        self._loop.call_soon_threadsafe(self._flowing.set)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            self._reset()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _reset(self) -> None:
        for writer in list(self._writers):
            if writer.is_closing():
                continue
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            writer.transport.abort()

    def _half_close(self) -> None:
        for writer in list(self._writers)[::2]:
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    # -- carrying ----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, onward[1]}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, onward[1]), self._pump(onward[0], writer))
        finally:
            self._writers -= ends
            for each in ends:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                for start in range(0, len(data), self.split):
                    await self._flowing.wait()
                    writer.write(data[start : start + self.split])
                    await writer.drain()
            if not writer.is_closing():
                writer.write_eof()
        except (OSError, RuntimeError):  # reset, or closed under our hands
            writer.transport.abort()
