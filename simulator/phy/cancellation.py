"""Successive cancellation where the first user is known but roughly.

    y = u + d        u: the first user as received, d: all else, the second user's energy S2 and N0
    v = a u + c d    an estimate of u, made of y, as by decoding and encoding again, and an error
    r = (alpha y + beta v) / (alpha + beta c)   what is left for the second user

Each of ``Remaining`` has d with the factor 1, so that the second user keeps its gain. Subtracting
v takes c d away with it: a decoder that is fed with interference follows it in part. Of all
weights, those here leave least beside d: (alpha, beta) = M^-1 (1, c), M the second moments of y
and v.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Remaining:
    """``symbols``: (n,) complex64; ``left``: mean power of what they have of the first user."""

    symbols: np.ndarray
    left: float


def leak_of(before: np.ndarray, after: np.ndarray, probe: np.ndarray) -> float:
    """c: how much of a disturbance an estimate follows, between 0 and 1.

    ``before``, ``after``: (n,) estimates of y and of y + ``probe``, white and small against d. It
    is the mean derivative of the estimate, measured as for SURE (Ramani, Blu and Unser 2008).
    """
    followed = _product(after - before, probe) / _product(probe, probe)
    return min(max(followed, 0.0), 1.0)


def cancelled(received: np.ndarray, estimate: np.ndarray, leak: float, known: float) -> Remaining:
    """The best combination of (n,) ``received`` y and ``estimate`` v. ``leak``: c; ``known``:
    S2 + N0, the power of d."""
    a, b, c = (
        _product(received, received),
        _product(received, estimate),
        _product(estimate, estimate),
    )
    alpha, beta = c - leak * b, leak * a - b  # of M^-1 (1, c), but for the determinant
    kept = alpha + beta * leak  # not negative, as M has no negative eigenvalue
    if kept <= 1e-6 * c:  # v is y over again: nothing to subtract
        return Remaining(received, max(a - known, 0.0))
    symbols = np.float32(alpha / kept) * received + np.float32(beta / kept) * estimate
    return Remaining(symbols, max(_product(symbols, symbols) - known, 0.0))


def _product(x: np.ndarray, y: np.ndarray) -> float:
    """The mean of the real part of conj(x) y."""
    return float(np.vdot(x, y).real) / len(x)
