"""The gains of all subcarriers from pilots: least squares, or linear minimum mean square error.

    E H(s, f) conj(H(s', f')) = over(s - s') R(f, f')        s: OFDM symbol, f: subcarrier

Least squares draws straight lines between pilots and holds what the outermost say. LMMSE knows
``over``, R and the noise. Both say the mean square error of what they find, with which a receiver
reckons as noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Estimator = Literal["ls", "lmmse"]
PART, BESIDE = 256, 64  # OFDM symbols with pilots that are estimated at once, and those beside them


@dataclass(frozen=True, eq=False)
class Statistics:
    """``r``: (n, n) R, of diagonal 1; ``over``: of OFDM symbols so far apart; that of 0 is the mean
    power of a gain."""

    r: np.ndarray
    over: Callable[[np.ndarray], np.ndarray]

    @property
    def power(self) -> float:
        return float(self.over(np.zeros(1))[0])


def lines(every: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(every, at) weights of straight lines from values ``at`` rising places."""
    return np.stack([np.interp(every, at, one) for one in np.eye(len(at))], axis=1)


def over_subcarriers(
    known: np.ndarray, n0: float, r: np.ndarray, estimator: Estimator
) -> tuple[np.ndarray, float]:
    """(symbols, n) gains from as many that are known with noise of variance ``n0``, and what is
    left of it."""
    if estimator == "ls":
        return known, n0
    filtering = np.linalg.solve(r + n0 * np.eye(len(r)), r)
    # R and R + n0 I commute, so the filter is Hermitian: its transpose is its conjugate.
    return known @ filtering.conj(), float(np.trace(r - r @ filtering).real) / len(r)


def over_time(
    at: np.ndarray, count: int, n0: float, statistics: Statistics, estimator: Estimator
) -> tuple[np.ndarray, float]:
    """(count, pilots) weights from the OFDM symbols of pilots to all ``count`` that are on the air,
    and the mean square error of the others: Wiener, or straight lines."""
    every = np.arange(count)
    between = statistics.over(at[:, None] - at)
    towards = statistics.over(every[:, None] - at)
    if estimator == "lmmse":
        weights = np.linalg.solve(between + n0 * np.eye(len(at)), towards.T).T
    else:
        weights = lines(every, at)
    missed = (weights @ between * weights).sum(axis=1) - 2 * (weights * towards).sum(axis=1)
    error = missed + statistics.power + n0 * (weights**2).sum(axis=1)
    return weights, float(np.delete(error, at).mean())


@dataclass(frozen=True, eq=False)
class Filter:
    """times (turn^T known bands_turn^* weight) bands^T: the gains; ``error``: (OFDM symbols, n)."""

    times: np.ndarray
    turn: np.ndarray
    weight: np.ndarray
    band_turn: np.ndarray
    bands: np.ndarray
    error: np.ndarray

    def __call__(self, known: np.ndarray) -> np.ndarray:
        inner = self.turn.T @ known @ self.band_turn.conj() * self.weight
        gains: np.ndarray = self.times @ inner @ self.bands.T
        return gains


@dataclass(frozen=True, eq=False)
class Plane:
    """The estimate over OFDM symbols and subcarriers at once, from pilots on the subcarriers
    ``teeth`` of every ``spacing``-th OFDM symbol, or of the first (0).

    LMMSE is that of all these pilots together; a long frame is estimated in parts of ``PART`` OFDM
    symbols with pilots, each by its own and by ``BESIDE`` on both sides.
    """

    teeth: np.ndarray
    spacing: int
    statistics: Statistics
    estimator: Estimator

    def __call__(self, known: np.ndarray, n0: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(count, n) gains of as many OFDM symbols and their mean square errors.

        ``known``: (symbols with pilots, teeth) noisy gains, ``n0`` the variance of their noise.
        """
        found = []
        for first in range(0, len(known), PART):
            low = max(first - BESIDE, 0)
            part = known[low : first + PART + BESIDE]
            ends = min(count, (first + PART) * self.spacing) if self.spacing else count
            own = range((first - low) * self.spacing, ends - low * self.spacing)
            filtering = _filter(self, len(part), own, n0)
            found.append((filtering(part), filtering.error))
        gains, errors = zip(*found, strict=True)
        return np.concatenate(gains), np.concatenate(errors)


@lru_cache(maxsize=16)
def _filter(plane: Plane, combs: int, own: range, n0: float) -> Filter:
    """Of the OFDM symbols ``own``, counted from the first one with pilots."""
    s, at, every = plane.statistics, np.arange(combs) * plane.spacing, np.array(own)
    between, towards = s.over(at[:, None] - at), s.over(every[:, None] - at)
    r, across = s.r[np.ix_(plane.teeth, plane.teeth)], s.r[:, plane.teeth]
    if plane.estimator == "lmmse":
        # Eigenvectors of both correlations turn all pilots into independent values.
        powers, turn = np.linalg.eigh(between)
        band_powers, band_turn = np.linalg.eigh(r)
        times, bands = towards @ turn, across @ band_turn
        weight = 1 / (np.maximum(powers, 0)[:, None] * np.maximum(band_powers, 0) + n0)
        error = s.power - times**2 @ weight @ (np.abs(bands) ** 2).T
        return Filter(times, turn, weight, band_turn, bands, error)
    place = np.fft.fftfreq(len(s.r))
    times, bands = lines(every, at), lines(place, place[plane.teeth])
    found = _outer(times @ between * times, bands @ r * bands)
    both = _outer(times * towards, bands * across)
    noise = n0 * _outer(times**2, bands**2)
    one = np.ones((1, 1))
    error = found - 2 * both + s.power + noise
    return Filter(times, np.eye(combs), one, np.eye(len(r)), bands, error)


def _outer(times: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """(OFDM symbols, n) products of the sums of rows."""
    product: np.ndarray = np.outer(times.sum(axis=1), bands.sum(axis=1).real)
    return product
