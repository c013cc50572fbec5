"""Kinds of channel that a plugin adds: gains and noise of flat fading, drawn by its functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.phy.streams import complex_normal

Gain = Callable[[float, np.random.Generator], complex]
Noise = Callable[[float, np.random.Generator, int], NDArray[np.complex64]]


def unity(snr_db: float, generator: np.random.Generator) -> complex:
    """The gain of AWGN."""
    return 1.0


def white(snr_db: float, generator: np.random.Generator, n: int) -> NDArray[np.complex64]:
    """The noise of AWGN."""
    return complex_normal(generator, n)


@dataclass(frozen=True)
class Channel:
    """``gain(snr_db, generator)`` -> h of one block, with E abs(h)^2 = 1 for SNR to mean what it
    says.

    ``noise(snr_db, generator, n)`` -> (n,) complex64 of unit variance, which is scaled to the SNR.
    It need be neither white nor Gaussian. Both are all that a method sees of a channel, so that
    every method can be sent through it. ``source_sha256``: of the file that both stand in.
    """

    gain: Gain
    noise: Noise
    source_sha256: str = ""

    def gains(self, generator: np.random.Generator, snr_db: float, blocks: int) -> np.ndarray:
        """(blocks,) complex64. Raises what ``gain`` does, and ``ValueError`` for other than finite
        values."""
        drawn = [self.gain(snr_db, generator) for _ in range(blocks)]
        return checked(np.asarray(drawn, np.complex64), blocks, "gains")

    def noises(self, generator: np.random.Generator, snr_db: float, n: int) -> np.ndarray:
        """(n,) complex64. Raises what ``noise`` does, and ``ValueError`` for other than n finite
        values."""
        return checked(np.array(self.noise(snr_db, generator, n), np.complex64), n, "noise values")


def checked(values: np.ndarray, n: int, what: str) -> np.ndarray:
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ValueError(f"it must give {n} finite {what}")
    return values


CHANNELS: dict[str, Channel] = {}
