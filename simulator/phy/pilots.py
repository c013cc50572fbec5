"""Pilots and fading blocks: which symbol of a frame sees which gain.

On the wire all pilots come first, block by block, then the symbols. On the air each block of
``coherence_time`` symbols starts with its own pilots:

    wire  [p p | p p | p p][s s s s s s s s]
    air   [p p s s s | p p s s s | p p s s]     coherence_time 5, 2 pilots a block

``coherence_time`` 0 is one block for the whole frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Blocks:
    """How long a gain lasts, and how many pilots each block has.

    ``coherence_time``: symbols of a block, pilots included; 0: the whole frame is one.
    """

    coherence_time: int = 0
    pilots_per_block: int = 0

    def count(self, k: int) -> int:
        """Number of fading blocks that K symbols and their pilots need."""
        if not self.coherence_time:
            return 1
        return -(-k // (self.coherence_time - self.pilots_per_block))

    def pilots(self, k: int) -> int:
        """P, the pilots of K symbols: they are channel uses, too."""
        return self.pilots_per_block * self.count(k)

    def of_symbols(self, k: int) -> np.ndarray:
        """(K,) index of the block of each symbol."""
        if not self.coherence_time:
            return np.zeros(k, dtype=np.intp)
        return np.arange(k) // (self.coherence_time - self.pilots_per_block)

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        """(K,) the value of its block for each symbol; ``values``: (blocks,)."""
        return np.repeat(
            values, self.coherence_time - self.pilots_per_block if self.coherence_time else k
        )[:k]


def known_symbols(key: int, count: int) -> np.ndarray:
    """(count,) complex64 QPSK of unit power, a function of the key (128 bits)."""
    generator = np.random.Generator(np.random.Philox(key=key))
    bits = 1 - 2 * generator.integers(0, 2, size=(count, 2)).astype(np.float32)
    return ((bits[:, 0] + 1j * bits[:, 1]) / np.float32(2**0.5)).astype(np.complex64)


def pilot_symbols(p: int) -> np.ndarray:
    """(P,) complex64 of unit power, known to both ends."""
    return known_symbols(0x5049_4C4F_5453, p)


def estimate_gains(received_pilots: np.ndarray, pilots_per_block: int) -> np.ndarray:
    """Least-squares gain of each block: the mean of conj(p) y, for unit-power pilots.

    ``received_pilots``: (P,) complex; returns (P / pilots_per_block,) complex64. Its error has
    variance sigma^2 / pilots_per_block.
    """
    sent = pilot_symbols(len(received_pilots))
    products = (sent.conj() * received_pilots).reshape(-1, pilots_per_block)
    return products.mean(axis=1).astype(np.complex64)  # type: ignore[no-any-return]
