"""OFDM over multipath by a transmitter that knows the gains, and shares its power by them.

    water-filling   p_n = max(0, mu - 1 / g_n)               most bits, sum of log2(1 + p_n g_n)
    least-error     p_n = max(0, nu / sqrt(g_n) - 1 / g_n)   least sum of errors 1 / (1 + p_n g_n)

g_n = abs(h_n)^2 snr, and mu or nu is such that the mean power is 1. The first is for codes that mix
their symbols (Tse and Viswanath, Fundamentals of Wireless Communication, 5.3.3); the second is for
symbols of which each counts (Lee and Petersen, 1976, for parallel channels). Either may leave
subcarriers without power: their symbols are lost, and the receiver, which reckons the same, knows
which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simulator.phy.multipath import Multipath
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard

Power = Literal["equal", "water-filling", "least-error"]
TINY = 1e-12  # keeps what a silent subcarrier would need finite


def allocated(power: Power, snrs: np.ndarray) -> np.ndarray:
    """(N,) powers of mean 1 for the (N,) SNRs g, linear, of unit power."""
    g = np.maximum(np.asarray(snrs, float), TINY)
    if power == "equal":
        return np.ones_like(g)
    slope = np.ones_like(g) if power == "water-filling" else g**-0.5
    floor = 1 / g
    order = np.argsort(floor / slope)  # the first to be given power comes first
    levels = (len(g) + np.cumsum(floor[order])) / np.cumsum(slope[order])
    above = levels > (floor / slope)[order]
    level = levels[np.flatnonzero(above)[-1]]
    powers: np.ndarray = np.maximum(level * slope - floor, 0.0)
    return powers


@dataclass(frozen=True)
class Allocated(Multipath):
    """Both ends know the gains, and there are no pilots. ``power``: how it is shared."""

    power: Power = "water-filling"

    def _amplitudes(self, h: np.ndarray, snr_db: float) -> np.ndarray:
        snrs = np.abs(h.astype(np.complex128)) ** 2 / noise_variance(snr_db)
        amplitudes: np.ndarray = np.sqrt(allocated(self.power, snrs)).astype(np.float32)
        return amplitudes

    def effective(self, h: np.ndarray, snr_db: float) -> np.ndarray:
        gains: np.ndarray = h * self._amplitudes(h, snr_db)
        return gains

    def capacity(self, h: np.ndarray, k: int, snr: float) -> float:
        return super().capacity(self.effective(h, float(10 * np.log10(snr))), k, snr)

    def shaped(self, symbols: np.ndarray, h: np.ndarray, k: int, snr_db: float) -> np.ndarray:
        shaped: np.ndarray = symbols * self.of_each_symbol(self._amplitudes(h, snr_db), k)
        return shaped

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        heard = super().hear(received, h, k, snr_db, rounds)
        return replace(heard, state=replace(heard.state, h=self.effective(h, snr_db)))
