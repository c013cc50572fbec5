"""Declared metrics of a run folder, from the images it keeps; what is slow is kept in it.

originals, results -features-> features/NAME/... -compare-> set metrics
original, result   -score----> features/KEY/...  -mean----> image metrics that rows lack
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulator.errors import SettingsError
from simulator.evaluation.arrays import Array, OnProgress, Pixels, arrays_of
from simulator.evaluation.kept import Kept, Point, Result
from simulator.images import file_sha256, load_image
from simulator.metrics.interval import Estimate, mean_interval
from simulator.metrics.metric import Features, Metric, Score, SetMetric

#: Figures by point and stage, then by name.
Found = dict[tuple[Point, str], dict[str, Estimate]]


def set_of_run(
    kept: Kept,
    metric: SetMetric,
    features: Features,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    seed: int = 0,
) -> Found:
    """The figure of each operating point and stage.

    Originals of a point count once each, results every time they were sent. A stage is left out
    where the folder keeps no image of it, or no original, or where the metric is not defined.
    ``seed``: of the resamples.
    """
    files = kept.files()
    name = getattr(features, "name", metric.features)
    salt = getattr(features, "salt", lambda path: b"")

    def key(path: Path) -> bytes:
        more = salt(Path(files[path]))
        return hashlib.sha256(file_sha256(path) + more).digest() if more else file_sha256(path)

    def compute(path: Path, pixels: Pixels) -> Array:
        return features(pixels, Path(files[path]))

    arrays = arrays_of(kept.folder, files, name, compute, device, on_progress, key)
    assert metric.compare is not None
    found: Found = {}
    for place, images in kept.groups().items():
        sent = [arrays[kept.originals[image]] for image in images]
        arrived = [[arrays[result.path] for result in results] for results in images.values()]
        with suppress(SettingsError):  # undefined here, such as where no image has a mask
            estimate = metric.compare(sent, arrived, np.random.default_rng(seed))
            found[place] = {metric.key: estimate}
    return found


@dataclass(frozen=True)
class Seen:
    """A result as a metric sees it."""

    pixels: Pixels
    details: dict[str, Any] = field(default_factory=dict)


def scores_of_run(
    kept: Kept,
    metric: Metric,
    score: Score,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
) -> Found:
    """The mean of each operating point and stage; an image for which it is undefined is not in."""
    results = {result.path: result for result in kept.results}

    def key(path: Path) -> bytes:
        result = results[path]
        both = file_sha256(path) + file_sha256(kept.originals[result.image])
        return hashlib.sha256(both + str(result.row.get("caption")).encode()).digest()

    def compute(path: Path, pixels: Pixels) -> Array:
        result = results[path]
        original = load_image(kept.originals[result.image]).pixels
        value = score(Seen(pixels, {"caption": result.row.get("caption")}), original)
        return np.array(np.nan if value is None else value)

    arrays = arrays_of(kept.folder, results, metric.key, compute, device, on_progress, key)

    def values(repeats: list[Result]) -> list[float]:
        scored = [float(arrays[result.path]) for result in repeats]
        return [value for value in scored if not np.isnan(value)]

    found: Found = {}
    for place, images in kept.groups().items():
        if estimate := mean_interval(map(values, images.values())):
            found[place] = {metric.key: estimate}
    return found
