"""OFDM over a multipath channel: every subcarrier has a gain of its own.

    wire   [pilots][symbols]           in the order of the encoder
    air    [P][S S S ... S]            OFDM symbols of n subcarriers, each behind its cyclic prefix
           [P][S S][P][S S][P][S]      pilot_spacing 2

Symbols fill the subcarriers of one OFDM symbol after the other; a last one that is not full is
charged whole. While no path is later than the cyclic prefix and the paths stand still during one
OFDM symbol, each subcarrier sees one gain exactly, Y = H X + N, so the channel is computed there.
SNR is Es/N0 of a subcarrier; the energy of the prefix is not counted, its time is.

Pilots are whole OFDM symbols, a Zadoff-Chu sequence over the subcarriers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from simulator.phy.law import Law
from simulator.phy.profile import Profile
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState
from simulator.phy.streams import complex_normal

Estimator = Literal["ls", "lmmse"]
SINUSOIDS = 32  # of the Doppler spectrum of each path
LOS_DOPPLER = 0.7  # of the line of sight, in units of the largest (3GPP TR 38.901, 7.7.2)
J0_POINTS = 1024


@dataclass(frozen=True)
class Multipath(Law):
    """``subcarriers``: n, all of them used; ``cyclic_prefix``: in samples; ``doppler``: the largest
    Doppler shift, in cycles per sample: 0 keeps the gains of a frame; ``estimated``: whether pilots
    are sent; ``spacing``: OFDM symbols behind one of pilots, 0: all; ``correlation`` of the paths
    between consecutive frames."""

    profile: Profile
    subcarriers: int
    cyclic_prefix: int
    doppler: float = 0.0
    estimated: bool = False
    spacing: int = 0
    estimator: Estimator = "ls"
    correlation: float = 0.0

    def data_symbols(self, k: int) -> int:
        """OFDM symbols that hold K symbols."""
        return -(-k // self.subcarriers)

    def pilot_count(self, k: int) -> int:
        """OFDM symbols of pilots."""
        if not self.estimated:
            return 0
        return -(-self.data_symbols(k) // self.spacing) if self.spacing else 1

    def places(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(pilots,) and (data,): which OFDM symbol on the air each is."""
        data, pilots = self.data_symbols(k), self.pilot_count(k)
        spacing = self.spacing or data
        index = np.arange(data)
        of_data = index + (index // spacing + 1 if pilots else 0)
        return np.arange(pilots) * (spacing + 1), of_data

    def count(self, k: int) -> int:
        n = self.subcarriers
        return n * (self.data_symbols(k) + self.pilot_count(k)) if self.doppler else n

    def pilots(self, k: int) -> int:
        return self.subcarriers * self.pilot_count(k)

    def pilot_symbols(self, k: int) -> np.ndarray:
        return np.tile(zadoff_chu(self.subcarriers), self.pilot_count(k))

    def uses(self, k: int) -> int:
        """Samples on the air, prefixes included."""
        symbols = self.data_symbols(k) + self.pilot_count(k)
        return symbols * (self.subcarriers + self.cyclic_prefix)

    @cached_property
    def _response(self) -> np.ndarray:
        return self.profile.response(self.subcarriers)

    @cached_property
    def _correlation(self) -> np.ndarray:
        return self.profile.correlation(self.subcarriers)

    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        """(n,), or of each OFDM symbol on the air in a row."""
        if not self.doppler:
            return self._still(generator)
        count = self.data_symbols(k) + self.pilot_count(k)
        return self._moving(generator, count).reshape(-1)

    def _still(self, generator: np.random.Generator) -> np.ndarray:
        paths = complex_normal(generator, len(self.profile.powers))
        paths *= np.sqrt(self.profile.powers, dtype=np.float32)
        if self.profile.line_of_sight:
            turn = np.exp(2j * np.pi * generator.random())
            paths[0] += np.complex64(self.profile.line_of_sight**0.5 * turn)
        h: np.ndarray = paths @ self._response
        return h

    def _moving(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """(OFDM symbols, n): each path a sum of sinusoids from all around (Clarke's model)."""
        powers, los = self.profile.powers, self.profile.line_of_sight
        period = self.doppler * (self.subcarriers + self.cyclic_prefix)
        around = np.arange(SINUSOIDS) + generator.random((len(powers), 1))
        turns = period * np.cos(2 * np.pi * around / SINUSOIDS)
        starts = generator.random((len(powers), SINUSOIDS))
        # e^(i turns (a columns + b)) is a product, and the sum over sinusoids that of matrices.
        columns = math.isqrt(count - 1) + 1
        rows = np.arange(-(-count // columns)) * columns
        coarse = _turned(turns[:, None] * rows[:, None] + starts[:, None])
        fine = _turned(turns[:, :, None] * np.arange(columns))
        moving = (coarse @ fine).reshape(len(powers), -1)[:, :count]
        moving *= np.sqrt(powers / SINUSOIDS, dtype=np.float32)[:, None]
        if los:
            turn = LOS_DOPPLER * period * np.arange(count) + generator.random()
            moving[0] += _turned(turn) * np.float32(los**0.5)
        h: np.ndarray = moving.T @ self._response
        return h

    def before(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        """Of paths that keep for a frame; a line of sight turns with the others."""
        rho = self.correlation**delay
        fresh = self._still(generator) * np.float32((1 - rho * rho) ** 0.5)
        earlier: np.ndarray = np.float32(rho) * h + fresh
        return earlier

    def of_symbols(self, k: int) -> np.ndarray:
        index = np.arange(k)
        if not self.doppler:
            return index % self.subcarriers
        symbol, subcarrier = np.divmod(index, self.subcarriers)
        places: np.ndarray = self.places(k)[1][symbol] * self.subcarriers + subcarrier
        return places

    def _order(self, k: int) -> np.ndarray:
        """Which OFDM symbol on the air each of those on the wire is: pilots go first there."""
        return np.concatenate(self.places(k))

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        if not self.doppler:
            return np.resize(values, k)
        if not self.estimated:  # the order on the air is that of the encoder
            return values[:k]
        own: np.ndarray = values.reshape(-1, self.subcarriers)[self.places(k)[1]].reshape(-1)[:k]
        return own

    def times(self, k: int) -> np.ndarray:
        """(OFDM symbols, n): the prefix of each goes before."""
        n, cp = self.subcarriers, self.cyclic_prefix
        return self._order(k)[:, None] * (n + cp) + cp + np.arange(n)

    def samples(self, symbols: np.ndarray, k: int) -> np.ndarray:
        """(OFDM symbols, n), without prefixes; subcarriers of the last that are free are silent."""
        n = self.subcarriers
        padded = np.pad(symbols, (0, -len(symbols) % n)).reshape(-1, n)
        return np.fft.ifft(padded, norm="ortho").astype(np.complex64)

    def symbols(self, samples: np.ndarray, k: int) -> np.ndarray:
        flat: np.ndarray = np.fft.fft(samples, norm="ortho").reshape(-1)
        return flat[: k + self.pilots(k)].astype(np.complex64)

    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        gains = self.of_each_symbol(h, k)
        if len(sent) > k:
            own = h.reshape(-1, self.subcarriers)
            pilots = own[self.places(k)[0]] if self.doppler else np.tile(own, self.pilot_count(k))
            gains = np.concatenate([pilots.reshape(-1), gains])
        faded: np.ndarray = gains * sent
        return faded

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        p, error = self.pilots(k), 0.0
        pilots, payload = np.split(received.reshape(rounds, p + k), [p], axis=1)
        if p:
            h, error = self._estimated(pilots.mean(axis=0), k, noise_variance(snr_db) / rounds)
        if len(h) != self.count(k):
            raise ValueError(f"{len(h)} gains for {self.count(k)} subcarriers")
        block = np.tile(self.of_symbols(k), rounds)
        return Heard(payload.reshape(-1), ChannelState(snr_db, h), block, error)

    def _estimated(self, pilots: np.ndarray, k: int, n0: float) -> tuple[np.ndarray, float]:
        """(count,) gains and their mean square error; ``n0``: of the noise in each pilot."""
        known = pilots.reshape(-1, self.subcarriers) * zadoff_chu(self.subcarriers).conj()
        if not self.doppler:
            known, n0 = known.mean(axis=0, keepdims=True), n0 / len(known)
        if self.estimator == "lmmse":
            r = self._correlation
            filtering = np.linalg.solve(r + n0 * np.eye(len(r)), r)
            # R and R + n0 I commute, so the filter is Hermitian: its transpose is its conjugate.
            known = known @ filtering.conj()
            n0 = float(np.trace(r - r @ filtering).real) / len(r)
        if not self.doppler:
            return known[0].astype(np.complex64), n0
        weights, error = self._in_time(k, n0)
        return (weights @ known).reshape(-1).astype(np.complex64), error

    def _in_time(self, k: int, n0: float) -> tuple[np.ndarray, float]:
        """(OFDM symbols, pilots) weights from the pilots to all that is on the air, and the mean
        square error: Wiener under Clarke's correlation, or straight lines."""
        at, data = self.places(k)
        every = np.arange(len(at) + len(data))
        period = self.doppler * (self.subcarriers + self.cyclic_prefix)
        between = bessel_j0(2 * np.pi * period * np.abs(at[:, None] - at))
        towards = bessel_j0(2 * np.pi * period * np.abs(every[:, None] - at))
        if self.estimator == "lmmse":
            weights = np.linalg.solve(between + n0 * np.eye(len(at)), towards.T).T
        else:
            weights = np.stack([np.interp(every, at, one) for one in np.eye(len(at))], axis=1)
        missed = (weights @ between * weights).sum(axis=1) - 2 * (weights * towards).sum(axis=1) + 1
        error = missed + n0 * (weights**2).sum(axis=1)
        return weights, float(error[data].mean())


def _turned(turns: np.ndarray) -> np.ndarray:
    """e^(2 pi i turns), complex64; phases are exact however large they are."""
    angle: np.ndarray = 2 * np.pi * np.mod(turns, 1.0)
    waves: np.ndarray = np.exp(1j * angle.astype(np.float32)).astype(np.complex64)
    return waves


def zadoff_chu(n: int, root: int = 1) -> np.ndarray:
    """(n,) complex64 of constant amplitude, over the subcarriers as in time."""
    index = np.arange(n)
    sequence: np.ndarray = np.exp(-1j * np.pi * root * index * (index + n % 2) / n)
    return sequence.astype(np.complex64)


def bessel_j0(x: np.ndarray) -> np.ndarray:
    """J_0, the mean of cos(x cos theta): to rounding where x is below ``J0_POINTS`` / 2."""
    cosines = np.cos(2 * np.pi * (np.arange(J0_POINTS) + 0.5) / J0_POINTS)
    flat = np.unique(np.asarray(x, float))
    means = np.array([np.cos(value * cosines).mean() for value in flat])
    values: np.ndarray = means[np.searchsorted(flat, x)]
    return values
