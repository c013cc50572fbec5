"""A range coder over adaptive counts, in whole numbers alone: every machine makes the same bytes.

The arithmetic is that of Subbotin's carryless range coder: 32 bits of ``low`` and ``range``, a byte
out whenever the first byte of the interval is settled, or the interval has become too small.
"""

from __future__ import annotations

from collections.abc import Sequence

TOP, BOTTOM = 1 << 24, 1 << 16
WORD = (1 << 32) - 1
STEP = 24  # what a symbol that came adds to its count
LIMIT = 1 << 12  # of all counts together, far below ``BOTTOM``; then they are halved


class DamagedError(ValueError):
    """These bytes were not made by ``Writer``."""


class Counts:
    """How often each symbol is to be expected; both ends count alike. ``start``: from 1."""

    def __init__(self, start: Sequence[int]) -> None:
        self.each = list(start)
        self.total = sum(self.each)

    def add(self, symbol: int) -> None:
        self.each[symbol] += STEP
        self.total += STEP
        if self.total > LIMIT:
            self.each = [(count + 1) // 2 for count in self.each]
            self.total = sum(self.each)


class Interval:
    """What both ends do: narrow the interval, and shift out what is settled."""

    def __init__(self) -> None:
        self.low, self.range = 0, WORD

    def narrow(self, below: int, count: int) -> None:
        """To the part of one symbol; ``range`` was divided by the total before."""
        self.low = (self.low + below * self.range) & WORD
        self.range *= count
        while True:
            if (self.low ^ (self.low + self.range)) >= TOP:
                if self.range >= BOTTOM:
                    return
                self.range = -self.low & (BOTTOM - 1)
            self.shift()
            self.low = (self.low << 8) & WORD
            self.range = (self.range << 8) & WORD

    def shift(self) -> None:
        """One byte leaves."""
        raise NotImplementedError


class Writer(Interval):
    def __init__(self) -> None:
        super().__init__()
        self._out = bytearray()

    def put(self, symbol: int, counts: Counts) -> None:
        self.range //= counts.total
        self.narrow(sum(counts.each[:symbol]), counts.each[symbol])
        counts.add(symbol)

    def shift(self) -> None:
        self._out.append(self.low >> 24)

    def done(self) -> bytes:
        """The fewest bytes that lie within the interval, one at least; zeros follow them."""
        for kept in range(5):
            rest = (1 << (32 - 8 * kept)) - 1
            value = (self.low + rest) & ~rest
            if value < self.low + self.range and value <= WORD:
                break
        self._out += value.to_bytes(4, "big")[:kept]
        return bytes(self._out).rstrip(b"\0") or b"\0"


class Reader(Interval):
    """Never reads on without end: behind the last byte there are zeros."""

    def __init__(self, coded: bytes) -> None:
        super().__init__()
        self._coded, self._at = coded, 4
        self._code = int.from_bytes(coded[:4].ljust(4, b"\0"), "big")

    def get(self, counts: Counts) -> int:
        """Raises ``DamagedError`` where no symbol has these bytes."""
        self.range //= counts.total
        place = ((self._code - self.low) & WORD) // self.range
        if place >= counts.total:
            raise DamagedError("no symbol has these bytes")
        symbol, below = 0, 0
        while below + counts.each[symbol] <= place:
            below += counts.each[symbol]
            symbol += 1
        self.narrow(below, counts.each[symbol])
        counts.add(symbol)
        return symbol

    def shift(self) -> None:
        following = self._coded[self._at] if self._at < len(self._coded) else 0
        self._code = ((self._code << 8) & WORD) | following
        self._at += 1
