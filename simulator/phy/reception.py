"""From what arrives at the antenna to the symbols that a decoder takes.

received -least squares, where CSIR is estimated-> Heard -equalise (4)-> symbols, noise variance
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.pilots import Blocks, estimate_gains
from simulator.phy.state import ChannelState

Equalizer = Literal["zero-forcing", "mmse"]
TINY_POWER = np.float32(1e-12)  # of a gain: the receiver hears nothing


@dataclass(frozen=True)
class Heard:
    """What a receiver knows of a frame before it decodes.

    ``payload``: (K,) complex64 as it came; ``state``: the SNR as the channel gave it, and what the
    receiver takes for the gains; ``block``: (K,) which of these each symbol has, None where there
    is but one.
    """

    payload: np.ndarray
    state: ChannelState
    block: np.ndarray | None = None

    @property
    def h(self) -> np.ndarray:
        """(1,) or (K,) complex64, the gain of each symbol."""
        if self.block is None:
            return self.state.h
        of_symbols: np.ndarray = self.state.h[self.block]
        return of_symbols

    def equalised(self, equalizer: Equalizer) -> np.ndarray:
        """(K,) complex64, equation (4) or its MMSE form."""
        if equalizer == "mmse":
            n0: Any = np.float32(self.state.noise_variance)
            symbols: np.ndarray = equalize_mmse(self.payload, self.h, n0)
            return symbols
        return equalize(self.payload, self.h)

    def noise_variance(self, equalizer: Equalizer) -> np.ndarray | None:
        """(K,) float32, of the noise in each symbol of ``equalised``; None under one gain, which
        says as much."""
        if self.block is None:
            return None
        n0 = np.float32(self.state.noise_variance)
        power: np.ndarray = np.abs(self.h) ** 2
        if equalizer == "mmse":
            power = (power + n0) ** 2 / np.maximum(power, TINY_POWER)
        variance: np.ndarray = n0 / np.maximum(power, TINY_POWER)
        return variance


def hear(
    received: np.ndarray, h: np.ndarray, p: int, blocks: Blocks, snr_db: float, rounds: int = 1
) -> Heard:
    """(P + K,) received symbols under (blocks,) gains; with pilots, ``h`` is not looked at.

    ``rounds``: equal parts that were sent one after the other under the same gains, each behind
    pilots of its own. Raises ``ValueError`` where there are fewer gains than blocks.
    """
    parts = received.reshape(rounds, -1)
    pilots, payload = np.split(parts, [p // rounds], axis=1)
    if p:
        estimates = [estimate_gains(each, blocks.pilots_per_block) for each in pilots]
        h = np.stack(estimates).mean(axis=0, dtype=np.complex64)
    state = ChannelState(snr_db, h)
    if len(h) == 1:
        return Heard(payload.reshape(-1), state)
    block = blocks.of_symbols(payload.shape[1])
    if block[-1] >= len(h):
        raise ValueError(f"{len(h)} gains for {block[-1] + 1} blocks")
    return Heard(payload.reshape(-1), state, np.tile(block, rounds))
