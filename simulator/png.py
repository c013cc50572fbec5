"""Images are written as PNG, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simulator.wholefile import whole


def save_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3) uint8 RGB as PNG; readers see the whole file or none.

    Compression is light (level 1), because saving is on the way of every image. Raises
    StorageError when the folder cannot be written.
    """
    with whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)
