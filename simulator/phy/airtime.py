"""Airtime: how long a frame takes the medium."""

from __future__ import annotations


def airtime_s(channel_uses: int, symbol_rate_hz: float, guard_s: float) -> float:
    """(K + P) / symbol rate + guard."""
    return channel_uses / symbol_rate_hz + guard_s
