"""Training crops from folders of photographs: a pure function of (seed, step).

Nothing has to be saved to resume: the crops of step n are the same whenever they are asked
for, by one process or by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from simulator.errors import ImageError
from simulator.images import find_images, load_image


class Photographs:
    """Random square crops, flipped at random.

    ``cache_bytes`` bounds the decoded images kept in memory; those beyond are read again.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        crop: int,
        batch: int,
        seed: int,
        cache_bytes: int = 4 << 30,
    ) -> None:
        self.paths = find_images(folders)
        self.crop, self.batch, self.seed = crop, batch, seed
        first = load_image(self.paths[0]).pixels
        self._read = lru_cache(maxsize=max(1, cache_bytes // first.nbytes))(self._load)

    def _load(self, index: int) -> np.ndarray:
        pixels = load_image(self.paths[index]).pixels
        # Small photographs are extended by reflection, never enlarged.
        short = [max(0, self.crop - side) for side in pixels.shape[:2]]
        if any(short):
            pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
        return pixels

    def at(self, step: int) -> np.ndarray:
        """(batch, crop, crop, 3) uint8, the crops of one step."""
        rng = np.random.default_rng([self.seed, step])
        return np.stack([self._one(rng) for _ in range(self.batch)])

    def _one(self, rng: np.random.Generator) -> np.ndarray:
        for _ in range(20):
            try:
                pixels = self._read(int(rng.integers(len(self.paths))))
                break
            except ImageError:
                continue  # a damaged file among thousands; the next draw stands in
        else:
            raise ImageError("20 photographs in a row could not be read; check the folders.")
        top, left = (int(rng.integers(side - self.crop + 1)) for side in pixels.shape[:2])
        crop = pixels[top : top + self.crop, left : left + self.crop]
        return crop[:, ::-1] if rng.integers(2) else crop

    def stream(self, start: int, stop: int, ahead: int = 4) -> Iterator[np.ndarray]:
        """The batches of steps [start, stop), read ahead by threads."""
        with ThreadPoolExecutor(ahead, thread_name_prefix="photographs") as pool:
            queue = [pool.submit(self.at, step) for step in range(start, min(start + ahead, stop))]
            for step in range(start, stop):
                batch = queue.pop(0).result()
                if step + ahead < stop:
                    queue.append(pool.submit(self.at, step + ahead))
                yield batch
