"""Pictures that go back to tx: files in memory, beside the rows and outside the K symbols."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from simulator.link.messages import Arrival, Returns

# PNG is exact, and as lightly compressed as what is saved. The others are for thin networks.
OPTIONS = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 92, "subsampling": 0},
    "webp": {"quality": 90, "method": 2},
}


@dataclass(frozen=True)
class Returned:
    """``seconds``: what making the file took; both are 0 where none is wanted."""

    picture: bytes = b""
    seconds: float = 0.0


def wanted(frame: Arrival, stage: str) -> Returns | None:
    """As what tx wants the picture of a stage; None where it does not."""
    returns = frame.returns
    return returns if returns and stage in ("preview", returns.upto) else None


def encode_picture(pixels: np.ndarray, returns: Returns) -> bytes:
    """(H, W, 3) uint8 RGB as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=returns.format, **OPTIONS[returns.format])
    return file.getvalue()
