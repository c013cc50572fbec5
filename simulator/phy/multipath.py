"""OFDM over a multipath channel: every subcarrier has a gain of its own.

While no path is later than the cyclic prefix and the paths stand still during one OFDM symbol, each
subcarrier sees one gain exactly, Y = H X + N, so the channel is computed there; what becomes of
paths that do not is in ``simulator.phy.intercarrier``. SNR is Es/N0 of a subcarrier; the energy of
the prefix is not counted, its time is.

Pilots are whole OFDM symbols, or a comb of subcarriers (``simulator.phy.ofdm``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from simulator.phy.estimate import Estimator, Plane, Statistics, over_subcarriers, over_time
from simulator.phy.law import Law
from simulator.phy.ofdm import Comb, Grid, Whole, zadoff_chu
from simulator.phy.profile import Profile
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState
from simulator.phy.streams import complex_normal
from simulator.phy.waves import Waves, clarke


@dataclass(frozen=True)
class Multipath(Law):
    """``subcarriers``: n, all of them used; ``cyclic_prefix``: in samples; ``doppler``: the largest
    Doppler shift, in cycles per sample: 0 keeps the gains of a frame; ``estimated``: whether pilots
    are sent; ``spacing``: OFDM symbols that share those of one, 0: all; ``comb``: every which
    subcarrier of it has one, 0: all; ``correlation`` of the paths between consecutive frames;
    ``scramble``: whether symbols, not pilots, are turned by ``chirp`` on the air."""

    profile: Profile
    subcarriers: int
    cyclic_prefix: int
    doppler: float = 0.0
    estimated: bool = False
    spacing: int = 0
    estimator: Estimator = "ls"
    correlation: float = 0.0
    comb: int = 0
    scramble: bool = False
    disturbs: ClassVar[bool] = False  # whether subcarriers disturb each other

    @cached_property
    def grid(self) -> Grid:
        n, spacing, chirp = self.subcarriers, self.spacing, not self.disturbs
        if self.estimated and self.comb:
            return Comb(n, spacing, chirp, self.comb)
        return Whole(n, spacing, chirp, self.estimated)

    @property
    def period(self) -> int:
        """Samples from one OFDM symbol to the next."""
        return self.subcarriers + self.cyclic_prefix

    def count(self, k: int) -> int:
        return self.subcarriers * (self.grid.count(k) if self.doppler else 1)

    def pilots(self, k: int) -> int:
        return self.grid.pilots(k)

    def pilot_symbols(self, k: int) -> np.ndarray:
        return self.grid.pilot_symbols(k)

    def uses(self, k: int) -> int:
        """Samples on the air, prefixes included."""
        return self.grid.count(k) * self.period

    @cached_property
    def _response(self) -> np.ndarray:
        return self.profile.response(self.subcarriers)

    @cached_property
    def statistics(self) -> Statistics:
        r = self.profile.correlation(self.subcarriers)
        return Statistics(r, self._over if self.doppler else np.ones_like)

    def _over(self, lags: np.ndarray) -> np.ndarray:
        """The correlation of gains that many OFDM symbols apart."""
        period = self.doppler * self.period
        return clarke(2 * np.pi * period * np.abs(lags))

    @cached_property
    def _plane(self) -> Plane:
        return Plane(self.grid.teeth, self.spacing, self.statistics, self.estimator)

    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        """(n,), or of each OFDM symbol on the air in a row."""
        if not self.doppler:
            return self._still(generator)
        return self._moving(generator, self.grid.count(k)).reshape(-1)

    def _still(self, generator: np.random.Generator) -> np.ndarray:
        paths = complex_normal(generator, len(self.profile.powers))
        paths *= np.sqrt(self.profile.powers, dtype=np.float32)
        if self.profile.line_of_sight:
            turn = np.exp(2j * np.pi * generator.random())
            paths[0] += np.complex64(self.profile.line_of_sight**0.5 * turn)
        h: np.ndarray = paths @ self._response
        return h

    def _moving(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """(OFDM symbols, n)."""
        columns = math.isqrt(count - 1) + 1
        rows = np.arange(-(-count // columns)) * columns
        waves, period = Waves.draw(generator, self.profile), self.doppler * self.period
        moving = waves.gains(self.profile, period, rows, np.arange(columns))
        h: np.ndarray = moving.reshape(len(moving), -1)[:, :count].T @ self._response
        return h

    def before(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        """Of paths that keep for a frame; a line of sight turns with the others."""
        rho = self.correlation**delay
        fresh = self._still(generator) * np.float32((1 - rho * rho) ** 0.5)
        earlier: np.ndarray = np.float32(rho) * h + fresh
        return earlier

    def of_symbols(self, k: int) -> np.ndarray:
        cells = self.grid.cells(k)
        return cells if self.doppler else cells % self.subcarriers

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        return self.grid.of_each_symbol(values, k)

    def times(self, k: int) -> np.ndarray:
        """(OFDM symbols, n): the prefix of each goes before."""
        n, cp = self.subcarriers, self.cyclic_prefix
        return self.grid.order(k)[:, None] * (n + cp) + cp + np.arange(n)

    def samples(self, symbols: np.ndarray, k: int) -> np.ndarray:
        """(OFDM symbols, n), without prefixes; subcarriers of the last that are free are silent."""
        rows = self.grid.rows(self.scrambled(symbols, k), k)
        return np.fft.ifft(rows, norm="ortho").astype(np.complex64)

    def symbols(self, samples: np.ndarray, k: int) -> np.ndarray:
        flat = self.grid.flat(np.fft.fft(samples, norm="ortho"), k)
        return self.descrambled(flat.astype(np.complex64), k)

    def scrambled(self, symbols: np.ndarray, k: int) -> np.ndarray:
        """(P + K,) as subcarriers carry them."""
        return self._turned(symbols, k, self.chirp) if self.scramble else symbols

    def descrambled(self, symbols: np.ndarray, k: int) -> np.ndarray:
        """The inverse of ``scrambled``."""
        return self._turned(symbols, k, self.chirp.conj()) if self.scramble else symbols

    def _turned(self, symbols: np.ndarray, k: int, turns: np.ndarray) -> np.ndarray:
        turned = symbols.copy()
        turned[len(symbols) - k :] *= self.of_each_symbol(turns, k)
        return turned

    @cached_property
    def chirp(self) -> np.ndarray:
        """(n,): equal symbols on all subcarriers have samples of equal size behind it."""
        return zadoff_chu(self.subcarriers)

    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        gains = self.of_each_symbol(h, k)
        if len(sent) > k:
            gains = np.concatenate([self.grid.of_pilots(h, k), gains])
        faded: np.ndarray = gains * sent
        return faded

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        p, error = self.pilots(k), 0.0
        pilots, payload = np.split(received.reshape(rounds, p + k), [p], axis=1)
        if p:
            n0 = noise_variance(snr_db) / rounds + self.interference
            h, error = self._estimated(pilots.mean(axis=0), k, n0)
        elif len(h) != self.count(k):
            raise ValueError(f"{len(h)} gains for {self.count(k)} subcarriers")
        block = np.tile(self.of_symbols(k), rounds)
        return Heard(payload.reshape(-1), ChannelState(snr_db, h), block, error)

    @property
    def interference(self) -> float:
        """Its power, from the other subcarriers: 0 while gains stand still in an OFDM symbol."""
        return 0.0

    def _estimated(self, pilots: np.ndarray, k: int, n0: float) -> tuple[np.ndarray, float]:
        """Gains, (n,) or of each OFDM symbol on the air, and their mean square error at the
        symbols; ``n0``: of the noise in each pilot."""
        known = pilots.reshape(-1, len(self.grid.teeth)) * self.grid.sequence.conj()
        if not self.doppler:
            known, n0 = known.mean(axis=0, keepdims=True), n0 / len(known)
        if isinstance(self.grid, Comb):
            gains, errors = self._plane(known, n0, self.grid.count(k) if self.doppler else 1)
            error = float(self.of_each_symbol(errors.reshape(-1), k).mean())
            return gains.reshape(-1).astype(np.complex64), error
        s = self.statistics
        known, n0 = over_subcarriers(known, n0, s.r * s.power, self.estimator)
        if not self.doppler:
            return known[0].astype(np.complex64), n0
        at, count = self.grid.with_pilots(k), self.grid.count(k)
        weights, error = over_time(at, count, n0, s, self.estimator)
        return (weights @ known).reshape(-1).astype(np.complex64), error
