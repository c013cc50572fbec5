"""FD-EffNet and FID of a run folder, with intervals, from the images it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from simulator.evaluation.arrays import Array, OnProgress, Pixels, arrays_of
from simulator.evaluation.kept import Kept, Point, Result
from simulator.metrics.frechet import (
    FeatureNetwork,
    FrechetOfImages,
    frechet_of_features,
    patch_features,
)
from simulator.metrics.interval import Estimate, bootstrap_interval
from simulator.tensors import as_tensor

#: Figures by point and stage, then by name.
Found = dict[tuple[Point, str], dict[str, Estimate]]

#: Resamples of more patches take hours; the interval of so large a set is narrow, and left out.
MOST_ROWS = 2000


def frechet_of_run(
    kept: Kept,
    key: str,
    network: FeatureNetwork,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    seed: int = 0,
) -> Found:
    """The distance of each operating point and stage, as ``key``.

    Originals of a point count once each, results every time they were sent. A stage is left out
    where the folder keeps no image of it, or no original. ``seed``: of the resamples.
    """

    def compute(path: Path, pixels: Pixels) -> Array:
        return patch_features(network, as_tensor(pixels, device)).astype(np.float32)

    features = arrays_of(kept.folder, kept.files(), network.name, compute, device, on_progress)
    found: Found = {}
    for place, images in kept.groups().items():
        sent = [features[kept.originals[image]].astype(np.float64) for image in images]
        arrived = [repeats_of(features, results) for results in images.values()]
        found[place] = {key: distance(sent, arrived, np.random.default_rng(seed))}
    return found


def repeats_of(features: dict[Path, Array], results: Sequence[Result]) -> Array:
    """The patches of all repeats of one image."""
    return np.concatenate([features[result.path] for result in results]).astype(np.float64)


def distance(sent: list[Array], arrived: list[Array], rng: np.random.Generator) -> Estimate:
    """Between the features of each image's original and of its results."""
    value = frechet_of_features(np.concatenate(sent), np.concatenate(arrived))
    if min(sum(map(len, sent)), sum(map(len, arrived))) > MOST_ROWS:
        return Estimate(value, images=len(sent))
    interval = bootstrap_interval(FrechetOfImages(sent, arrived), len(sent), rng)
    return Estimate(value, interval.margin, len(sent))
