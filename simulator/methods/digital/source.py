"""What a source codec is: pixels to the bytes that a picture costs, and back.

    (h, w, 3) uint8 --encode at a quality--> payload --decode, told (h, w)--> (h, w, 3) uint8

A payload holds the coded picture alone. Containers and what depends on nothing but the size and
the settings of the codec (parameter sets, main headers) are not sent: the receiver, which is told
the size as every receiver is, makes them itself by encoding a grey picture of that size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
GREY = 128


class DamagedPayload(ValueError):
    """Bytes that no encoder made. A receiver shows what it shows in an outage."""


class SourceCodec(ABC):
    """``qualities``: how many there are; 0 costs the fewest bits. ``growth``: about how much the
    logarithm of the payload's size grows from one to the next. ``variants``: of the coding, such
    as the chroma format; the first is what a search over sizes uses. ``min_side_px``: of a picture
    that the codec takes."""

    name: ClassVar[str]
    label: ClassVar[str]
    qualities: ClassVar[int]
    growth: ClassVar[float]
    variants: ClassVar[tuple[str, ...]] = ("",)
    min_side_px: ClassVar[int] = 1

    @abstractmethod
    def encode(self, pixels: Pixels, quality: int, variant: str) -> bytes:
        """The payload of a picture. Raises ``MissingPackageError``."""

    @abstractmethod
    def decode(self, payload: bytes, size: tuple[int, int], variant: str) -> Pixels:
        """The picture of ``size`` (H, W). Raises ``DamagedPayload`` and ``MissingPackageError``."""


def grey(size: tuple[int, int]) -> Pixels:
    return np.full((*size, 3), GREY, np.uint8)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Lanczos, to ``size`` (H, W)."""
    if pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image)


def without_prefix(data: bytes, prefix: bytes) -> bytes:
    """What follows ``prefix``, which the receiver makes itself and so must be the same."""
    if not data.startswith(prefix):
        raise RuntimeError("the codec's headers depend on the picture; they cannot be left out")
    return data[len(prefix) :]
