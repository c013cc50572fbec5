"""Pictures as the page shows them: WebP, never larger than a screen, each made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

from PIL import Image

from simulator.errors import ImageError
from simulator.images import load_image

QUALITY = 90
SIDES = {"large": 1280, "small": 120}  # px
MAX_BYTES = 48 * 2**20  # of all that are kept


class Pictures:
    """For several threads; one picture is being made at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, path: Path, side: int) -> bytes | None:
        """None for what is no picture any more."""
        with self._lock:
            try:
                key = (str(path), path.stat().st_mtime_ns, side)
                if key in self._made:
                    self._made.move_to_end(key)
                    return self._made[key]
                made = encoded(path, side)
            except (OSError, ImageError):
                return None
            self._made[key] = made
            self._bytes += len(made)
            while self._bytes > MAX_BYTES:
                self._bytes -= len(self._made.popitem(last=False)[1])
            return made


def encoded(path: Path, side: int) -> bytes:
    """Raises ``ImageError``."""
    picture = Image.fromarray(load_image(path).pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = BytesIO()
    picture.save(data, "WEBP", quality=QUALITY, method=2)
    return data.getvalue()
