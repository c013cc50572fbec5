"""From what a receiver hears to the symbols that a decoder takes.

Heard -equalise (4)-> symbols, noise variance
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.state import ChannelState

Equalizer = Literal["zero-forcing", "mmse"]
TINY_POWER = np.float32(1e-12)  # of a gain: the receiver hears nothing


@dataclass(frozen=True)
class Heard:
    """What a receiver knows of a frame before it decodes.

    ``payload``: (K,) complex64 as it came; ``state``: the SNR as the channel gave it, and what the
    receiver takes for the gains; ``block``: (K,) which of these each symbol has, None where there
    is but one; ``error``: mean square error of the gains, as far as the receiver reckons with it;
    ``erased``: (K,) bool, symbols that are known to be lost, which have gain 0; None: none.
    ``mixing``: (N_r, N) complex64, from streams that were sent at once to antennas, as the receiver
    has taken them apart; None: there was one stream.
    """

    payload: np.ndarray
    state: ChannelState
    block: np.ndarray | None = None
    error: float = 0.0
    erased: np.ndarray | None = None
    mixing: np.ndarray | None = None

    @property
    def h(self) -> np.ndarray:
        """(1,) or (K,) complex64, the gain of each symbol."""
        of_symbols = self.state.h if self.block is None else self.state.h[self.block]
        if self.erased is None:
            return of_symbols
        kept: np.ndarray = np.where(self.erased, np.complex64(0), of_symbols)
        return kept

    def without(self, erased: np.ndarray | None) -> Heard:
        """The same, but for symbols that are lost."""
        if erased is None:
            return self
        return replace(self, erased=erased, payload=np.where(erased, 0, self.payload))

    def equalised(self, equalizer: Equalizer) -> np.ndarray:
        """(K,) complex64, equation (4) or its MMSE form."""
        if equalizer == "mmse":
            n0: Any = np.float32(self.state.noise_variance + self.error)
            symbols: np.ndarray = equalize_mmse(self.payload, self.h, n0)
            return symbols
        return equalize(self.payload, self.h)

    def noise_variance(self, equalizer: Equalizer) -> np.ndarray | None:
        """(K,) float32, of the noise in each symbol of ``equalised``; None under one gain, which
        says as much."""
        if self.block is None and self.erased is None:
            return None
        n0 = np.float32(self.state.noise_variance + self.error)
        power: np.ndarray = np.abs(self.h) ** 2
        if equalizer == "mmse":
            power = (power + n0) ** 2 / np.maximum(power, TINY_POWER)
        variance: np.ndarray = n0 / np.maximum(power, TINY_POWER)
        return variance
