"""The image a result is scored against: attached to the frame, or from a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.errors import path_from
from simulator.images import file_sha256, find_images, load_image
from simulator.link.messages import Arrival
from simulator.link.payloads import check_reference
from simulator.logs import of_frame
from simulator.settings import White

log = logging.getLogger("rx")


class References:
    """``source``: ``attached``, ``none``, or a folder whose files are known by their hash.
    ``white``: as tx reads its images (``tx.white``)."""

    def __init__(self, source: str, white: White = "full") -> None:
        self._white = white
        self._attached = source == "attached"
        self._source, self._missed = source, set[bytes]()
        self._without = set[str]()  # transmitters
        self._files: dict[bytes, Path] = {}
        if source not in ("attached", "none"):
            self._files = {file_sha256(p): p for p in find_images([path_from(source)])}
            log.info("%d reference images in %s", len(self._files), source)

    @property
    def hashes(self) -> set[bytes]:
        """SHA-256 of the files that a folder has."""
        return set(self._files)

    def find(self, frame: Arrival, parts: Sequence[Any]) -> np.ndarray | None:
        """(H, W, 3) uint8, or None where there is no reference for this frame."""
        if self._attached:
            check_reference(frame, parts[3])
            if not len(parts[3]):
                if frame.air.tx not in self._without:
                    self._without.add(frame.air.tx)
                    log.warning("tx %s attaches no reference: no scores", frame.air.tx)
                return None
            return np.frombuffer(parts[3], np.uint8).reshape(frame.height, frame.width, 3)
        path = self._files.get(frame.image_sha256)
        if path is None and self._files and frame.image_sha256 not in self._missed:
            self._missed.add(frame.image_sha256)
            log.warning(
                "the reference folder %s has no file with the content of %r: no scores",
                self._source, frame.label, extra=of_frame(frame.frame_id),
            )  # fmt: skip
        return load_image(path, white=self._white).pixels if path else None
