"""Pulse shaping: root raised cosine at both ends, so that symbols do not disturb each other.

symbols -shaped-> samples -> the air -> samples -matched-> symbols
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ROLL_OFF = 0.35
SPAN = 16  # symbols on each side of a pulse; what is cut off is 60 dB below the symbol


def root_raised_cosine(t: np.ndarray, roll_off: float = ROLL_OFF) -> np.ndarray:
    """The pulse at times ``t`` in symbols, float64; the integral of its square is 1.

    Its two removable singularities have their limits (Proakis, Digital Communications, 9.2).
    """
    t = np.asarray(t, float)
    edge = 1 / (4 * roll_off)
    at_zero, at_edge = np.abs(t) < 1e-9, np.abs(np.abs(t) - edge) < 1e-9
    x = np.where(at_zero | at_edge, edge / 2, t)
    above = np.sin(np.pi * x * (1 - roll_off))
    above += 4 * roll_off * x * np.cos(np.pi * x * (1 + roll_off))
    pulse = above / (np.pi * x * (1 - (4 * roll_off * x) ** 2))
    angle = np.pi / (4 * roll_off)
    limit = (1 + 2 / np.pi) * np.sin(angle) + (1 - 2 / np.pi) * np.cos(angle)
    pulse = np.where(at_edge, roll_off / 2**0.5 * limit, pulse)
    whole: np.ndarray = np.where(at_zero, 1 - roll_off + 4 * roll_off / np.pi, pulse)
    return whole


def reach(sps: int) -> int:
    """Samples on each side of the middle of a pulse; none where a symbol is one sample."""
    return SPAN * sps if sps > 1 else 0


def taps(sps: int, late: float = 0.0) -> np.ndarray:
    """(2 reach + 1,) samples of the pulse, of energy 1, whose middle is ``late`` samples late."""
    if sps == 1:
        return np.ones(1)
    n = np.arange(-reach(sps), reach(sps) + 1)
    pulse: np.ndarray = root_raised_cosine((n - late) / sps) / sps**0.5
    return pulse


def shaped(symbols: np.ndarray, sps: int) -> np.ndarray:
    """((n - 1) sps + 2 reach + 1,) complex128: each symbol a pulse of energy 1.

    The middle of the first is at sample ``reach(sps)``.
    """
    spread = np.zeros((len(symbols) - 1) * sps + 1, complex)
    spread[::sps] = symbols
    whole: np.ndarray = np.convolve(spread, taps(sps))
    return whole


def matched(samples: np.ndarray, at: float, count: int, sps: int) -> np.ndarray:
    """(count,) complex128 symbols of the matched filter, ``sps`` samples apart, the first at sample
    ``at``: any fraction of a sample is taken up by the pulse, but with one sample a symbol it is
    rounded. Raises ``ValueError`` where ``samples`` do not reach that far."""
    middle = int(np.floor(at)) if sps > 1 else round(at)
    first = middle - reach(sps)
    last = first + (count - 1) * sps + 2 * reach(sps) + 1
    if first < 0 or last > len(samples):
        raise ValueError(f"symbols at {first} to {last} of {len(samples)} samples")
    windows = sliding_window_view(samples[first:last], 2 * reach(sps) + 1)[::sps]
    found: np.ndarray = windows @ taps(sps, at - middle)
    return found
