"""Modulation and coding schemes, and which one a given SNR gets.

802.11n's four modulations with its four code rates; the paper's two are among them: BPSK 2/3 at
1 dB and 16-QAM 1/2 at 10 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from simulator.methods.digital.ldpc import RATES
from simulator.methods.digital.modulation import MODULATIONS, Mapper, Modulation

#: Of the capacity, for ``choose_mcs``: the paper's BPSK 2/3 takes 57 % at 1 dB, and its 16-QAM 1/2
#: 58 % at 10 dB.
LOAD = 0.58


class Scheme(Protocol):
    """What symbols carry: a modulation, or one for each of them, and the rate of one code."""

    @property
    def modulation(self) -> Mapper: ...
    @property
    def rate(self) -> Fraction: ...
    def coded(self, k: int) -> int:
        """Bits of K symbols."""
        ...


@dataclass(frozen=True)
class Mcs:
    modulation: Modulation
    rate: Fraction

    @property
    def efficiency(self) -> Fraction:
        """Information bits a channel use."""
        return self.modulation.bits * self.rate

    def coded(self, k: int) -> int:
        return k * self.modulation.bits

    def __str__(self) -> str:
        return f"{self.modulation.name} {self.rate}"


#: By efficiency; of two that are equal, the one with the smaller constellation is last.
ALL = tuple(
    sorted(
        (Mcs(modulation, rate) for modulation in MODULATIONS.values() for rate in RATES),
        key=lambda mcs: (mcs.efficiency, -mcs.modulation.bits),
    )
)


def capacity_per_use(snr: float) -> float:
    """log2(1 + snr) bits a complex channel use; ``snr`` is linear."""
    return float(np.log2(1 + snr))


def choose_mcs(snr_db: float) -> Mcs:
    """The most efficient scheme of at most ``LOAD`` of the AWGN capacity at ``snr_db``.

    This puts the paper's two schemes where the paper has them, and the same margin in between.
    Where not even the least efficient one is allowed, it is taken all the same.
    """
    limit = LOAD * capacity_per_use(10 ** (snr_db / 10))
    return [ALL[0], *(mcs for mcs in ALL if mcs.efficiency <= limit)][-1]
