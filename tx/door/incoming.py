"""The body of one request: read within bounds of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.types import Receive

from tx.door.limits import Limits
from tx.door.refusal import Gone, Refusal, later

DRAIN_S = 2.0


class Room:
    """Bytes of bodies that may be in memory at once."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, size: int) -> None:
        """Raises ``Refusal``."""
        if size > self._free:
            raise later(503, "memory", "too much is being sent to this door at once; try later.")
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size


class Incoming:
    """``headers``: of the request, their names in any case."""

    def __init__(self, receive: Receive, headers: Mapping[str, str], limits: Limits) -> None:
        self._receive, self._headers, self._limits = receive, headers, limits
        self._begun = self._ended = False

    async def read(self, room: Room) -> bytes:
        """All of it, which the caller gives back to ``room``. Raises ``Refusal``, ``Gone``."""
        most = self._limits.max_bytes
        if int(self._headers.get("content-length", 0)) > most:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                while not self._ended:
                    chunk = await self._chunk()
                    if size + len(chunk) > most:
                        raise self._too_large()
                    room.take(len(chunk))
                    size += len(chunk)
                    chunks.append(chunk)
        except BaseException as error:
            room.give_back(size)
            chunks.clear()
            if isinstance(error, TimeoutError):
                limit = f"{self._limits.body_s:g} s"
                raise Refusal(408, "slow", f"the body was not here within {limit}.") from None
            raise
        return b"".join(chunks)

    async def drain(self) -> None:
        """Throw away what is still coming, so that the client gets to the answer.

        A connection that is closed over unread bytes is reset, and the answer lost. Who waits for
        leave to send (Expect: 100-continue), and got none, sends nothing.
        """
        if "expect" in self._headers and not self._begun:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                while not self._ended:
                    await self._chunk()
        except TimeoutError:
            return

    async def until_gone(self) -> None:
        """Until the client has gone; after ``read``."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _chunk(self) -> bytes:
        self._begun = True
        message: MutableMapping[str, Any] = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise Gone
        self._ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _too_large(self) -> Refusal:
        most = self._limits.max_bytes
        return Refusal(413, "size", f"the body is larger than {most} bytes; send a smaller image.")
