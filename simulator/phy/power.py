"""Power normalisation, equation (2)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

Array = TypeVar("Array")

# Far below any power an encoder produces; keeps an all-zero image from dividing by zero.
TINY_POWER = 1e-12


def normalize_power(symbols: Array) -> Array:
    """Scale each image's symbols to mean power P = 1, equation (2).

    ``symbols``: (..., K) complex, numpy or torch (differentiable). Each image, that is each
    row of the last axis, is normalised on its own: a common factor over a batch would hand
    the receiver free information.
    """
    s: Any = symbols
    power = (s.real**2 + s.imag**2).mean(-1)[..., None]
    return s / (power + TINY_POWER) ** 0.5  # type: ignore[no-any-return]


def mean_power(symbols: np.ndarray) -> float:
    """Mean of ``abs(y)^2`` over all symbols of one image."""
    return float(np.mean(symbols.real**2 + symbols.imag**2))
