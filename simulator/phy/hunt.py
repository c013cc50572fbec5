"""Bursts in a stream of samples that comes in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.phy.burst import HALF, Burst
from simulator.phy.pulse import reach
from simulator.phy.synchronise import Received, Start, filled, margin, received, starts

PIECE = 1 << 16  # samples that are looked at together


def lead(sps: int) -> int:
    """Samples in front of a place that are needed to find what begins there."""
    return HALF * sps + 2 * reach(sps) + sps


class Hunt:
    """Waits for one burst. ``strangers``: whether other bursts were heard meanwhile."""

    def __init__(self, burst: Burst, sps: int, max_offset: float) -> None:
        self._burst, self._sps, self._max_offset = burst, sps, max_offset
        self._kept = np.zeros(lead(sps), np.complex64)  # the stream may begin with the burst
        self._start: Start | None = None
        self.strangers = False

    def feed(self, samples: np.ndarray) -> Received | None:
        """Some samples more, complex64. Raises ``ValueError`` for a burst that is damaged."""
        self._kept = np.concatenate([self._kept, samples])
        if self._start is None:
            self._look()
        if self._start is None or not filled(self._kept, self._start, self._burst, self._sps):
            return None
        return received(self._kept, self._start, self._burst, self._sps)

    def _look(self) -> None:
        for start in starts(self._kept, self._sps, self._max_offset):
            if start.is_of(self._burst):
                self._start = start
                return
            self.strangers = True
        self._kept = self._kept[-(lead(self._sps) + margin(self._sps)) :]


def all_starts(samples: np.ndarray, sps: int, max_offset: float) -> Iterator[Start]:
    """Every burst in (n,) samples, in their order; ``at`` counts from the first of them. They may
    be a file that is mapped: they are read piece by piece."""
    before, behind = lead(sps), margin(sps)
    last = -1.0
    for first in range(0, len(samples), PIECE):
        offset = first - before
        piece = piece_of(samples, offset, first + PIECE + behind)
        found = (
            Start(start.at + offset, start.offset, start.tag)
            for start in starts(piece, sps, max_offset)
        )
        for start in found:
            if start.at > last + HALF * sps:  # not the one at the end of the piece before
                last = start.at
                yield start


def piece_of(samples: np.ndarray, first: int, last: int) -> np.ndarray:
    """(last - first,) complex64 of samples, with zeros where there are none."""
    piece = np.zeros(last - first, np.complex64)
    begin, end = max(0, first), min(len(samples), last)
    piece[begin - first : end - first] = samples[begin:end]
    return piece


def received_of(samples: np.ndarray, start: Start, burst: Burst, sps: int) -> Received:
    """The frame of a burst that ``all_starts`` has found. Raises ``ValueError`` for one that is
    damaged, or that the samples end in."""
    if not filled(samples, start, burst, sps):
        raise ValueError("the samples end within the burst")
    first = int(np.floor(start.at)) - lead(sps)
    piece = piece_of(samples, first, first + (burst.symbols + 2 * HALF) * sps + 2 * lead(sps))
    here = Start(start.at - first, start.offset, start.tag)
    return received(piece, here, burst, sps)
