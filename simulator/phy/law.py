"""A kind of channel: what it does to the symbols of a frame, and how a receiver undoes it.

    gains       h, a function of a random stream
    faded       what arrives of the symbols, before noise
    hear        received -estimate h, where pilots are to say it-> Heard: a gain for each symbol
    effective   the gains that hear would find without any error

One object holds both directions, so that a kind of channel is one file and one line in
``simulator.phy.laws``; tx, channel and rx make it of the same ``Waveform``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from simulator.phy.reception import Heard


class Law(ABC):
    """Of K symbols and their P pilots in each frame, or in each round of a frame."""

    @abstractmethod
    def count(self, k: int) -> int:
        """Gains that K symbols need."""

    @abstractmethod
    def pilots(self, k: int) -> int:
        """P, sent in front of K symbols."""

    @abstractmethod
    def pilot_symbols(self, k: int) -> np.ndarray:
        """(P,) complex64 of unit power, known to both ends."""

    def uses(self, k: int) -> int:
        """Channel uses of K symbols: with their pilots, and what else the waveform takes."""
        return k + self.pilots(k)

    def received(self, k: int) -> tuple[int, int]:
        """Values that arrive of the pilots, and of the K symbols behind them: as many as were sent,
        or more at several antennas."""
        return self.pilots(k), k

    @abstractmethod
    def gains(self, generator: np.random.Generator, k: int) -> np.ndarray:
        """(count,) complex64, of mean square 1."""

    @abstractmethod
    def before(self, h: np.ndarray, generator: np.random.Generator, delay: int) -> np.ndarray:
        """The gains ``delay`` blocks before those of a frame, drawn given these."""

    def effective(self, h: np.ndarray, snr_db: float) -> np.ndarray:
        """(M,) complex64: the gains h as symbols meet them, behind the receiver's detector."""
        return h

    def shaped(self, symbols: np.ndarray, h: np.ndarray, k: int, snr_db: float) -> np.ndarray:
        """(P + K,) pilots and symbols as a transmitter sends them that knows the gains h and is
        given that SNR: what it does to them is in ``effective``."""
        return symbols

    @abstractmethod
    def of_symbols(self, k: int) -> np.ndarray:
        """(K,) which of M > 1 effective gains each symbol has."""

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        """(K,) of M > 1 values, one for each effective gain, that of each symbol."""
        each: np.ndarray = values[self.of_symbols(k)]
        return each

    def capacity(self, h: np.ndarray, k: int, snr: float) -> float:
        """Bits that each of K symbols brings at most under the gains h, log2(1 + abs(h)^2 snr) on
        average. ``snr``: linear, of unit gain."""
        if len(h) > 1:
            h = self.of_each_symbol(h, k)
        power = np.abs(h.astype(np.complex128)) ** 2
        return float(np.mean(np.log2(1 + power * snr)))

    def times(self, k: int) -> np.ndarray:
        """When each of ``samples`` is on the air, in samples; of the same shape."""
        return np.arange(k + self.pilots(k))

    def samples(self, symbols: np.ndarray, k: int) -> np.ndarray:
        """What is on the air of (P + K,) pilots and symbols, but for what is repeated."""
        return symbols

    def symbols(self, samples: np.ndarray, k: int) -> np.ndarray:
        """The inverse of ``samples``."""
        return samples

    @abstractmethod
    def faded(self, sent: np.ndarray, h: np.ndarray, k: int) -> np.ndarray:
        """What arrives of pilots and symbols without noise, (P + K,) or as many as ``received``."""

    @abstractmethod
    def hear(
        self, received: np.ndarray, h: np.ndarray, k: int, snr_db: float, rounds: int = 1
    ) -> Heard:
        """What a receiver makes of all that was received in all rounds.

        ``h``: (count,) gains that it knows; empty where pilots are to say them. ``rounds``: equal
        parts that were sent one after the other under the same gains, each behind pilots of its
        own. Raises ``ValueError`` where there are fewer gains than there should be.
        """
