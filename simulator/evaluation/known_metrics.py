"""The metrics of sweeps beside the scorer's: LPIPS at all phases, distances of sets, CLIP, mIoU.

    result, original -AlexNet at four phases-> mean distance                      lpips_moved
    patches -network-> features of each image -> Frechet distance of a set        fd_effnet, fid
    caption, original -CLIP-> cosine                                              clip
    result, mask -segmenter-> pixels of each class -> IoU of a set                miou

Networks are imported where they are asked for, and what this machine has not is told by the
errors of their own loaders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import MissingPackageError, SettingsError
from simulator.evaluation.metric import Metric, SetMetric, Setup
from simulator.images import Pixels
from simulator.methods.method import Sent

Array = NDArray[Any]


def resolve(place: str, what: str) -> Any:
    """``module:name``. Raises ``MissingPackageError``."""
    module, name = place.split(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise MissingPackageError(f"{what} cannot be had here ({error}).") from None


def frechet(originals: Sequence[Array], results: Sequence[Array]) -> float:
    """Of features of half-overlapping patches, one array an image."""
    from simulator.metrics.frechet import frechet_of_features

    one, other = (np.concatenate(arrays).astype(np.float64) for arrays in (originals, results))
    return frechet_of_features(one, other)


def patch_metric(key: str, label: str, loader: str) -> SetMetric:
    """``loader(device=...)`` gives a network for ``simulator.metrics.frechet.patch_features``."""

    def load(setup: Setup) -> Callable[[Pixels, Path], Array]:
        from simulator.metrics.frechet import patch_features
        from simulator.tensors import as_tensor

        network = resolve(loader, label)(device=setup.device)
        # Networks give float32: nothing is lost by keeping that.
        return lambda pixels, path: patch_features(network, as_tensor(pixels, setup.device)).astype(
            np.float32
        )

    return SetMetric(key, label, load, frechet)


def load_lpips_moved(setup: Setup) -> Callable[[Sent, Pixels], float | None]:
    """None for an image that is too small."""
    import torch

    from simulator.metrics.lpips import MIN_SIDE, STRIDE, load_lpips
    from simulator.tensors import as_tensor

    network = load_lpips(device=setup.device)

    def score(sent: Sent, original: Pixels) -> float | None:
        if min(original.shape[:2]) < MIN_SIDE + STRIDE // 2:
            return None
        pair = (as_tensor(pixels, setup.device)[None] for pixels in (sent.pixels, original))
        with torch.inference_mode():
            return float(network.moved(*pair))

    return score


def load_clip(setup: Setup) -> Callable[[Sent, Pixels], float | None]:
    """Does the caption tell what was sent? None for a method without captions."""
    options = {"model": setup.clip} if setup.clip else {}
    clip = resolve("simulator.metrics.clip:Clip", "the CLIP score")(device=setup.device, **options)

    def score(sent: Sent, original: Pixels) -> float | None:
        caption = sent.details.get("caption")
        if not caption:
            return None
        return float(clip.texts([caption])[0] @ clip.images([original])[0])

    return score


def load_segmenter(setup: Setup) -> Callable[[Pixels, Path], Array]:
    """(3, classes) pixels: in both, in the prediction, in the mask of the same name."""
    if not setup.masks:
        raise SettingsError("mIoU needs ground truth: --set masks=FOLDER.")
    options = {"model": setup.segmenter} if setup.segmenter else {}
    find_mask = resolve("simulator.metrics.segmentation:find_mask", "mIoU")
    count = resolve("simulator.metrics.segmentation:count", "mIoU")
    segmenter = resolve("simulator.metrics.segmentation:Segmenter", "mIoU")(
        device=setup.device, **options
    )

    def features(pixels: Pixels, path: Path) -> Array:
        mask = find_mask(Path(setup.masks).expanduser(), path.name)
        if mask is None:
            return np.zeros((3, segmenter.classes), np.int64)
        truth = segmenter.truth(mask, (pixels.shape[0], pixels.shape[1]))
        counts: Array = count(segmenter.predict(pixels), truth, segmenter.classes)
        return counts

    return features


def mean_iou(originals: Sequence[Array], results: Sequence[Array]) -> float:
    """Of results alone; pixels are counted over all images before the ratio is taken."""
    value: float = resolve("simulator.metrics.segmentation:miou", "mIoU")(sum(results))
    return value


KNOWN: Mapping[str, Metric | SetMetric] = {
    metric.key: metric
    for metric in (
        patch_metric("fd_effnet", "FD-EffNet", "simulator.metrics.effnet:load_effnet"),
        patch_metric("fid", "FID", "simulator.metrics.inception:load_inception"),
        Metric("lpips_moved", "LPIPS, moved", load_lpips_moved),
        Metric("clip", "CLIP score", load_clip),
        SetMetric("miou", "mIoU", load_segmenter, mean_iou, 3),
    )
}
