"""Gray-mapped BPSK, QPSK, 16-QAM and 64-QAM, and their exact soft demapping.

    m bits --Gray--> level of the real axis, level of the imaginary axis --> symbol, E abs(s)^2 = 1
    symbol, noise variance --> m LLRs, log P(bit = 0) / P(bit = 1)

The first half of a symbol's bits chooses the real level, the second half the imaginary one (BPSK
has the real axis alone), in the Gray code of IEEE 802.11, 17.3.5.8. The axes are independent, so
that the exact LLR needs the levels of one axis only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
Symbols = NDArray[np.complex64]


class Mapper(Protocol):
    """Bits to symbols and back, as ``Modulation`` does it."""

    def map(self, bits: Bits) -> Symbols: ...
    def demap(self, equalized: Symbols, variance: float | NDArray[Any]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Modulation:
    """``bits``: of a symbol. ``axes``: 1 for BPSK, whose symbols are real, else 2."""

    name: str
    bits: int
    axes: int

    @property
    def bits_per_axis(self) -> int:
        return self.bits // self.axes

    @property
    def levels(self) -> NDArray[np.float64]:
        """The levels of one axis by the number that its bits spell, first bit highest."""
        count = 2**self.bits_per_axis
        position = np.arange(count)
        levels: NDArray[np.float64] = np.empty(count)
        # The neighbour differs in one bit: position i of the line carries the label i ^ (i >> 1).
        levels[position ^ (position >> 1)] = 2 * position - (count - 1)
        levels /= ((count**2 - 1) / 3 * self.axes) ** 0.5  # root of the mean power
        return levels

    def map(self, bits: Bits) -> Symbols:
        """(..., N m) bits -> (..., N) symbols of unit mean power over the constellation."""
        weights = 1 << np.arange(self.bits_per_axis)[::-1]
        groups = bits.reshape(*bits.shape[:-1], -1, self.axes, self.bits_per_axis)
        axes = self.levels[groups @ weights]
        symbols = axes[..., 0] + 1j * (axes[..., 1] if self.axes == 2 else 0)
        return symbols.astype(np.complex64)

    def demap(self, equalized: Symbols, variance: float | NDArray[Any]) -> NDArray[np.float32]:
        """(..., N) equalised symbols -> (..., N m) exact LLRs.

        ``variance``: of the complex noise after equalisation, sigma^2 / abs(h)^2, of all symbols
        or of each; half of it falls on each axis.
        """
        spread = np.asarray(variance, np.float64)[..., None, None]
        axes = np.stack([equalized.real, equalized.imag][: self.axes], axis=-1)
        exponents = -((axes[..., None].astype(np.float64) - self.levels) ** 2) / spread
        numbers = np.arange(len(self.levels))
        llrs = []
        for shift in reversed(range(self.bits_per_axis)):
            one = (numbers >> shift & 1).astype(bool)
            zero_sum = np.logaddexp.reduce(exponents[..., ~one], axis=-1)
            llrs.append(zero_sum - np.logaddexp.reduce(exponents[..., one], axis=-1))
        stacked = np.stack(llrs, axis=-1).astype(np.float32)
        return stacked.reshape(*equalized.shape[:-1], -1)


BPSK = Modulation("BPSK", 1, 1)
QPSK = Modulation("QPSK", 2, 2)
QAM16 = Modulation("16-QAM", 4, 2)
QAM64 = Modulation("64-QAM", 6, 2)
MODULATIONS = {modulation.name: modulation for modulation in (BPSK, QPSK, QAM16, QAM64)}
