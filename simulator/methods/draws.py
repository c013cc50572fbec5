"""The draws of one transmission, the same that the three processes make.

    seed, image, repeat -draw key-> streams h, noise, sampler -> Draw

Gains and noise depend on neither method, rate nor SNR, so that all curves are paired with one
another and with a ``diffjscc simulate`` run of the same seed.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from simulator.errors import SettingsError
from simulator.methods.method import Draw, Point
from simulator.methods.registry import CHANNELS, Channel
from simulator.phy.fading import KINDS, Fading
from simulator.phy.streams import complex_normal, sampler_seed, stream

# Codecs pad an image to whole cells, and small ones to a few of them: noise for all of these.
PADDED_PX = 64


def noise_length(cbr: Fraction, size: tuple[int, int]) -> int:
    """Draws that are enough for an image of ``size`` (H, W), however a method pads it."""
    height, width = (-(-side // PADDED_PX) * PADDED_PX for side in size)
    return int(-(-cbr * 3 * height * width // 1))


def draw_of(draw_key: bytes, point: Point, size: tuple[int, int], rician_k_db: float = 6.0) -> Draw:
    """The gain, the noise and the seed of a frame with this draw key.

    Raises ``SettingsError`` for a channel that neither this project nor a plugin has.
    """
    n = noise_length(point.cbr, size)
    seed = sampler_seed(draw_key)
    if point.channel in CHANNELS:
        h, noise = of_plugin(CHANNELS[point.channel], draw_key, point, n)
        return Draw(h, noise, seed)
    if point.channel not in KINDS:
        names = ", ".join((*KINDS, *CHANNELS))
        raise SettingsError(f"there is no channel {point.channel!r}; there are {names}.")
    gains = KINDS[point.channel](stream(draw_key, "h"), 1, Fading(10 ** (rician_k_db / 10)))
    return Draw(complex(gains[0]), complex_normal(stream(draw_key, "noise"), n), seed)


def of_plugin(
    channel: Channel, draw_key: bytes, point: Point, n: int
) -> tuple[complex, np.ndarray]:
    """What a plugin's channel says, from the same streams as ours. Raises ``SettingsError``."""
    h = complex(channel.gain(point.snr_db, stream(draw_key, "h")))
    noise = np.asarray(channel.noise(point.snr_db, stream(draw_key, "noise"), n), np.complex64)
    if noise.shape != (n,) or not np.isfinite(noise).all() or not np.isfinite(h):
        raise SettingsError(
            f"channel {point.channel!r} must give a finite gain and {n} finite noise values."
        )
    return h, noise
