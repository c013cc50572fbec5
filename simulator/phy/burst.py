"""One frame as a burst of a single carrier: what is sent, and where its known symbols are.

    [silence][half][half][tag][symbols, with the pilots spread among them][silence]

Two equal halves say the carrier frequency offset (Schmidl and Cox, IEEE Trans. Commun. 45 (12),
1997). The tag is another for each frame: a burst that comes too late is not taken for the next one.
Pilots are spread so that they say how the phase turns until the last symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from simulator.phy.pilots import known_symbols
from simulator.phy.pulse import shaped

HALF = 128  # symbols
TAG = 512
PREAMBLE = 2 * HALF + TAG
SILENCE = 192  # symbols of nothing around a burst: a radio's filters end in them


def qpsk(seed: bytes, count: int) -> np.ndarray:
    """(count,) complex64 of unit power, a function of the first 16 bytes of the seed."""
    return known_symbols(int.from_bytes(seed[:16], "little"), count)


@cache
def halves() -> np.ndarray:
    """(2 HALF,) complex64, the same in front of every burst."""
    return np.tile(qpsk(b"PREAMBLE", HALF), 2)


@dataclass(frozen=True)
class Burst:
    """A frame of P ``pilots``, known to both ends, and ``k`` symbols; ``name``: at least 16 bytes
    that no other frame has."""

    name: bytes
    pilots: np.ndarray
    k: int

    @property
    def symbols(self) -> int:
        """Of the whole burst, without silence."""
        return PREAMBLE + len(self.pilots) + self.k

    @cached_property
    def tag(self) -> np.ndarray:
        """(TAG,) complex64."""
        return qpsk(self.name, TAG)

    @cached_property
    def preamble(self) -> np.ndarray:
        """(PREAMBLE,) complex64."""
        return np.concatenate([halves(), self.tag])

    @cached_property
    def of_pilots(self) -> np.ndarray:
        """(P,) which symbol behind the preamble each pilot is: the last one is the last of all."""
        p = len(self.pilots)
        places: np.ndarray = np.ceil(np.arange(1, p + 1) * (p + self.k) / p).astype(int) - 1
        return places

    def spread(self, frame: np.ndarray) -> np.ndarray:
        """(P + K,) of the wire, pilots first, in the order of the air."""
        air = np.empty_like(frame)
        air[self._wire] = frame
        return air

    def gathered(self, air: np.ndarray) -> np.ndarray:
        """(P + K,) of the air in the order of the wire."""
        wire: np.ndarray = air[self._wire]
        return wire

    @cached_property
    def _wire(self) -> np.ndarray:
        others = np.setdiff1d(np.arange(len(self.pilots) + self.k), self.of_pilots)
        return np.concatenate([self.of_pilots, others])

    def modulated(self, frame: np.ndarray, sps: int, amplitude: float = 1.0) -> np.ndarray:
        """Complex64 samples of the (P + K,) symbols of a frame, pilots first.

        ``amplitude``: root mean square of the samples of a burst whose symbols have unit power.
        """
        body = shaped(np.concatenate([self.preamble, self.spread(frame)]), sps)
        silence = np.zeros(SILENCE * sps)
        whole = np.concatenate([silence, body * (amplitude * sps**0.5), silence])
        samples: np.ndarray = whole.astype(np.complex64)
        return samples
