"""RGB and the planes that video codecs code: Y'CbCr of BT.601, full range, as JPEG and BPG have it.

(H, W, 3) RGB <--> Y (H, W), Cb and Cr (H, W) in 4:4:4 or (H/2, W/2) in 4:2:0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]

# Luma weights; chroma is scaled to +-1/2.
KR, KG, KB = 0.299, 0.587, 0.114
TO_YCBCR = np.array(
    [
        [KR, KG, KB],
        [-KR / (2 - 2 * KB), -KG / (2 - 2 * KB), 0.5],
        [0.5, -KG / (2 - 2 * KR), -KB / (2 - 2 * KR)],
    ]
)
TO_RGB = np.linalg.inv(TO_YCBCR)
OFFSET = np.array([0, 128, 128])


def to_bytes(values: NDArray[np.float64]) -> Plane:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def to_planes(pixels: NDArray[np.uint8], chroma: str) -> list[Plane]:
    """``chroma``: 444 or 420 (means of 2x2 pixels; even sides)."""
    values = pixels @ TO_YCBCR.T + OFFSET
    luma, *colours = np.moveaxis(values, -1, 0)
    if chroma == "420":
        height, width = luma.shape
        colours = [c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for c in colours]
    return [to_bytes(plane) for plane in (luma, *colours)]


def to_pixels(planes: list[Plane]) -> NDArray[np.uint8]:
    """The inverse; chroma of fewer pixels is interpolated (bicubic)."""
    size = planes[0].shape[::-1]
    images = [Image.fromarray(plane.astype(np.float32)) for plane in planes]
    full = [image.resize(size, Image.Resampling.BICUBIC) for image in images]
    values = np.stack([np.asarray(image, np.float64) for image in full], axis=-1)
    return to_bytes((values - OFFSET) @ TO_RGB.T)
