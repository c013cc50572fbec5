"""The same link for programs that run on asyncio.

    from simulator.client.aio import connect

    async with connect("tcp://127.0.0.1:5550") as link:
        sent = await link.send(array, snr_db=10)
        preview = await sent.preview()

Whatever may wait is awaited; the socket has a thread of its own, as in ``simulator.client.client``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from simulator.client import client, machines
from simulator.client.client import Client
from simulator.images import Pixels
from tx.flight import Stage
from tx.sent import Sent

Image = Pixels | Path | str
Value = TypeVar("Value")


class AsyncSent:
    """As ``tx.sent.Sent``; a wait is ended by ``asyncio.timeout`` or by cancelling it."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.name, self.number, self.frame_id = sent.name, sent.number, sent.frame_id

    async def preview(self) -> Pixels:
        return await self._picture("preview")

    async def refined(self) -> Pixels:
        return await self._picture("refined")

    async def row(self) -> dict[str, Any]:
        return await awaited(self.sent.rows)

    async def _picture(self, stage: Stage) -> Pixels:
        self.sent.check(stage)
        return self.sent.picture(stage, await awaited(self.sent.pictures[stage]))


async def awaited(future: Future[Value]) -> Value:
    """Who gives up waiting must not cancel what others wait for."""
    return await asyncio.shield(asyncio.wrap_future(future))


class AsyncClient:
    """``make``: opens the link, which takes a moment."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make

    async def __aenter__(self) -> AsyncClient:
        self.client = await asyncio.to_thread(self._make)
        return self

    async def send(self, image: Image, **options: Any) -> AsyncSent:
        """``options``: ``snr_db``, ``cbr``, ``name`` and ``timeout`` of ``Link.send``."""
        return AsyncSent(await asyncio.to_thread(partial(self.client.send, image, **options)))

    async def stream(
        self, images: Iterable[Image] | AsyncIterable[Image], ahead: int = 8, **options: Any
    ) -> AsyncIterator[AsyncSent]:
        """Each in order, when it has its row; ``ahead`` are under way at most."""
        under_way: list[AsyncSent] = []
        async for image in over(images):
            under_way.append(await self.send(image, **options))
            while under_way and (under_way[0].sent.done or len(under_way) > ahead):
                await under_way[0].row()
                yield under_way.pop(0)
        for sent in under_way:
            await sent.row()
            yield sent

    async def close(self, timeout: float | None = None) -> None:
        """As ``Client.close``."""
        await asyncio.to_thread(self.client.close, timeout)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            await asyncio.to_thread(self.client.stop)


async def over(images: Iterable[Image] | AsyncIterable[Image]) -> AsyncIterator[Image]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image


def connect(channel: str = "", **options: Any) -> AsyncClient:
    """As ``simulator.connect``."""
    return AsyncClient(partial(client.connect, channel, **options))


def local(settings: dict[str, Any] | None = None, **options: Any) -> AsyncClient:
    """As ``simulator.local``."""
    return AsyncClient(partial(machines.local, settings, **options))
