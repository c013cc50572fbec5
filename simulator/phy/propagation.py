"""The channel itself, equation (3), for numpy and torch alike."""

from __future__ import annotations

from typing import TypeVar

Array = TypeVar("Array")


def noise_variance(snr_db: float) -> float:
    """sigma^2 = 10^(-snr_db / 10) per complex symbol: half of it per real dimension.

    The SNR is averaged over fading (P = 1, E abs(h)^2 = 1): noise is never scaled to the
    faded signal, which would cancel the fade.
    """
    return float(10 ** (-snr_db / 10))


def apply_channel(symbols: Array, h: Array, noise: Array) -> Array:
    """y^ = h y + n, equation (3).

    ``symbols``: (..., K) complex of unit power; ``h``: broadcastable, complex: one gain an
    image, or one a symbol under a coherence time; ``noise``: (..., K), n ~ CN(0, sigma^2 I).
    """
    return h * symbols + noise  # type: ignore[operator,no-any-return]
