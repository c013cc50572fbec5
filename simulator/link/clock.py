"""Clocks: passed in everywhere, so that tests can turn them."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

monotonic: Clock = time.monotonic


class ClockOffset:
    """Offset to a peer's monotonic clock by the NTP rule; the minimum round trip wins."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.round_trip_s = float("inf")

    def add(self, t1: float, t2: float, t3: float, t4: float) -> None:
        """t1 sent and t4 received by ours, t2 received and t3 sent by the peer's clock."""
        round_trip = (t4 - t1) - (t3 - t2)
        if 0 <= round_trip < self.round_trip_s:
            self.round_trip_s = round_trip
            self.offset_s = ((t2 - t1) + (t3 - t4)) / 2

    @property
    def error_s(self) -> float | None:
        """Half the round trip: how far the offset may be off. None before the first answer."""
        return self.round_trip_s / 2 if self.round_trip_s < float("inf") else None

    def reset(self) -> None:
        """Forget what was measured: the peer is another process now."""
        self.round_trip_s = float("inf")
