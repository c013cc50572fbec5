"""OFDM over paths that move within an OFDM symbol: its subcarriers disturb each other.

    y(t) = sum over paths of g(t) x(t - delay)           at each sample t behind the prefix
    Y(a) = H(a) X(a) + sum over b of I(a, b) X(b) + N(a)        H: the mean gain over these samples

Nothing is approximated: the gain of each path is a sum of sinusoids, known at every sample. The
power of a gain that moves by Clarke's model stays in H as far as

    E abs(H)^2 = mean of abs(D(f cos theta))^2 over directions, D(v) = sin(pi n v) / (n sin(pi v))

and the rest, near (2 pi f n)^2 / 24, is interference (Li and Cimini, IEEE Trans. Commun. 49 (3),
2001). The receiver reckons with it as noise: what it hears is scaled until noise and interference
have the variance of the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simulator.phy.multipath import Multipath
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard
from simulator.phy.waves import COSINES, LOS_DOPPLER, Waves, clarke


@dataclass(frozen=True)
class Intercarrier(Multipath):
    """Gains are H of all cells, and behind them the waves that they are made of.

    Pilots are no chirp: the pilot of the next subcarrier would look like a path one sample later.
    """

    disturbs = True

    @cached_property
    def _waves(self) -> int:
        return Waves.count(self.profile)

    @property
    def interference(self) -> float:
        return 1 - self._power

    @cached_property
    def _power(self) -> float:
        """E abs(H)^2."""
        scattered, los = float(self.profile.powers.sum()), self.profile.line_of_sight
        line = self._kept(np.array(LOS_DOPPLER))
        return scattered * float(self._kept(COSINES).mean()) + los * float(line)

    def _kept(self, cosines: np.ndarray) -> np.ndarray:
        """abs(D)^2 of the directions."""
        v, n = self.doppler * cosines, self.subcarriers
        kept: np.ndarray = (np.sinc(n * v) / np.sinc(v)) ** 2
        return kept

    def _over(self, lags: np.ndarray) -> np.ndarray:
        kept = self._kept(COSINES)
        # A line of sight is taken to move as the rest does.
        kept *= self._power / kept.mean()
        return clarke(2 * np.pi * self.doppler * self.period * np.abs(lags), kept)

    def count(self, k: int) -> int:
        return super().count(k) + self._waves

    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        values = Waves.draw(generator, self.profile).values()
        starts = self._starts(np.arange(self.grid.count(k)))
        means = Waves.of(values, self.profile).gains(
            self.profile, self.doppler, starts, np.arange(self.subcarriers), mean=True
        )
        h = means[:, :, 0].T @ self._response
        return np.concatenate([h.reshape(-1), values])

    def _starts(self, symbols: np.ndarray) -> np.ndarray:
        """The first sample of each OFDM symbol behind its prefix."""
        starts: np.ndarray = symbols * self.period + self.cyclic_prefix
        return starts

    def effective(self, h: np.ndarray, snr_db: float) -> np.ndarray:
        return h[: -self._waves] * self._scale(snr_db)

    def _scale(self, snr_db: float) -> np.float32:
        n0 = noise_variance(snr_db)
        return np.float32((n0 / (n0 + self.interference)) ** 0.5)

    def capacity(self, h: np.ndarray, k: int, snr: float) -> float:
        return super().capacity(self.effective(h, float(10 * np.log10(snr))), k, snr)

    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        waves = Waves.of(h[-self._waves :], self.profile)
        starts, within = self._starts(self.grid.order(k)), np.arange(self.subcarriers)
        rows, arriving = self.grid.rows(self.scrambled(sent, k), k), np.zeros((), np.complex64)
        for i, response in enumerate(self._response):
            delayed = np.fft.ifft(rows * response)
            path = waves.gains(self.profile, self.doppler, starts, within, slice(i, i + 1))[0]
            arriving = arriving + path * delayed
        flat = self.grid.flat(np.fft.fft(arriving), k)
        return self.descrambled(flat.astype(np.complex64), k)

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        heard = super().hear(received, h, k, snr_db, rounds)
        known = heard.state.h if self.estimated else h[: -self._waves]
        scale = self._scale(snr_db)
        return replace(
            heard,
            payload=heard.payload * scale,
            state=replace(heard.state, h=known * scale),
            error=heard.error * float(scale) ** 2,
        )
