"""Fading: the gains h of the blocks of one frame. E abs(h)^2 = 1 for every kind.

One list of kinds by name; adding one is a function and a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from simulator.phy.streams import complex_normal


@dataclass(frozen=True)
class Fading:
    """``rician_k``: power ratio (linear) of the line of sight to the scattered part;
    ``correlation`` of the scattered part between consecutive blocks, in [0, 1)."""

    rician_k: float = 4.0
    correlation: float = 0.0


def awgn(generator: np.random.Generator, blocks: int, fading: Fading) -> np.ndarray:
    """h = 1."""
    return np.ones(blocks, dtype=np.complex64)


def rayleigh(generator: np.random.Generator, blocks: int, fading: Fading) -> np.ndarray:
    """h ~ CN(0, 1); first-order Gauss-Markov from block to block."""
    draws = complex_normal(generator, blocks)
    if not fading.correlation:
        return draws
    rho, fresh = fading.correlation, (1 - fading.correlation**2) ** 0.5
    steps = accumulate(draws.tolist(), lambda before, draw: rho * before + fresh * draw)
    return np.fromiter(steps, np.complex64, blocks)


def rician(generator: np.random.Generator, blocks: int, fading: Fading) -> np.ndarray:
    """h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) CN(0, 1): a line of sight of phase zero."""
    k = fading.rician_k
    scattered = rayleigh(generator, blocks, fading)
    h: np.ndarray = (k / (k + 1)) ** 0.5 + (1 / (k + 1)) ** 0.5 * scattered
    return h.astype(np.complex64)


KINDS: dict[str, Callable[[np.random.Generator, int, Fading], np.ndarray]] = {
    "awgn": awgn,
    "rayleigh": rayleigh,
    "rician": rician,
}


def delayed(
    kind: str, h: complex, generator: np.random.Generator, fading: Fading, delay: int
) -> complex:
    """The gain ``delay`` blocks before ``h``, drawn given ``h``: correlation^delay of it."""
    if kind == "awgn":
        return h
    k: float = fading.rician_k if kind == "rician" else 0.0
    mean, spread = (k / (k + 1)) ** 0.5, (1 / (k + 1)) ** 0.5
    rho = fading.correlation**delay
    fresh = complex(complex_normal(generator, 1)[0])
    return complex(mean + rho * (h - mean) + spread * (1 - rho * rho) ** 0.5 * fresh)
