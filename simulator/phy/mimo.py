"""Several antennas, each pair with one Rayleigh gain for the whole frame: Y = H X + N.

    wire   [P pilots][K symbols]                       of mean power 1, in the order of the encoder
    air    (P + U uses, N_t)     pilots one stream after the other, then symbols over the antennas
    wire   [P N_r values][U N_r values]                use after use, antenna after antenna

    scheme         N_t     symbols in U uses    symbol n is sent in
    mrc            1       1                    use n
    alamouti       2       2 in 2               uses 2 (n // 2) and the next
    multiplexing   N_t     N = N_t in 1         use n // N, by antenna n % N
    svd            N_t     N = min(N_t, N_r)    use n // N, by right singular vector n % N

The antennas send a power of 1 in every use, all together, so a symbol has 1 / N of it. All antennas
at once are one channel use; the last uses are filled with zeros, which disturb their neighbours
less than is reckoned with. SNR is the average Es/N0 of a use at one receive antenna. Under svd each
stream has the same power: filling water would maximise a rate, and may leave a stream, and with it
symbols that nothing else holds, without any.

A receiver that estimates has p pilots for each of the N streams, P = N p, which they send in turn
with all the power; what the MMSE estimate of each gain leaves wrong is reckoned as noise. Pilots go
through the precoder, as the demodulation reference signals of 5G NR do, so that under svd nobody
has to tell the receiver what the transmitter has made of H. A column behind a precoder is not
CN(0, 1), as the estimate takes it to be: with few pilots at a low SNR it reckons with some percent
too much noise (5 at 1 dB with 8 pilots).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.phy.antennas import Antennas, precoder
from simulator.phy.detection import bits_per_use, coded, combined, linear
from simulator.phy.law import Law
from simulator.phy.pilots import pilot_symbols
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState


@dataclass(frozen=True)
class Mimo(Law):
    """``each``: pilots of a stream, 0 where the receiver knows the gains; ``correlation`` of the
    gains of consecutive frames.

    Gains are H row by row, and behind them, where a precoder is older, those that it is made of.
    """

    antennas: Antennas
    each: int = 0
    correlation: float = 0.0

    @property
    def pairs(self) -> int:
        """Gains of one H."""
        return self.antennas.transmit * self.antennas.receive

    def slots(self, k: int) -> int:
        """U, the uses of K symbols without pilots."""
        if self._coded:
            return k + k % 2
        return -(-k // self.antennas.streams)

    def count(self, k: int) -> int:
        return self.pairs * (2 if self._precoder_is_old else 1)

    def pilots(self, k: int) -> int:
        return self.antennas.streams * self.each

    def pilot_symbols(self, k: int) -> np.ndarray:
        return pilot_symbols(self.pilots(k))

    def uses(self, k: int) -> int:
        return self.pilots(k) + self.slots(k)

    def received(self, k: int) -> tuple[int, int]:
        return self.antennas.receive * self.pilots(k), self.antennas.receive * self.slots(k)

    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        h = self.antennas.draw(generator)
        if not self._precoder_is_old:
            return h
        return np.concatenate([h, self._earlier(h, generator, self.antennas.age)])

    def before(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        """(N_r N_t,); those of an older precoder, where there is one."""
        if self._precoder_is_old:
            return h[-self.pairs :]
        return self._earlier(h, generator, delay)

    def of_symbols(self, k: int) -> np.ndarray:
        return np.arange(k) % self._gains_behind

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        m = len(values)
        each: np.ndarray = np.broadcast_to(values, (-(-k // m), m)).reshape(-1)[:k]
        return each

    def effective(self, h: np.ndarray, snr_db: float) -> np.ndarray:
        """(N,) of the streams, (1,) under mrc and alamouti: abs(g)^2 / n0 is the SINR behind the
        detector."""
        n0 = noise_variance(snr_db)
        return self._scaled(self._detector(self._sending(h), n0)[1], n0)

    def capacity(self, h: np.ndarray, k: int, snr: float) -> float:
        """Of what the antennas send with equal power, or the streams under svd: that Alamouti's
        code and linear detectors lose some of it is their loss."""
        return bits_per_use(self._sending(h), snr) * self.slots(k) / k

    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        a, n = self._sending(h), self.antennas.streams
        pilots, symbols = np.split(sent, [len(sent) - k])
        size = self.slots(k) if self._coded else self.slots(k) * n
        filled = np.zeros(size, np.complex64)
        filled[:k] = symbols
        uses = coded(filled) if self._coded else filled.reshape(-1, n)
        if len(pilots):
            turns = np.zeros((len(pilots), n), np.complex64)
            turns[np.arange(len(pilots)), np.arange(len(pilots)) % n] = pilots * np.float32(n**0.5)
            uses = np.concatenate([turns, uses])
        arriving: np.ndarray = uses @ a.T.astype(np.complex64)
        return arriving.reshape(-1)

    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        """Each symbol with the gain g of ``effective``, and noise of variance n0: what the estimate
        of the gains leaves wrong is in g."""
        p, n0 = self.pilots(k), noise_variance(snr_db)
        whole = received.reshape(rounds, p + self.slots(k), self.antennas.receive)
        pilots, payload = np.split(whole, [p], axis=1)
        noise = n0
        if p:
            error = n0 / (self.each * rounds)  # of the mean
            # The MMSE estimate of a gain that is CN(0, 1): its error does not depend on it, and is
            # noise to the streams, which have a power of 1 together.
            a = self._means(pilots) / (1 + error)
            noise += error / (1 + error)
        elif len(h) != self.count(k):
            raise ValueError(f"{len(h)} gains for {self.count(k)} pairs of antennas")
        else:
            a = self._sending(h)
        weights, sinr = self._detector(a, noise)
        g = self._scaled(sinr, n0)
        symbols = self._detected(payload, a, weights).reshape(rounds, -1)[:, :k]
        if len(g) == 1:
            return Heard(symbols.reshape(-1) * g[0], ChannelState(snr_db, g))
        block = self.of_symbols(k)
        return Heard(
            (symbols * g[block]).reshape(-1),
            ChannelState(snr_db, g),
            np.tile(block, rounds),
            mixing=a.astype(np.complex64),
        )

    @property
    def _coded(self) -> bool:
        return self.antennas.scheme == "alamouti"

    @property
    def _precoder_is_old(self) -> bool:
        return self.antennas.scheme == "svd" and self.antennas.age > 0

    @property
    def _gains_behind(self) -> int:
        """M, behind the detector."""
        return 1 if self._coded else self.antennas.streams

    def _earlier(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        rho = self.correlation**delay
        fresh = self.antennas.draw(generator) * np.float32((1 - rho * rho) ** 0.5)
        earlier: np.ndarray = np.float32(rho) * h + fresh
        return earlier

    def _sending(self, h: np.ndarray) -> np.ndarray:
        """(N_r, N) complex128: from streams of unit power to antennas."""
        n, shape = self.antennas.streams, (self.antennas.receive, self.antennas.transmit)
        a = h[: self.pairs].reshape(shape).astype(np.complex128)
        if self.antennas.scheme == "svd":
            a = a @ precoder(h[-self.pairs :].reshape(shape), n)
        a /= n**0.5
        return a

    def _means(self, pilots: np.ndarray) -> np.ndarray:
        """The same from (rounds, P, N_r) received pilots, by least squares."""
        rounds, p, receive = pilots.shape
        n = self.antennas.streams
        products = pilots * pilot_symbols(p).conj()[:, None]
        means = products.reshape(rounds * self.each, n, receive).mean(axis=0, dtype=np.complex128)
        a: np.ndarray = means.T / n**0.5
        return a

    def _detector(self, a: np.ndarray, noise: float) -> tuple[np.ndarray | None, np.ndarray]:
        """(N, N_r) weights, None for Alamouti's code, and the (M,) SINRs behind them."""
        if self._coded:
            return None, np.array([np.sum(np.abs(a) ** 2) / noise])
        return linear(a, noise, self.antennas.detector)

    def _scaled(self, sinr: np.ndarray, n0: float) -> np.ndarray:
        gains: np.ndarray = np.sqrt(sinr * n0).astype(np.complex64)
        return gains

    def _detected(
        self, payload: np.ndarray, a: np.ndarray, weights: np.ndarray | None
    ) -> np.ndarray:
        """Unbiased symbols of (rounds, U, N_r), in the order in which they were sent."""
        uses = payload.reshape(-1, self.antennas.receive)
        if weights is None:
            return combined(uses, a.astype(np.complex64))
        symbols: np.ndarray = uses @ weights.T.astype(np.complex64)
        return symbols
