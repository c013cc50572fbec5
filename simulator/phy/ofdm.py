"""Where the pilots and the symbols of a frame are on OFDM symbols of n subcarriers.

    wire         [pilots][symbols]           in the order of the encoder
    Whole, air   [P][S S S ... S]            P: pilots on all subcarriers
                 [P][S S][P][S S][P][S]      spacing 2
    Comb, air    [C][S S S ... S]            C: pilots on every N-th subcarrier, symbols between
                 [C][S][C][S][C]             spacing 2
                 [C][C][C][C][C]             spacing 1

Symbols fill the subcarriers of one OFDM symbol after the other; a last one that is not full is
charged whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.phy.pilots import pilot_symbols


@dataclass(frozen=True)
class Grid(ABC):
    """``subcarriers``: n; ``spacing``: OFDM symbols that share those of pilots, 0: all of a frame;
    ``chirp``: whether the pilots of an OFDM symbol are a Zadoff-Chu sequence, else QPSK at random.

    A cell is one subcarrier of one OFDM symbol, n s + f, in the order of the air and of the FFT.
    """

    subcarriers: int
    spacing: int = 0
    chirp: bool = True

    @property
    @abstractmethod
    def teeth(self) -> np.ndarray:
        """Subcarriers of an OFDM symbol that have pilots, as the FFT counts them."""

    @abstractmethod
    def count(self, k: int) -> int:
        """OFDM symbols on the air."""

    @abstractmethod
    def with_pilots(self, k: int) -> np.ndarray:
        """Which of them have pilots."""

    @abstractmethod
    def cells(self, k: int) -> np.ndarray:
        """(K,) the cell of each symbol."""

    @abstractmethod
    def order(self, k: int) -> np.ndarray:
        """(OFDM symbols,) which on the air each row of ``rows`` is."""

    @abstractmethod
    def rows(self, sent: np.ndarray, k: int) -> np.ndarray:
        """(OFDM symbols, n) of (P + K,) pilots and symbols; cells that are free are silent."""

    @abstractmethod
    def flat(self, rows: np.ndarray, k: int) -> np.ndarray:
        """The inverse of ``rows``."""

    @abstractmethod
    def of_pilots(self, values: np.ndarray, k: int) -> np.ndarray:
        """(P,) of the values of all cells, or of (n,) that all OFDM symbols share."""

    @abstractmethod
    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        """(K,), likewise."""

    @property
    def sequence(self) -> np.ndarray:
        """The pilots of one OFDM symbol, complex64 of unit power."""
        count = len(self.teeth)
        return zadoff_chu(count) if self.chirp else pilot_symbols(count)

    def pilots(self, k: int) -> int:
        """P."""
        return len(self.teeth) * len(self.with_pilots(k))

    def pilot_symbols(self, k: int) -> np.ndarray:
        """(P,) complex64."""
        return np.tile(self.sequence, len(self.with_pilots(k)))


@dataclass(frozen=True)
class Whole(Grid):
    """``estimated``: whether there are pilots at all."""

    estimated: bool = False

    @property
    def teeth(self) -> np.ndarray:
        return np.arange(self.subcarriers)

    def places(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(pilots,) and (data,): which OFDM symbol on the air each is."""
        index, spacing = np.arange(-(-k // self.subcarriers)), self._spacing(k)
        if not self.estimated:
            return index[:0], index
        pilots = np.arange(-(-len(index) // spacing)) * (spacing + 1)
        return pilots, index + index // spacing + 1

    def _spacing(self, k: int) -> int:
        return self.spacing or -(-k // self.subcarriers)

    def count(self, k: int) -> int:
        data = -(-k // self.subcarriers)
        return data + (-(-data // self._spacing(k)) if self.estimated else 0)

    def with_pilots(self, k: int) -> np.ndarray:
        return self.places(k)[0]

    def cells(self, k: int) -> np.ndarray:
        symbol, subcarrier = np.divmod(np.arange(k), self.subcarriers)
        cells: np.ndarray = self.places(k)[1][symbol] * self.subcarriers + subcarrier
        return cells

    def order(self, k: int) -> np.ndarray:
        """Pilots go first on the wire."""
        return np.concatenate(self.places(k))

    def rows(self, sent: np.ndarray, k: int) -> np.ndarray:
        return np.pad(sent, (0, -len(sent) % self.subcarriers)).reshape(-1, self.subcarriers)

    def flat(self, rows: np.ndarray, k: int) -> np.ndarray:
        return rows.reshape(-1)[: k + self.pilots(k)]

    def of_pilots(self, values: np.ndarray, k: int) -> np.ndarray:
        own, at = values.reshape(-1, self.subcarriers), self.with_pilots(k)
        return (np.tile(own, len(at)) if len(own) == 1 else own[at]).reshape(-1)

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        if len(values) == self.subcarriers:
            return np.resize(values, k)
        if not self.estimated:  # the order on the air is that of the encoder
            return values[:k]
        own: np.ndarray = values.reshape(-1, self.subcarriers)[self.places(k)[1]].reshape(-1)[:k]
        return own


@dataclass(frozen=True)
class Comb(Grid):
    """``every``: N of the subcarriers, counted from the lowest frequency; the ends of the band have
    as few without a pilot as can be."""

    every: int = 2

    @property
    def teeth(self) -> np.ndarray:
        """From the lowest frequency."""
        rising = np.fft.fftshift(np.arange(self.subcarriers))
        return rising[(self.subcarriers - 1) % self.every // 2 :: self.every]

    def count(self, k: int) -> int:
        n, pilots = self.subcarriers, len(self.teeth)
        if not self.spacing:
            return -(-(k + pilots) // n)
        full, rest = divmod(k, self.spacing * n - pilots)
        return full * self.spacing + (-(-(rest + pilots) // n) if rest else 0)

    def with_pilots(self, k: int) -> np.ndarray:
        return np.arange(0, self.count(k), self.spacing or self.count(k))

    def cells(self, k: int) -> np.ndarray:
        return _cells(self, k)[1]

    def order(self, k: int) -> np.ndarray:
        return np.arange(self.count(k))

    def rows(self, sent: np.ndarray, k: int) -> np.ndarray:
        rows = np.zeros(self.count(k) * self.subcarriers, sent.dtype)
        pilots, data = _cells(self, k)
        rows[pilots], rows[data] = np.split(sent, [len(pilots)])
        return rows.reshape(-1, self.subcarriers)

    def flat(self, rows: np.ndarray, k: int) -> np.ndarray:
        sent: np.ndarray = rows.reshape(-1)[np.concatenate(_cells(self, k))]
        return sent

    def of_pilots(self, values: np.ndarray, k: int) -> np.ndarray:
        own: np.ndarray = values[_cells(self, k)[0] % len(values)]
        return own

    def of_each_symbol(self, values: np.ndarray, k: int) -> np.ndarray:
        own: np.ndarray = values[_cells(self, k)[1] % len(values)]
        return own


@lru_cache(maxsize=8)
def _cells(comb: Comb, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(P,) and (K,) cells of the pilots and of the symbols."""
    n = comb.subcarriers
    pilots = (comb.with_pilots(k)[:, None] * n + comb.teeth).reshape(-1)
    free = np.ones(comb.count(k) * n, bool)
    free[pilots] = False
    return pilots, np.flatnonzero(free)[:k]


def zadoff_chu(n: int, root: int = 1) -> np.ndarray:
    """(n,) complex64 of constant amplitude, over the subcarriers as in time."""
    index = np.arange(n)
    sequence: np.ndarray = np.exp(-1j * np.pi * root * index * (index + n % 2) / n)
    return sequence.astype(np.complex64)
