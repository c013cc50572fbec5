"""What the air does to the frames of two users at once, as functions of their draw keys.

gain_of     h of a frame, which it has alone, too
told_of     the same as far as the transmitters know it
received_of y = sqrt(P_1) h_1 x_1 + sqrt(P_2) h_2 x_2 + n, the noise that of user 1's frame
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from channel.medium import Medium, OperatingPoint
from simulator.phy.propagation import noise_variance
from simulator.phy.superposition import Two, superposed


def gain_of(medium: Medium, key: bytes, point: OperatingPoint) -> complex:
    """The one gain of a frame."""
    return complex(medium.gains(key, point, 1)[0])


def told_of(medium: Medium, key: bytes, point: OperatingPoint, k: int) -> complex:
    """The gain of a frame that both transmitters are told; 1 under average CSIT."""
    return complex(medium.csit(key, point, k).h[0])


def received_of(
    medium: Medium, users: Two, key: bytes, point: OperatingPoint, sent: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(max(K_1, K_2),) complex64 that arrive, and the noise in them. ``key``: user 1's; ``sent``:
    (K_i,) of each, in the order of sending."""
    n = max(map(len, sent))
    sigma = np.float32(noise_variance(medium.snr_db(point)) ** 0.5)
    noise = medium.noise(key, "noise", point, n) * sigma
    return superposed(users, sent) + noise, noise
