"""The image a result is scored against: attached to the frame, or from a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.images import file_sha256, find_images, load_image
from simulator.link.messages import Frame, check_reference

log = logging.getLogger("rx")


class References:
    """``source``: ``attached``, ``none``, or a folder whose files are known by their hash."""

    def __init__(self, source: str) -> None:
        self._attached = source == "attached"
        self._files: dict[bytes, Path] = {}
        if source not in ("attached", "none"):
            self._files = {file_sha256(p): p for p in find_images([Path(source).expanduser()])}
            log.info("%d reference images in %s", len(self._files), source)

    def find(self, frame: Frame, parts: Sequence[Any]) -> np.ndarray | None:
        """(H, W, 3) uint8, or None where there is no reference for this frame."""
        if self._attached:
            check_reference(frame, parts[2])
            if not len(parts[2]):
                return None
            return np.frombuffer(parts[2], np.uint8).reshape(frame.height, frame.width, 3)
        path = self._files.get(frame.image_sha256)
        return load_image(path).pixels if path else None
