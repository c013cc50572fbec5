"""Symbols in packets that arrive or do not, as over a network that drops what is damaged.

    symbols --interleave--> packets --Gilbert-Elliott--> lost or not, which the receiver knows

A lost symbol is one of gain 0: decoders give it no weight, LLRs of its bits are 0. Pilots are in no
packet. The Gilbert-Elliott model (Gilbert 1960, Elliott 1963) has a good and a bad state, each with
a loss rate of its own; a frame starts in one of them as often as each lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

# Raised at both places where a frame with rounds begins.
FEEDBACK_AND_PACKETS = (
    "a codec with feedback would have to know which packets were lost, and does not: "
    "set channel.packets.size to 0, or take a codec without feedback"
)


@dataclass(frozen=True)
class Packets:
    """``size``: symbols of a packet, 0: there are none; ``interleaved``: neighbours are in
    different packets, else in the same."""

    size: int = 0
    interleaved: bool = True

    def count(self, k: int) -> int:
        return -(-k // self.size) if self.size else 0

    def of_symbols(self, k: int) -> np.ndarray:
        """(K,) which packet each symbol is in."""
        index = np.arange(k)
        of: np.ndarray = index % self.count(k) if self.interleaved else index // self.size
        return of

    def erased(self, lost: np.ndarray, k: int) -> np.ndarray | None:
        """(K,) bool, which symbols are lost; None where none is. ``lost``: (count,) bool. Raises
        ``ValueError`` for another number."""
        if len(lost) != self.count(k):
            raise ValueError(f"{len(lost)} packets instead of {self.count(k)}")
        return lost[self.of_symbols(k)] if lost.any() else None


@dataclass(frozen=True)
class Loss:
    """Probabilities: of a loss in the good and in the bad state, and of a change of state from one
    packet to the next."""

    good: float = 0.0
    bad: float = 1.0
    good_to_bad: float = 0.0
    bad_to_good: float = 1.0

    @property
    def rate(self) -> float:
        """The mean."""
        share = self._share
        return (1 - share) * self.good + share * self.bad

    @property
    def _share(self) -> float:
        """Of packets in the bad state."""
        return self.good_to_bad / (self.good_to_bad + self.bad_to_good)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """(count,) bool, which packets are lost."""
        turns, losses = generator.random((2, count))
        if not self.good_to_bad:
            lost: np.ndarray = losses < self.good
            return lost

        def step(bad: bool, turn: float) -> bool:
            return turn >= self.bad_to_good if bad else turn < self.good_to_bad

        first = bool(generator.random() < self._share)
        states = np.fromiter(accumulate(turns[1:].tolist(), step, initial=first), bool)
        drawn: np.ndarray = losses < np.where(states[:count], self.bad, self.good)
        return drawn
