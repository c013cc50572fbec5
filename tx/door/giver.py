"""Images from the door to the link, in a thread of their own.

One at a time: the link takes them in order anyway, and so one image at most is being decoded.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from simulator.images import decode_image
from simulator.link.clock import monotonic
from simulator.rgb import White
from tx.door.question import Question
from tx.link import Link
from tx.sent import Sent


@dataclass
class Order:
    """``data``: an image file. What the question waits for is to be here in time."""

    data: bytes
    name: str
    question: Question
    wanted: bool = True

    def __post_init__(self) -> None:
        self._deadline = monotonic() + self.question.timeout

    @property
    def left_s(self) -> float:
        return max(0.0, self._deadline - monotonic())

    def forget(self) -> None:
        """It is not sent any more, unless the link has it; its bytes are free."""
        self.wanted, self.data = False, b""


class Unwanted(Exception):
    """The order was forgotten before the link was given its image: it is not sent."""


class Giver:
    def __init__(self, link: Link, max_pixels: int, white: White) -> None:
        self._link, self._max_pixels, self._white = link, max_pixels, white
        self._pool = ThreadPoolExecutor(1, "door")

    def give(self, order: Order) -> Future[Sent]:
        """Its exceptions are those of ``decode_image`` and ``Link.send``, and ``Unwanted``."""
        return self._pool.submit(self._send, order)

    def _send(self, order: Order) -> Sent:
        data, order.data = order.data, b""
        name = order.name or "the image"
        picture = decode_image(data, name, self._max_pixels, self._white)
        del data  # while the link makes it wait
        if not order.wanted:
            raise Unwanted
        asked = order.question
        return self._link.send(picture, asked.snr_db, asked.cbr, order.name, order.left_s)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
