"""Shannon's bound: how many bits at most arrive without error through K channel uses.

One gain for a whole image makes two readings of a fading channel: the rate that the gain of this
image allows (a transmitter that knows it never fails), and the ergodic rate, the mean over gains,
which would need a code across many images.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.methods.digital.mcs import capacity_per_use
from simulator.methods.digital.success import SEED
from simulator.phy.law import Law
from simulator.phy.laws import LAWS

#: Frames that the mean capacity is measured over.
DRAWS = 10_000
SHORT = 840  # symbols of such a frame: whole uses of 1 to 8 antennas


def bits_of(k: int, bits_per_use: float) -> int:
    """floor(K C)."""
    return math.floor(k * bits_per_use)


def instantaneous(draw: Draw, k: int) -> float:
    """log2(1 + abs(h)^2 snr) bits a symbol, a mean over those of this frame; with several antennas
    log2 det(I + snr A A^H) of their channel A, in the uses that the symbols have."""
    return draw.capacity(k)


def ergodic(draw: Draw, k: int) -> float:
    """E log2(1 + abs(h)^2 snr) bits a use, whatever this image's h is; log2(1 + snr) on AWGN.

    Exact on Rayleigh fading, elsewhere a mean over ``DRAWS`` frames. Raises ``SettingsError`` at a
    plugin's channel, whose gains may depend on what a point does not say.
    """
    snr = 10 ** (draw.snr_db / 10)
    channel = draw.point.channel
    if channel == "awgn":
        return capacity_per_use(snr)
    if channel not in LAWS:
        raise SettingsError(f"the ergodic capacity is not known on {channel}.")
    if channel != "rayleigh":
        return mean_capacity(draw.law, snr)
    # abs(h)^2 = e^t is exponential, so t has density exp(t - e^t): it vanishes at both ends so
    # fast that the trapezoidal rule is exact to rounding.
    t, step = np.linspace(-40, 5, 4001, retstep=True)
    return float(np.sum(np.log2(1 + snr * np.exp(t)) * np.exp(t - np.exp(t))) * step)


@lru_cache(maxsize=64)
def mean_capacity(law: Law, snr: float) -> float:
    """Bits a symbol, over ``DRAWS`` short frames of a law."""
    generator = np.random.default_rng(SEED)
    rates = [law.capacity(law.gains(generator, SHORT), SHORT, snr) for _ in range(DRAWS)]
    return float(np.mean(rates))
