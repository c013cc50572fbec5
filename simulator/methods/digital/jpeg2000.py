"""JPEG 2000 by OpenJPEG (in Pillow): irreversible wavelet and colours, one tile, one layer.

    RGB --OpenJPEG at a rate--> codestream --main header and tile-part header cut off--> payload

What counts is the tile's packets. The main header is the receiver's own.
"""

from __future__ import annotations

import math
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from simulator.methods.digital.source import (
    DamagedPayload,
    Pixels,
    SourceCodec,
    grey,
    without_prefix,
)

SOT, SOD, EOC = b"\xff\x90", b"\xff\x93", b"\xff\xd9"
# Marker, its length, tile 0, length of the part (4 bytes), part 0 of 1; then start of data.
PART_HEADER = len(SOT) + 10 + len(SOD)
# Target sizes of the payload in bytes: SMALLEST * GROWTH^quality.
SMALLEST, GROWTH = 16, 1.03
QUALITIES = 400


class Jpeg2000(SourceCodec):
    name = "jpeg2000"
    label = "JPEG 2000"
    qualities = QUALITIES
    growth = math.log(GROWTH)

    def encode(self, pixels: Pixels, quality: int, variant: str) -> bytes:
        header = main_header(pixels.shape[:2])
        target = len(header) + PART_HEADER + len(EOC) + SMALLEST * GROWTH**quality
        stream = codestream(pixels, pixels.size / target)
        part = without_prefix(stream, header)
        return part[PART_HEADER : -len(EOC)]

    def decode(self, payload: bytes, size: tuple[int, int], variant: str) -> Pixels:
        length = (PART_HEADER + len(payload)).to_bytes(4, "big")
        part = SOT + b"\0\x0a\0\0" + length + b"\0\1" + SOD
        stream = main_header(size) + part + payload + EOC
        try:
            return np.array(Image.open(BytesIO(stream), formats=["JPEG2000"]).convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DamagedPayload(f"JPEG 2000: {error}") from None


def codestream(pixels: Pixels, ratio: float) -> bytes:
    """``ratio``: of the raw picture's bytes to those of the whole codestream; 1 at least."""
    file = BytesIO()
    Image.fromarray(pixels).save(
        file,
        "JPEG2000",
        no_jp2=True,
        irreversible=True,
        mct=1,
        quality_mode="rates",
        quality_layers=[max(1.0, ratio)],
    )
    return file.getvalue()


@lru_cache(maxsize=64)
def main_header(size: tuple[int, ...]) -> bytes:
    """All before the tile-part, for pictures of ``size`` (H, W)."""
    stream = codestream(grey((size[0], size[1])), 1.0)
    return stream[: stream.index(SOT)]
