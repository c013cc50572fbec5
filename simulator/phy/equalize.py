"""Equalisers, equation (4), for numpy and torch alike."""

from __future__ import annotations

from typing import TypeVar

Array = TypeVar("Array")

# A gain below this is a receiver that hears nothing; keeps the division finite.
TINY_GAIN = 1e-20


def equalize(received: Array, h: Array) -> Array:
    """Zero forcing, y_eq = conj(h) / abs(h)^2 * y^, equation (4).

    ``received``: (..., K) complex; ``h``: broadcastable. Noise is amplified in deep fades,
    and that is right.
    """
    return equalize_mmse(received, h, TINY_GAIN)


def equalize_mmse(received: Array, h: Array, n0: float | Array) -> Array:
    """MMSE, conj(h) / (abs(h)^2 + n0) * y^, for unit-power symbols and noise variance ``n0``.

    Biased towards zero: a codec trained behind zero forcing sees smaller symbols.
    """
    gain = h.real**2 + h.imag**2  # type: ignore[attr-defined]
    return h.conj() / (gain + n0) * received  # type: ignore[attr-defined,no-any-return]
