"""From several antennas to one estimate of each symbol, and how good it is.

All estimates are unbiased: symbol + noise of variance 1 / SINR. Equations are those of Tse and
Viswanath, Fundamentals of Wireless Communication, sections 3.3 and 8.3.

There is no successive cancellation. Symbols of JSCC are no points of a constellation, so what could
be cancelled is the MMSE estimate of a stream, and that is a linear function of what was received.
An estimate after it is one, too, and no linear estimate is better than the MMSE one; cancellation
wins by decisions alone. ``tests/phy/test_mimo_rates.py`` measures it.
"""

from __future__ import annotations

import numpy as np

from simulator.phy.antennas import Detector

TINY = 1e-30  # keeps a channel of zeros finite


def linear(a: np.ndarray, n0: float, detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """(N, N_r) unbiased weights and the (N,) SINRs behind them, of y = A x + n.

    ``a``: (N_r, N), the power of each stream included; ``n0``: variance of the noise in each
    antenna. Zero forcing is (A^H A)^-1 A^H; MMSE is (A^H A + n0 I)^-1 A^H, divided by what it
    leaves of its symbol. Raises ``ValueError`` where zero forcing has nothing to invert.
    """
    both = a.conj().T
    gram = both @ a
    if detector == "zero-forcing":
        inverse = np.linalg.inv(gram)
        return inverse @ both, 1 / (n0 * np.diag(inverse).real)
    inverse = np.linalg.inv(gram + n0 * np.eye(len(gram)))
    weights = inverse @ both
    left = np.diag(weights @ a).real
    return weights / np.maximum(left, TINY)[:, None], left / (n0 * np.diag(inverse).real)


def combined(received: np.ndarray, a: np.ndarray) -> np.ndarray:
    """(2 pairs,) symbols of Alamouti's code, from its (2 pairs, N_r) uses (Alamouti, 1998, eq. 12).

    ``a``: (N_r, 2), the power included; the SINR behind it is norm(A)^2 / n0.
    """
    first, second = received[0::2], received[1::2].conj()
    one, two = a[:, 0], a[:, 1]
    estimates = (first @ one.conj() + second @ two, first @ two.conj() - second @ one)
    power = max(float(np.sum(np.abs(a) ** 2)), TINY)
    symbols: np.ndarray = np.stack(estimates, axis=1).reshape(-1) / power
    return symbols


def coded(symbols: np.ndarray) -> np.ndarray:
    """(2 pairs, 2 antennas) of (2 pairs,) symbols: Alamouti's code, without its power of 1/2.

    antenna      0           1
    use 0        s_0         s_1
    use 1       -conj(s_1)   conj(s_0)
    """
    uses = np.empty((len(symbols), 2), symbols.dtype)
    pairs = symbols.reshape(-1, 2)
    uses[0::2] = pairs
    uses[1::2, 0], uses[1::2, 1] = -pairs[:, 1].conj(), pairs[:, 0].conj()
    return uses


def bits_per_use(a: np.ndarray, snr: float) -> float:
    """log2 det(I + snr A^H A), Telatar's mutual information of Gaussian inputs; ``a`` as above."""
    gram = a.conj().T @ a
    return float(np.linalg.slogdet(np.eye(len(gram)) + snr * gram)[1] / np.log(2))
