"""Airtime: one medium, shared by all transmitters."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.phy.airtime import airtime_s


@dataclass
class Air:
    """When the medium is free again. ``waits``: frames wait their airtime out."""

    symbol_rate_hz: float
    guard_s: float
    waits: bool
    free_at: float = 0.0

    def book(self, channel_uses: int, now: float) -> tuple[float, float]:
        """(modelled airtime in s, moment the frame has arrived) of a frame sent now."""
        duration = airtime_s(channel_uses, self.symbol_rate_hz, self.guard_s)
        if not self.waits:
            return duration, now
        self.free_at = max(self.free_at, now) + duration
        return duration, self.free_at
