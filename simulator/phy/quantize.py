"""Gains as a few bits, as a receiver feeds them back."""

from __future__ import annotations

import numpy as np

FULL_SCALE = 3 * 0.5**0.5  # three standard deviations of a part of CN(0, 1)


def quantized(h: np.ndarray, bits: int) -> np.ndarray:
    """(M,) complex64: real and imaginary part each in 2^bits even steps over ``FULL_SCALE`` to both
    sides; what is beyond takes the outermost step."""
    step = 2 * FULL_SCALE / 2**bits
    parts = np.ascontiguousarray(h, np.complex64).view(np.float32)
    codes = np.clip(np.floor(parts / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    levels: np.ndarray = ((codes + 0.5) * step).astype(np.float32).view(np.complex64)
    return levels
