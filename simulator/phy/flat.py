"""Flat fading: one gain for all symbols of a block, y^ = h y + n (equation 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.phy.fading import KINDS, Fading, delayed
from simulator.phy.law import Law
from simulator.phy.pilots import Blocks, estimate_gains, pilot_symbols
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState


@dataclass(frozen=True)
class Flat(Law):
    """``kind``: of ``KINDS``, or one whose gains nobody draws. ``preamble``: channel uses in front
    of each frame."""

    kind: str
    fading: Fading
    blocks: Blocks
    preamble: int = 0

    def uses(self, k: int) -> int:
        return self.preamble + super().uses(k)

    def count(self, k: int) -> int:
        return self.blocks.count(k)

    def pilots(self, k: int) -> int:
        return self.blocks.pilots(k)

    def pilot_symbols(self, k: int) -> np.ndarray:
        return pilot_symbols(self.blocks.pilots(k))

    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        return KINDS[self.kind](generator, self.blocks.count(k), self.fading)

    def before(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        """Of one gain for the whole frame."""
        earlier = delayed(self.kind, complex(h[0]), generator, self.fading, delay)
        return np.array([earlier], np.complex64)

    def of_symbols(self, k: int) -> np.ndarray:
        return self.blocks.of_symbols(k)

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        return self.blocks.of_each_symbol(values, k)

    def times(self, k: int) -> np.ndarray:
        """Pilots go first on the wire, and in front of their own block on the air."""
        per_block, length = self.blocks.pilots_per_block, self.blocks.coherence_time
        if not (per_block and length):
            return super().times(k)
        block = np.arange(self.blocks.pilots(k))
        own = self.blocks.of_symbols(k)
        pilots = block // per_block * length + block % per_block
        return np.concatenate([pilots, np.arange(k) + (own + 1) * per_block])

    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        if len(h) == 1:
            one: np.ndarray = h[0] * sent
            return one
        p = len(sent) - k
        gains = [np.repeat(h, p // len(h)), self.blocks.of_each_symbol(h, k)]
        each: np.ndarray = np.concatenate(gains) * sent
        return each

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        p = self.blocks.pilots(k)
        pilots, payload = np.split(received.reshape(rounds, p + k), [p], axis=1)
        if p:
            estimates = [estimate_gains(each, self.blocks.pilots_per_block) for each in pilots]
            h = np.stack(estimates).mean(axis=0, dtype=np.complex64)
        if len(h) != self.blocks.count(k):
            raise ValueError(f"{len(h)} gains for {self.blocks.count(k)} blocks")
        state = ChannelState(snr_db, h)
        if len(h) == 1:
            return Heard(payload.reshape(-1), state)
        return Heard(payload.reshape(-1), state, np.tile(self.of_symbols(k), rounds))
