"""Training crops from folders of photographs: a pure function of (seed, step).

Nothing has to be saved to resume: the crops of step n are the same whenever they are asked
for, by one process or by another. A few percent of the crops may be pictures that are drawn here
(``drawn.py``): flat colours, text, diagrams, which photographs do not teach.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.errors import ImageError, path_from
from simulator.images import find_images, load_image
from simulator.training.drawn import draw_picture

log = logging.getLogger("training")

DRAWN_PICTURES = 400  # different ones
DRAWN_SIDE = 384
ZOOM = 2.0  # the largest enlargement
MIXTURE = ("drawn", "zoom", "large")  # options that not every training has


@dataclass(frozen=True)
class Places:
    """Where crops are, (B,) each: picture, upper left corner as parts of what is free, and
    whether it is mirrored."""

    index: np.ndarray
    top: np.ndarray
    left: np.ndarray
    mirrored: np.ndarray

    def corners(self, shapes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the corners of crops of ``side`` in images of ``shapes`` (B, 2)."""
        free = shapes - side + 1
        return (self.top * free[:, 0]).astype(int), (self.left * free[:, 1]).astype(int)


class Bounded:
    """Decoded pictures, the latest used ones, within ``limit`` bytes. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int) -> np.ndarray | None:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
            return self._kept.get(index)

    def put(self, index: int, pixels: np.ndarray) -> None:
        with self._lock:
            if index in self._kept or pixels.nbytes > self._limit:
                return
            self._kept[index] = pixels
            self._held += pixels.nbytes
            while self._held > self._limit:
                self._held -= self._kept.popitem(last=False)[1].nbytes


class Photographs:
    """Random square crops, flipped at random.

    ``cache_bytes`` bounds the decoded images kept in memory; those beyond are read again. A file
    that cannot be read is left out, counted and named once; ``ImageError`` is raised where none
    can be read. ``drawn``: the part of crops from drawn pictures. ``zoom``: the part of batches
    that are enlarged by up to ``ZOOM``, as photographs of more pixels look from near. ``large``:
    the part of batches of a quarter as many crops, with twice the side.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        crop: int,
        batch: int,
        seed: int,
        cache_bytes: int = 4 << 30,
        drawn: float = 0.0,
        zoom: float = 0.0,
        large: float = 0.0,
    ) -> None:
        self.paths = find_images(folders)
        self.crop, self.batch, self.seed = crop, batch, seed
        self.drawn, self.zoom, self.large = drawn, zoom, large
        self._least = 2 * crop if large else crop
        self.refused: dict[Path, str] = {}
        self._cache = Bounded(cache_bytes)
        self._resident: Resident | None = None

    @classmethod
    def of(cls, options: Any) -> Photographs:
        """As the options of a training say, which names its fields as ``__init__`` does."""
        folders = [path_from(folder) for folder in options.data]
        more: dict[str, Any] = {name: getattr(options, name, 0.0) for name in MIXTURE}
        return cls(folders, options.crop, options.batch, options.seed, **more)

    def read(self, index: int) -> np.ndarray | None:
        """(H, W, 3) uint8, at least a crop large; from ``len(paths)`` on the drawn ones. None:
        the file cannot be read."""
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        if index >= len(self.paths):
            pixels = draw_picture(index - len(self.paths), max(DRAWN_SIDE, self._least))
        else:
            path = self.paths[index]
            if path in self.refused:
                return None
            try:
                pixels = load_image(path).pixels
            except ImageError as error:
                self._refuse(path, str(error))
                return None
        # Small photographs are extended by reflection, never enlarged.
        short = [max(0, self._least - side) for side in pixels.shape[:2]]
        if any(short):
            pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
        self._cache.put(index, pixels)
        return pixels

    def _refuse(self, path: Path, reason: str) -> None:
        self.refused[path] = reason
        log.warning("left out, %d of %d: %s", len(self.refused), len(self.paths), reason)
        if len(self.refused) == len(self.paths):
            raise ImageError(f"none of {len(self.paths)} photographs can be read; {reason}")

    def at(self, step: int) -> Tensor:
        """The crops of one step, uint8: (B, 3, crop, crop), or large ones,
        (B / 4, 3, 2 crop, 2 crop)."""
        rng = np.random.default_rng([self.seed, step])
        side, count = self.crop, self.batch
        zoomed = rng.random() < self.zoom
        if self.large and rng.random() < self.large:
            side, count = 2 * side, max(1, count // 4)
        wanted = side
        if zoomed:
            side = round(side / rng.uniform(1, ZOOM))
        crops = self._crops(rng, side, count)
        if side == wanted:
            return crops
        larger = F.interpolate(
            crops.float(), size=(wanted, wanted), mode="bicubic", align_corners=False
        )
        return larger.round().clamp(0, 255).byte()

    def _crops(self, rng: np.random.Generator, side: int, count: int) -> Tensor:
        if self._resident is not None:
            return self._resident.crops(self._places(rng, count), side)
        found: list[np.ndarray] = []
        while len(found) < count:
            places = self._places(rng, count)
            images = [self.read(int(index)) for index in places.index]
            good = np.array([image is not None for image in images])
            # One that is left out is replaced by one of the next draw.
            shapes = np.array([(0, 0) if im is None else im.shape[:2] for im in images])
            tops, lefts = places.corners(shapes, side)
            for i in np.flatnonzero(good)[: count - len(found)]:
                image = images[i]
                assert image is not None
                crop = image[tops[i] : tops[i] + side, lefts[i] : lefts[i] + side]
                found.append(crop[:, ::-1] if places.mirrored[i] else crop)
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)

    def _places(self, rng: np.random.Generator, count: int) -> Places:
        kind, chosen, top, left, mirrored = rng.random((5, count))
        drawn = kind < self.drawn
        index = np.where(
            drawn,
            len(self.paths) + (chosen * DRAWN_PICTURES).astype(int),
            (chosen * len(self.paths)).astype(int),
        )
        return Places(index, top, left, mirrored < 0.5)

    def stay_on(self, device: torch.device) -> None:
        """Decode everything once and keep it on an accelerator, where crops are then cut."""
        self._resident = Resident(self, device)

    def stream(self, start: int, stop: int, ahead: int = 4) -> Iterator[Tensor]:
        """The batches of steps [start, stop), read ahead by threads."""
        with ThreadPoolExecutor(ahead, thread_name_prefix="photographs") as pool:
            queue = [pool.submit(self.at, step) for step in range(start, min(start + ahead, stop))]
            for step in range(start, stop):
                batch = queue.pop(0).result()
                if step + ahead < stop:
                    queue.append(pool.submit(self.at, step + ahead))
                yield batch


