"""Pictures as the page shows them: WebP, never larger than a screen, each made once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from simulator.errors import ImageError
from simulator.images import decode_image
from simulator.report.strips import MAX_SIDE_PX, webp, webp_of

SIDES = {"large": MAX_SIDE_PX, "small": 120}  # px
MAX_BYTES = 48 * 2**20  # of all that are kept


class Pictures:
    """For several threads; one picture is being made at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, path: Path, side: int) -> bytes | None:
        """None for what is no picture any more."""
        try:
            key = (str(path), path.stat().st_mtime_ns, side)
        except OSError:
            return None
        return self._get(key, lambda: webp(path, side)[0])

    def of_bytes(self, data: bytes, side: int) -> bytes | None:
        """Of a file in memory, from elsewhere; None for what is no picture."""
        key = (hashlib.sha256(data).hexdigest(), 0, side)
        return self._get(key, lambda: webp_of(decode_image(data, "a picture").pixels, side))

    def _get(self, key: tuple[str, int, int], make: Callable[[], bytes]) -> bytes | None:
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
            try:
                made = make()
            except (OSError, ImageError):
                return None
            self._made[key] = made
            self._bytes += len(made)
            while self._bytes > MAX_BYTES:
                self._bytes -= len(self._made.popitem(last=False)[1])
            return made
