"""mIoU of a run folder against ground truth: of what arrived, and of the originals, the ceiling."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simulator.errors import SettingsError
from simulator.evaluation.arrays import Array, OnProgress, Pixels, arrays_of
from simulator.evaluation.frechet import Found
from simulator.evaluation.kept import Kept
from simulator.images import file_sha256
from simulator.metrics.interval import bootstrap_interval
from simulator.metrics.segmentation import Segmenter, count, find_mask, miou


def miou_of_run(
    kept: Kept,
    segmenter: Segmenter,
    masks: Path,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    seed: int = 0,
) -> Found:
    """``miou`` and ``miou_original`` of each point and stage, over the images that have a mask
    with a pixel that is judged. ``seed``: of the resamples.

    Raises SettingsError where no image has a mask, ImageError for a mask that does not fit.
    """
    truth = masks_of(kept, masks)
    files = {path: image for path, image in kept.files().items() if image in truth}

    def key(path: Path) -> bytes:  # images that did not arrive are alike; their masks are not
        both = file_sha256(path) + file_sha256(truth[files[path]])
        return hashlib.sha256(both).digest()

    def compute(path: Path, pixels: Pixels) -> Array:
        height, width = pixels.shape[:2]
        labels = segmenter.truth(truth[files[path]], (height, width))
        return count(segmenter.predict(pixels), labels, segmenter.classes)

    counts = arrays_of(kept.folder, files, segmenter.name, compute, device, on_progress, key)
    found: Found = {}
    for place, images in kept.groups().items():
        judged = [
            image for image in images if image in truth and counts[kept.originals[image]].any()
        ]
        if not judged:
            continue
        arrived = np.stack([sum(counts[r.path] for r in images[image]) for image in judged])
        sent = np.stack([counts[kept.originals[image]] for image in judged])
        found[place] = {
            key: bootstrap_interval(Pooled(each), len(judged), np.random.default_rng(seed))
            for key, each in (("miou", arrived), ("miou_original", sent))
        }
    return found


class Pooled:
    """mIoU of (images, 3, classes) pixels where image i counts ``counts[i]`` times."""

    def __init__(self, pixels: Array) -> None:
        self._pixels = pixels

    def __call__(self, counts: NDArray[np.int64]) -> float:
        return miou(np.tensordot(counts, self._pixels, axes=1))


def masks_of(kept: Kept, folder: Path) -> dict[str, Path]:
    found = {image: path for image in kept.originals if (path := find_mask(folder, image))}
    if not found:
        raise SettingsError(
            f"no image of this run has a mask in {folder}; a mask is named as its image, NAME.png."
        )
    return found
