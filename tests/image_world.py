"""What the tests of images share: pixels, encoded ones, and how a refusal reads."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulator.errors import ImageError
from simulator.images import load_image


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 255 // max(height - 1, 1), columns * 255 // max(width - 1, 1), rows * 0 + 90)
    return np.stack(channels, axis=-1).astype(np.uint8)


def refused(path: Path, *words: str, max_pixels: int = 64_000_000) -> None:
    with warnings.catch_warnings(), pytest.raises(ImageError) as caught:
        warnings.simplefilter("error")
        load_image(path, max_pixels)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    assert all(word in message for word in words), message


def encoded(kind: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(gradient(24, 24)).save(stream, format=kind)
    return stream.getvalue()
