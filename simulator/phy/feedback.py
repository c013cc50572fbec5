"""Rounds of a linear code with feedback, for numpy and torch alike.

The transmitter knows what was received, and sends in each round how wrong the receiver's
estimate of the symbols s is (Schalkwijk and Kailath, 1966), all symbols in parallel:

    round 0      x_0 = s                            s_0 = y_0 / (1 + v)
    round r      x_r = (s_{r-1} - s) / sqrt(m)      s_r = s_{r-1} - sqrt(m) y_r / (1 + v)

y_r: equalised; v: its noise variance; m = (v / (1 + v))^r: the mean square error of s_{r-1}.
R rounds have the SNR (1 + 1 / v)^R - 1: with noiseless feedback as good as any code could do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_SNR_DB = 30.0  # beyond it codecs are not trained


def mean_square_error(v: Any, rounds: int) -> Any:
    """The error of the estimate after ``rounds`` rounds, for symbols of unit power."""
    return (v / (1 + v)) ** rounds


def estimate(received: Sequence[Any], v: Any) -> Any:
    """s_r from the (..., K) equalised symbols of rounds 0 to r."""
    s = received[0] / (1 + v)
    for number, y in enumerate(received[1:], 1):
        s = s - mean_square_error(v, number) ** 0.5 * y / (1 + v)
    return s


def correction(symbols: Any, received: Sequence[Any], v: Any) -> Any:
    """x_r, of mean power near 1, after the rounds that were received."""
    return (estimate(received, v) - symbols) / mean_square_error(v, len(received)) ** 0.5


def unbiased(received: Sequence[Any], v: Any) -> tuple[Any, Any]:
    """Symbols, as if they had come in one round, and the variance of the noise in them."""
    m = mean_square_error(v, len(received))
    return estimate(received, v) / (1 - m), m / (1 - m)


def snr_after(v: Any, rounds: int) -> Any:
    """The SNR after all rounds, as a power ratio."""
    return (1 + 1 / v) ** rounds - 1
