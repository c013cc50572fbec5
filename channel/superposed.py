"""What the air does to the frames of two users at once, as functions of their draw keys.

gain_of     h of a frame, which it has alone, too
told_of     the same as far as the transmitters know it
received_of y = sqrt(P_1) h_1 x_1 + sqrt(P_2) h_2 x_2 + n, the noise that of user 1's frame
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from channel.medium import NONE_LOST, Medium, OperatingPoint, Reception, energy_of
from simulator.phy.impairments import papr_db
from simulator.phy.propagation import noise_variance
from simulator.phy.superposition import Two, User, superposed


def gain_of(medium: Medium, key: bytes, point: OperatingPoint) -> complex:
    """The one gain of a frame."""
    return complex(medium.gains(key, point, 1)[0])


def told_of(medium: Medium, key: bytes, point: OperatingPoint, k: int) -> complex:
    """The gain of a frame as both transmitters know it; 1 under average CSIT."""
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


def receptions_of(
    medium: Medium, users: Two, key: bytes, point: OperatingPoint, sent: Sequence[np.ndarray]
) -> tuple[Reception, Reception]:
    """What each user has of ``received_of``, which both have the same ``symbols`` of: SNR and gain
    of its own frame, as if it were there alone with its part of the power."""
    received, noise = received_of(medium, users, key, point, sent)

    def of(user: User, symbols: np.ndarray) -> Reception:
        ratio = user.energy * energy_of(symbols) / max(energy_of(noise[: user.k]), 1e-30)
        return Reception(
            symbols=received,
            h=np.array([user.h], np.complex64),
            h_abs2=abs(user.h) ** 2,
            received_snr_db=float(10 * np.log10(max(ratio, 1e-30))),
            snr_db=medium.given_snr_db(point),
            papr_db=papr_db(symbols),
            lost=NONE_LOST,
            feedback_bits=medium.feedback_bits(point, 1),
        )

    return of(users[0], sent[0]), of(users[1], sent[1])
