"""Which maps of many are sent, as bytes: the number of the subset among all of its size.

There are n! / (k! (n - k)!) subsets of k of n, and no list of k places is shorter than the log of
that: 147 bits for 32 of 320. Whole numbers alone, so that both ends read the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from simulator.jscc.range_coder import DamagedError


def subset_bytes(chosen: int, of: int) -> int:
    """Bytes of every subset of ``chosen`` places."""
    return -(-(comb(of, chosen) - 1).bit_length() // 8)


def write_subset(places: Sequence[int], of: int) -> bytes:
    """Rising places of 0 ... ``of`` - 1 -> ``subset_bytes`` of their number."""
    number = sum(comb(place, i) for i, place in enumerate(places, 1))
    return number.to_bytes(subset_bytes(len(places), of), "big")


def read_subset(coded: bytes, chosen: int, of: int) -> list[int]:
    """The inverse of ``write_subset``. Raises ``DamagedError`` for the number of no subset."""
    number = int.from_bytes(coded, "big")
    if len(coded) != subset_bytes(chosen, of) or number >= comb(of, chosen):
        raise DamagedError("there is no such choice of maps")
    places, place = [], of
    for left in range(chosen, 0, -1):
        place -= 1
        while comb(place, left) > number:
            place -= 1
        number -= comb(place, left)
        places.append(place)
    return places[::-1]
