"""Square QAM: the finite set of symbols of a digital radio, for numpy and torch alike.

The mean power of a frame is that of its use of the points, at most 1: the constraint that all
symbols have. How far out the points lie is a choice, ``extent``: symbols of a learned codec have
heavier tails than those of coded bits, for which 16-QAM of extent 0.95 has mean power 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Of the outermost levels, by the number of points: best for the codec that ships.
EXTENT = {4: 0.5, 16: 1.25, 64: 2.0, 256: 2.5}
TRIES = 16


def qam(size: int, extent: float) -> np.ndarray:
    """(M,) complex64 points of square M-QAM, both parts from -extent to extent."""
    levels = np.linspace(-extent, extent, side_of(size), dtype=np.float32)
    points: np.ndarray = (levels[:, None] + 1j * levels).reshape(-1).astype(np.complex64)
    return points


def side_of(size: int) -> int:
    """Levels of each part. Raises ``ValueError``."""
    if size not in EXTENT:
        raise ValueError(f"{size}-QAM is not one of {', '.join(map(str, EXTENT))}")
    return int(size**0.5)


def quantize(symbols: Any, size: int, extent: float) -> Any:
    """(..., K) complex of mean power 1 -> the nearest points of M-QAM, shrunk before where their
    mean power would be above 1."""
    scale, found = 1.0, symbols
    for _ in range(TRIES):
        found = _nearest(symbols * scale, size, extent)
        power = (found.real**2 + found.imag**2).mean(-1)[..., None]
        if bool((power <= 1).all()):
            break
        scale = scale / power.clip(1.0)
    return found


def _nearest(symbols: Any, size: int, extent: float) -> Any:
    last = side_of(size) - 1
    step = 2 * extent / last

    def level(part: Any) -> Any:
        return ((part + extent) / step).round().clip(0, last) * step - extent

    return level(symbols.real) + 1j * level(symbols.imag)
