"""The two names of a frame.

The frame id is what ledgers and messages use; it depends on the run and the operating point.
The draw key seeds h, noise and sampler; it depends on neither, so that curves over SNR, rate
and receivers are paired.
"""

from __future__ import annotations

import hashlib
import struct

FRAME_ID_BYTES = 16
DRAW_KEY_BYTES = 32


def _digest(*parts: bytes) -> bytes:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    joined = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hashlib.sha256(joined).digest()


def frame_id(run: str, point: str, image_sha256: bytes, repeat: int) -> bytes:
    """First 16 bytes of sha256(run, operating point, image hash, repeat)."""
    whole = _digest(run.encode(), point.encode(), image_sha256, struct.pack("<Q", repeat))
    return whole[:FRAME_ID_BYTES]


def draw_key(seed: int, image_sha256: bytes, repeat: int) -> bytes:
    """sha256(seed, image hash, repeat), 32 bytes."""
    return _digest(str(seed).encode(), image_sha256, struct.pack("<Q", repeat))
