"""LDPC codes of IEEE 802.11n: 3 lengths, 4 rates, systematic encoding.

    information (B, k) --xor of shifted blocks--> lambda --dual diagonal--> parity (B, n - k)

Each parity-check matrix is a grid of z x z blocks, zero or a shifted identity (quasi-cyclic).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from simulator.errors import SettingsError
from simulator.methods.digital.belief import Layer, decode, parity_holds

Bits = NDArray[np.uint8]
DATA = "ldpc_80211n.json"
LENGTHS = (648, 1296, 1944)
RATES = (Fraction(1, 2), Fraction(2, 3), Fraction(3, 4), Fraction(5, 6))


@dataclass(frozen=True, eq=False)
class LdpcCode:
    """``shifts``: (rows, 24) of the block grid; the block of shift s has its ones at
    (r, (r + s) mod z), and -1 stands for a zero block."""

    z: int
    shifts: NDArray[np.int64]

    @property
    def n(self) -> int:
        return self.z * int(self.shifts.shape[1])

    @property
    def k(self) -> int:
        return self.n - self.z * int(self.shifts.shape[0])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """For each block row, which bits enter its z checks: (degree, z) indices."""
        return _layers(self)

    def encode(self, information: Bits) -> Bits:
        """(B, k) bits -> (B, n): the information first, then parity, H c = 0."""
        blocks = information.reshape(len(information), -1, self.z)
        first = blocks.shape[1]  # of the parity columns
        sums = [self._sum_of_row(blocks, row) for row in range(len(self.shifts))]
        # Added over all rows, the dual diagonal and the two shifted blocks of the first parity
        # column cancel: what is left is that parity block itself.
        p0 = np.bitwise_xor.reduce(sums)
        parity, last = [p0], np.zeros_like(p0)
        for row, total in enumerate(sums[:-1]):
            last = total ^ last
            if self.shifts[row, first] >= 0:
                last ^= np.roll(p0, -self.shifts[row, first], axis=1)
            parity.append(last)
        return np.concatenate([information, *parity], axis=1)

    def _sum_of_row(self, blocks: Bits, row: int) -> Bits:
        shifted = [
            np.roll(blocks[:, column], -shift, axis=1)
            for column, shift in enumerate(self.shifts[row, : blocks.shape[1]])
            if shift >= 0
        ]
        total: Bits = np.bitwise_xor.reduce(shifted)
        return total

    def decode(self, llr: NDArray[np.float32]) -> tuple[Bits, NDArray[np.bool_]]:
        """(B, n) LLRs, positive for 0 -> (B, k) information bits, and where all checks hold."""
        bits, held = decode(self.layers, llr)
        return bits[:, : self.k], held

    def holds(self, words: Bits) -> NDArray[np.bool_]:
        """Which of (B, n) words fulfil H c = 0."""
        return parity_holds(self.layers, np.ascontiguousarray(words.T))


@lru_cache(maxsize=16)
def _layers(code: LdpcCode) -> tuple[Layer, ...]:
    rows = np.arange(code.z)
    return tuple(
        np.stack([c * code.z + (rows + s) % code.z for c, s in enumerate(row) if s >= 0])
        for row in code.shifts
    )


@lru_cache(maxsize=16)
def ldpc_code(n: int, rate: Fraction) -> LdpcCode:
    """One of the twelve codes. Raises ``SettingsError`` for any other length or rate."""
    text = resources.files("simulator.methods.digital").joinpath(DATA).read_text("utf-8")
    for entry in json.loads(text)["codes"]:
        if (entry["n"], Fraction(entry["rate"])) == (n, rate):
            return LdpcCode(entry["z"], np.array(entry["shifts"]))
    raise SettingsError(
        f"802.11n has no LDPC code of length {n} and rate {rate}; it has lengths "
        f"{', '.join(map(str, LENGTHS))} and rates {', '.join(map(str, RATES))}."
    )
