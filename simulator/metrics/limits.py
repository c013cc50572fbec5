"""Where a measure of quality ends."""

from __future__ import annotations

#: What the PSNR of an image without any error counts as, in dB: it is infinite, and so would a
#: mean be. Beyond the best that eight bits and a real link give (one level in every pixel: 48 dB).
PERFECT_DB = 100.0


def capped(psnr_db: float) -> float:
    """A PSNR that can be averaged and written down."""
    return min(psnr_db, PERFECT_DB)
