"""Shannon's bound: so many bits arrive without error through K channel uses, and none more.

One gain for a whole image makes two readings of a fading channel: the rate that the gain of this
image allows (a transmitter that knows it never fails), and the ergodic rate, the mean over gains,
which would need a code across many images.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.errors import SettingsError
from simulator.methods.digital.mcs import capacity_per_use
from simulator.methods.method import Point


def bits_of(k: int, bits_per_use: float) -> int:
    """floor(K C)."""
    return math.floor(k * bits_per_use)


def instantaneous(point: Point, h: complex) -> float:
    """log2(1 + abs(h)^2 snr) bits a use."""
    return capacity_per_use(abs(h) ** 2 * 10 ** (point.snr_db / 10))


def ergodic(point: Point, h: complex) -> float:
    """E log2(1 + abs(h)^2 snr) bits a use, whatever this image's ``h`` is; log2(1 + snr) on AWGN.

    Raises ``SettingsError`` at a channel whose distribution an operating point does not say.
    """
    snr = 10 ** (point.snr_db / 10)
    if point.channel == "awgn":
        return capacity_per_use(snr)
    if point.channel != "rayleigh":
        raise SettingsError(
            f"the ergodic capacity is known on awgn and rayleigh, not on {point.channel}."
        )
    # abs(h)^2 = e^t is exponential, so t has density exp(t - e^t): it vanishes at both ends so
    # fast that the trapezoidal rule is exact to rounding.
    t, step = np.linspace(-40, 5, 4001, retstep=True)
    return float(np.sum(np.log2(1 + snr * np.exp(t)) * np.exp(t - np.exp(t))) * step)