class Resident:
    """All pictures in one tensor of bytes on an accelerator; crops are gathered there."""

    def __init__(self, photographs: Photographs, device: torch.device) -> None:
        count = len(photographs.paths) + (DRAWN_PICTURES if photographs.drawn else 0)
        with ThreadPoolExecutor(thread_name_prefix="photographs") as pool:
            images = list(pool.map(photographs.read, range(count)))
        good = [image for image in images if image is not None]
        self._good = np.cumsum([image is not None for image in images]) - 1
        self._shapes = np.array([image.shape[:2] for image in good])
        sizes = np.array([image.size for image in good])
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._bytes = torch.empty(int(sizes.sum()), dtype=torch.uint8, device=device)
        for start, image in zip(self._starts, good, strict=True):
            flat = torch.from_numpy(image.reshape(-1))
            self._bytes[int(start) : int(start) + image.size] = flat.to(device)

    def crops(self, places: Places, side: int) -> Tensor:
        """(B, 3, side, side) uint8 on the device. For a file that was left out, the one before
        it stands in."""
        device = self._bytes.device
        index = self._good[places.index].clip(0)
        shapes = self._shapes[index]
        top, left = places.corners(shapes, side)
        stride = shapes[:, 1] * 3
        first = self._starts[index] + top * stride + left * 3
        first = np.where(places.mirrored, first + (side - 1) * 3, first)
        table = np.stack([first, stride, np.where(places.mirrored, -3, 3)])
        start, row, column = (each.view(-1, 1, 1, 1) for each in torch.from_numpy(table).to(device))
        line = torch.arange(side, device=device)
        colour = torch.arange(3, device=device).view(1, 3, 1, 1)
        where = start + row * line.view(1, 1, -1, 1) + column * line.view(1, 1, 1, -1) + colour
        return self._bytes[where]
