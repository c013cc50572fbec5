"""Power-delay profiles: how much of the power arrives how late.

``exponential`` has one path at each sample, of power exp(-l / 4), as in OFDM-guided JSCC (Yang et
al., arXiv 2109.05194). The TDL profiles are those of 3GPP TR 38.901, tables 7.7.2-1 to 7.7.2-5:
delays there are normalised, and a delay spread scales them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Name = Literal["exponential", "tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e"]
DECAY = 4.0  # samples, of the exponential profile


@dataclass(frozen=True, eq=False)
class Profile:
    """``delays``: (paths,) in samples; ``powers``: (paths,), of sum 1 with the line of sight, which
    is the first path where ``line_of_sight`` is its power, and comes on top of a scattered one."""

    delays: np.ndarray
    powers: np.ndarray
    line_of_sight: float = 0.0

    def response(self, n: int) -> np.ndarray:
        """(paths, n) complex64: what a path of gain 1 is at each of n subcarriers, in FFT order."""
        phase = np.outer(self.delays, np.fft.fftfreq(n))
        return np.exp(-2j * np.pi * phase).astype(np.complex64)

    def correlation(self, n: int) -> np.ndarray:
        """(n, n) complex128, E H_a conj(H_b) of the subcarriers a and b."""
        delays, powers = self.delays, self.powers
        if self.line_of_sight:
            delays, powers = np.append(delays, delays[0]), np.append(powers, self.line_of_sight)
        rows = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(n), delays))
        r: np.ndarray = (rows * powers) @ rows.conj().T
        return r

    @property
    def longest(self) -> float:
        """The largest delay, in samples."""
        return float(self.delays.max())


def exponential(taps: int) -> Profile:
    """``taps`` samples long."""
    powers = np.exp(-np.arange(taps) / DECAY)
    return Profile(np.arange(taps, dtype=float), powers / powers.sum())


def tapped(name: str, delay_spread: float) -> Profile:
    """A profile of 3GPP; ``delay_spread``: its root mean square, in samples."""
    delays, powers_db, los_db = TDL[name]
    powers, los = 10 ** (np.array(powers_db) / 10), 0.0
    if los_db is not None:
        los = 10 ** (los_db / 10)
    total = powers.sum() + los
    return Profile(np.array(delays) * delay_spread, powers / total, los / total)


def profile_of(name: Name, taps: int, delay_spread: float) -> Profile:
    return exponential(taps) if name == "exponential" else tapped(name, delay_spread)


#: normalised delays, powers of the scattered paths in dB, and that of a line of sight
TDL: dict[str, tuple[tuple[float, ...], tuple[float, ...], float | None]] = {
    "tdl-a": (
        (0.0, 0.3819, 0.4025, 0.5868, 0.461, 0.5375, 0.6708, 0.575, 0.7618, 1.5375,
         1.8978, 2.2242, 2.1718, 2.4942, 2.5119, 3.0582, 4.081, 4.4579, 4.5695, 4.7966,
         5.0066, 5.3043, 9.6586),
        (-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7,
         -12.4, -15.2, -10.8, -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
        None,
    ),
    "tdl-b": (
        (0.0, 0.1072, 0.2155, 0.2095, 0.287, 0.2986, 0.3752, 0.5055, 0.3681, 0.3697,
         0.57, 0.5283, 1.1021, 1.2756, 1.5474, 1.7842, 2.0169, 2.8294, 3.0219, 3.6187,
         4.1067, 4.279, 4.7834),
        (0.0, -2.2, -4.0, -3.2, -9.8, -1.2, -3.4, -5.2, -7.6, -3.0, -8.9, -9.0, -4.8,
         -5.7, -7.5, -1.9, -7.6, -12.2, -9.8, -11.4, -14.9, -9.2, -11.3),
        None,
    ),
    "tdl-c": (
        (0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.656, 0.6584, 0.7935,
         0.8213, 0.9336, 1.2285, 1.3083, 2.1704, 2.7105, 4.2589, 4.6003, 5.4902, 5.6077,
         6.3065, 6.6374, 7.0427, 8.6523),
        (-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1, -5.1,
         -6.8, -8.7, -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6, -22.8),
        None,
    ),
    "tdl-d": (
        (0.0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424,
         9.708, 12.525),
        (-13.5, -18.8, -21.0, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8,
         -30.0, -27.7),
        -0.2,
    ),
    "tdl-e": (
        (0.0, 0.5133, 0.544, 0.563, 0.544, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426,
         3.7136, 5.4524, 12.0034, 20.6519),
        (-22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6,
         -20.2, -29.8, -29.2),
        -0.03,
    ),
}  # fmt: skip
