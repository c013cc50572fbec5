"""The binary parts of messages, checked where they are read.

Each function returns what a part holds, or raises ``WireError``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.link import constants as c
from simulator.link.messages import Arrival, Sent, WireError


def symbols_of(frame: Sent, part: Any) -> np.ndarray:
    """(P + K,) complex64 as tx sends them; raises ``WireError`` where they do not fit."""
    return values_of(part, frame.k + frame.pilots)


def values_of(part: Any, count: int) -> np.ndarray:
    """(count,) finite complex64 of a binary part. Raises ``WireError``."""
    if len(part) != 8 * count:
        raise WireError("bad-payload", f"{len(part)} bytes of symbols instead of {8 * count}")
    return complex_of(part)


def lost_of(frame: Arrival, packets: int) -> np.ndarray:
    """(packets,) bool. Raises ``WireError`` where there are other ones."""
    if len(frame.lost) != -(-packets // 8):
        reason = f"{len(frame.lost)} bytes do not say which of {packets} packets are lost"
        raise WireError("bad-message", reason)
    bits = np.frombuffer(frame.lost, np.uint8)
    return np.unpackbits(bits, count=packets).astype(bool)


def complex_of(part: Any) -> np.ndarray:
    """(n,) finite complex64 of a binary part. Raises ``WireError``."""
    if len(part) % 8:
        raise WireError("bad-payload", f"{len(part)} bytes are not whole complex numbers")
    symbols = np.frombuffer(part, dtype="<c8")
    # The energy is finite only if all of them are, and cheaper than a mask of the same length.
    # Where it is not, finite ones may have been too large to be squared.
    flat = symbols.view("<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        energy = np.dot(flat, flat)
    if not math.isfinite(energy) and not np.isfinite(flat).all():
        raise WireError("bad-payload", "symbols that are not finite")
    return symbols


def check_side(part: Any) -> None:
    if len(part) > c.MAX_SIDE_BYTES:
        reason = f"{len(part)} bytes of side information, but at most {c.MAX_SIDE_BYTES} are taken"
        raise WireError("bad-payload", reason)


def check_pictures(parts: Sequence[Any]) -> None:
    if (largest := max(map(len, parts))) > c.MAX_PICTURE_BYTES:
        reason = f"a picture of {largest} bytes, but at most {c.MAX_PICTURE_BYTES} are taken"
        raise WireError("bad-payload", reason)


def check_reference(frame: Sent, part: Any) -> None:
    """A reference is absent or the RGB bytes of an image of the stated size."""
    if len(part) not in (0, 3 * frame.height * frame.width):
        raise WireError(
            "bad-payload", f"a reference of {len(part)} bytes for {frame.width}x{frame.height}"
        )
