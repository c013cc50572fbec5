"""AVIF, that is AV1 intra by libaom (in Pillow), tuned for PSNR.

    RGB --libaom at a quality--> AVIF file --one frame's OBU--> payload

What counts is the frame's OBU without its type and length. The boxes around it and the sequence
header are the receiver's own.
"""

from __future__ import annotations

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

SUBSAMPLING = {"420": "4:2:0", "444": "4:4:4"}
# Of 0 to 10, and the default of Pillow. 4 gains 0.2 to 0.4 dB and takes five times as long.
SPEED = 6
FRAME_OBU = b"\x32"  # type 6, with a length


class Avif(SourceCodec):
    name = "avif"
    label = "AVIF"
    qualities = 100  # 100 of Pillow's scale is lossless
    growth = 0.07
    variants = ("420", "444")

    def encode(self, pixels: Pixels, quality: int, variant: str) -> bytes:
        data = media_data(avif(pixels, quality, variant))[1]
        _, sequence = template(pixels.shape[:2], variant)
        obu = without_prefix(data, sequence + FRAME_OBU)
        length, width = leb128(obu)
        if length != len(obu) - width:
            raise RuntimeError("libaom wrote more than one frame OBU")
        return obu[width:]

    def decode(self, payload: bytes, size: tuple[int, int], variant: str) -> Pixels:
        boxes, sequence = template(size, variant)
        data = sequence + FRAME_OBU + to_leb128(len(payload)) + payload
        file = boxes_for(boxes, len(data)) + (len(data) + 8).to_bytes(4, "big") + b"mdat" + data
        try:
            return np.array(Image.open(BytesIO(file), formats=["AVIF"]).convert("RGB"))
        except (OSError, RuntimeError, SyntaxError, ValueError) as error:
            raise DamagedPayload(f"AVIF: {error}") from None


def avif(pixels: Pixels, quality: int, variant: str) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(
        file,
        "AVIF",
        quality=quality,
        subsampling=SUBSAMPLING[variant],
        speed=SPEED,
        codec="aom",
        max_threads=1,
        advanced={"tune": "psnr"},
    )
    return file.getvalue()


def media_data(file: bytes) -> tuple[bytes, bytes]:
    """The boxes before the last one, ``mdat``, and what that holds."""
    at = 0
    while (kind := file[at + 4 : at + 8]) != b"mdat":
        at += int.from_bytes(file[at : at + 4], "big")
        if at >= len(file):
            raise RuntimeError(f"no mdat box in an AVIF file; the last was {kind!r}")
    return file[:at], file[at + 8 :]


@lru_cache(maxsize=64)
def template(size: tuple[int, ...], variant: str) -> tuple[bytes, bytes]:
    """Boxes, and what stands before the frame's OBU, for pictures of ``size`` (H, W)."""
    boxes, data = media_data(avif(grey((size[0], size[1])), 0, variant))
    at = 0
    while data[at : at + 1] != FRAME_OBU:
        length, width = leb128(data[at + 1 :])
        at += 1 + width + length
    return boxes, data[:at]


def boxes_for(boxes: bytes, length: int) -> bytes:
    """The boxes of a file whose only item has ``length`` bytes: its extent ends box ``iloc``."""
    start = boxes.index(b"iloc") - 4
    end = start + int.from_bytes(boxes[start : start + 4], "big")
    return boxes[: end - 4] + length.to_bytes(4, "big") + boxes[end:]


def leb128(data: bytes) -> tuple[int, int]:
    """An unsigned number, 7 bits a byte, lowest first; and how many bytes it took."""
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    raise RuntimeError("an OBU's length does not end")


def to_leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
