"""The way back to transmitters: messages about frames come late, or not at all.

Greetings and heartbeats are no part of it: they keep the link, and measure its clocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from simulator.edge import DownlinkSettings
from simulator.link import messages as m

Parts = Sequence[Any]  # of one message, its addressee first
Deliver = Callable[[Parts], bool]


class Downlink:
    """Holds what is on its way. ``draw``: a number in [0, 1) for each message."""

    def __init__(
        self,
        settings: DownlinkSettings,
        deliver: Deliver,
        draw: Callable[[], float],
    ) -> None:
        self._delay_s, self._loss = settings.delay_s, settings.loss
        self._deliver, self._draw = deliver, draw
        self._flying: deque[tuple[float, Parts]] = deque()  # with the moment of arrival

    def send(self, message: m.Message, parts: Parts, now: float) -> bool:
        """False where the message cannot be delivered now; one that is lost counts as sent."""
        if getattr(message, "frame_id", None) is None:
            return self._deliver(parts)
        if self._loss and self._draw() < self._loss:
            return True
        if not self._delay_s:
            return self._deliver(parts)
        self._flying.append((now + self._delay_s, parts))
        return True

    @property
    def next_at(self) -> float | None:
        """When the next message arrives; None where none is on its way."""
        return self._flying[0][0] if self._flying else None

    def arrive(self, now: float) -> None:
        """Deliver what has been on its way for long enough."""
        while self._flying and self._flying[0][0] <= now:
            self._deliver(self._flying.popleft()[1])
