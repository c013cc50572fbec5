"""The power of each image of a batch, as it was before normalisation, in the side information."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from simulator.errors import SettingsError

BYTES = 4
MOST_POWER = 1e12  # more than any image has


def write_powers(powers: Sequence[float]) -> bytes:
    """``BYTES`` for each."""
    return struct.pack(f"<{len(powers)}f", *powers)


def read_powers(side: bytes, count: int) -> tuple[list[float], bytes]:
    """The first ``count`` powers and what follows them. Raises ``SettingsError``."""
    if len(side) < count * BYTES:
        raise SettingsError(
            f"{len(side)} bytes of side information, fewer than the {count * BYTES} of its powers: "
            f"it is damaged, or not of this codec."
        )
    powers = list(struct.unpack(f"<{count}f", side[: count * BYTES]))
    if not all(0 <= power <= MOST_POWER for power in powers):  # nor a NaN
        raise SettingsError("the side information tells of a power that no image has.")
    return powers, side[count * BYTES :]
