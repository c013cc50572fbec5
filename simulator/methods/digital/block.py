"""A frame of coded bits that fills its channel uses exactly, whatever the code's length.

    information --shorten--> codewords --puncture--> exactly N coded bits, and back with LLRs

Shortened bits are zeros that both ends know; punctured ones are parity that is not sent. Both are
taken in proportion, so that the rate stays what the scheme says (IEEE 802.11-2012, 20.3.11.7.5).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from simulator.methods.digital.ldpc import LENGTHS, LdpcCode, ldpc_code

Bits = NDArray[np.uint8]
# LLR of a bit that is known to be zero.
SURE = np.float32(30)


class Block(ABC):
    """``coded``: bits that are sent; ``information``: those they carry. ``starts``: where the
    information of each codeword begins."""

    coded: int
    information: int
    starts: NDArray[np.int64]

    @abstractmethod
    def __init__(self, coded: int, rate: Fraction) -> None: ...

    @property
    def codewords(self) -> int:
        return len(self.starts)

    @abstractmethod
    def encode(self, information: Bits) -> Bits:
        """(B, information) -> (B, coded)."""

    @abstractmethod
    def decode(self, llr: NDArray[np.float32]) -> Bits:
        """(B, coded) LLRs, positive for 0 -> (B, information). A CRC says if it is right."""


def even(total: int, parts: int) -> NDArray[np.int64]:
    """``total`` in ``parts`` that differ by one at most, the larger ones first."""
    sizes = np.full(parts, total // parts)
    sizes[: total % parts] += 1
    return sizes


def starts_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]])


def length_for(coded: int) -> int:
    """The code length of table 20-16 of IEEE 802.11-2012, where payload and coded bits are in the
    proportion of the rate."""
    short, middle, long = LENGTHS
    if coded <= short:
        return short
    return middle if coded <= middle or long < coded <= 2 * middle else long


class WifiBlock(Block):
    """802.11n codewords of one length."""

    def __init__(self, coded: int, rate: Fraction) -> None:
        self.code: LdpcCode = ldpc_code(length_for(coded), rate)
        n, k = self.code.n, self.code.k
        count = -(-coded // n)
        self.coded = coded
        self.information = int(coded * rate)
        shortened = even(count * k - self.information, count)
        punctured = even(count * n - coded - int(shortened.sum()), count)
        self.starts = starts_of(k - shortened)
        place = np.arange(n)
        # Masks over (codewords, n).
        known = (place >= k - shortened[:, None]) & (place < k)
        self._known = known.ravel()
        self._sent = (~known & (place < n - punctured[:, None])).ravel()
        self._data = ~known[:, :k].ravel()

    def encode(self, information: Bits) -> Bits:
        frames = len(information)
        padded = np.zeros((frames, self._data.size), np.uint8)
        padded[:, self._data] = information
        words = self.code.encode(padded.reshape(-1, self.code.k))
        return words.reshape(frames, -1)[:, self._sent]

    def decode(self, llr: NDArray[np.float32]) -> Bits:
        frames = len(llr)
        whole = np.zeros((frames, self._sent.size), np.float32)
        whole[:, self._sent] = llr
        whole[:, self._known] = SURE
        bits, _ = self.code.decode(whole.reshape(-1, self.code.n))
        return bits.reshape(frames, -1)[:, self._data]
