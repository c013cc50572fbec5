"""A frame whose symbols have many SNRs, as one SNR: the link-to-system mapping of 3GPP and IEEE
(mean mutual information per coded bit).

    SNR of each symbol --I of the modulation--> mean --inverse of I--> effective SNR

A code that runs over all these symbols fails about as often as on AWGN at the effective SNR. I is
the mutual information of bit-interleaved coded modulation (Caire, Taricco and Biglieri 1998).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.methods.digital.modulation import MODULATIONS, Modulation
from simulator.phy.streams import complex_normal

GRID_DB = np.arange(-25.0, 40.5, 0.5)
SAMPLES = 6000  # at each of the grid: I is right to less than 0.01 bit
SEED = 19_980_520


@lru_cache(maxsize=len(MODULATIONS))
def information(modulation: Modulation) -> NDArray[np.float64]:
    """(grid,) bits per symbol at ``GRID_DB``, rising."""
    generator = np.random.default_rng(SEED)
    bits = generator.integers(0, 2, SAMPLES * modulation.bits, np.uint8)
    symbols, noise = modulation.map(bits), complex_normal(generator, SAMPLES)
    rates = []
    for snr_db in GRID_DB:
        variance = 10 ** (-snr_db / 10)
        llr = modulation.demap(symbols + noise * np.float32(variance**0.5), variance)
        lost = np.logaddexp2(0, (2.0 * bits - 1) * llr / np.log(2))
        rates.append(modulation.bits * (1 - lost.mean()))
    return np.maximum.accumulate(np.clip(rates, 0, modulation.bits))


def effective_snr_db(
    modulation: Modulation, snr_db: NDArray[np.float64], kept: float = 1.0
) -> float:
    """Of the SNRs of all symbols of a frame, in dB, of which a share ``kept`` arrives."""
    return snr_db_of(modulation, kept * float(np.mean(information_at(modulation, snr_db))))


def information_at(modulation: Modulation, snr_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of a symbol at each of many SNRs, in dB."""
    return np.interp(snr_db, GRID_DB, information(modulation))


def snr_db_of(modulation: Modulation, bits: float) -> float:
    """The inverse of ``information_at``, within ``GRID_DB``."""
    rates = information(modulation)
    rising = np.concatenate([[True], np.diff(rates) > 0])  # flat ends have no inverse
    return float(np.interp(bits, rates[rising], GRID_DB[rising]))
