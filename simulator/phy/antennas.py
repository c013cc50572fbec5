"""Which antennas a link has, how alike their gains are, and the precoder of a known channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from simulator.phy.streams import complex_normal

Scheme = Literal["mrc", "alamouti", "multiplexing", "svd"]
Detector = Literal["zero-forcing", "mmse"]
MAX_ANTENNAS = 8  # at one end


@dataclass(frozen=True)
class Antennas:
    """N_t transmit and N_r receive antennas, and what is done with them. Raises ``ValueError`` for
    those that the scheme cannot use.

    The correlations are of neighbouring antennas of one end, rho^abs(i - j) between any two.
    ``age``: how many frames before this one the gains are from that a precoder is made of.
    """

    transmit: int = 2
    receive: int = 2
    transmit_correlation: float = 0.0
    receive_correlation: float = 0.0
    scheme: Scheme = "alamouti"
    detector: Detector = "mmse"
    age: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.transmit <= MAX_ANTENNAS and 1 <= self.receive <= MAX_ANTENNAS):
            raise ValueError(f"{self.transmit} x {self.receive} antennas")
        if not (0 <= self.transmit_correlation < 1 and 0 <= self.receive_correlation < 1):
            raise ValueError("the correlation of antennas is at least 0 and below 1")
        needed = {"mrc": 1, "alamouti": 2}.get(self.scheme, self.transmit)
        if self.transmit != needed:
            raise ValueError(
                f"scheme {self.scheme} has {needed} transmit antenna{'s' * (needed > 1)}, "
                f"not {self.transmit}"
            )
        few = self.receive < self.transmit
        if self.scheme == "multiplexing" and self.detector == "zero-forcing" and few:
            raise ValueError(
                f"zero forcing needs as many receive antennas as streams; {self.receive} receive "
                f"{self.transmit} streams: take detector mmse"
            )
        if self.age < 0:
            raise ValueError(f"a precoder of age {self.age}")

    @property
    def streams(self) -> int:
        """Parallel inputs of the channel that is estimated: antennas, or columns of a precoder."""
        return min(self.transmit, self.receive) if self.scheme == "svd" else self.transmit

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """(N_r N_t,) complex64, row by row of H = L_r W L_t^T, each CN(0, 1).

        L L^T is the correlation of one end, so that E h_ij conj(h_kl) = R_r[i, k] R_t[j, l], the
        Kronecker model (Kermoal et al., 2002).
        """
        white = complex_normal(generator, self.receive * self.transmit)
        if not (self.transmit_correlation or self.receive_correlation):
            return white
        left = _root(self.receive, self.receive_correlation)
        right = _root(self.transmit, self.transmit_correlation)
        h: np.ndarray = left @ white.reshape(self.receive, self.transmit) @ right.T
        return h.reshape(-1)


@cache
def _root(n: int, rho: float) -> np.ndarray:
    """(n, n) float32 L, L L^T = rho^abs(i - j), which is for reading alone."""
    index = np.arange(n)
    correlation = rho ** np.abs(index[:, None] - index).astype(float)
    root = np.linalg.cholesky(correlation).astype(np.float32)
    root.flags.writeable = False
    return root


def precoder(h: np.ndarray, streams: int) -> np.ndarray:
    """(N_t, streams) complex128: right singular vectors of H (N_r, N_t), the strongest first.

    Each is turned until its first entry is real and positive: both ends compute it, and libraries
    differ in the phase that they leave.
    """
    v: np.ndarray = np.linalg.svd(h.astype(np.complex128))[2][:streams].conj().T
    v *= np.exp(-1j * np.angle(v[0]))
    return v
