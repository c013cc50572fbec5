"""The metrics of this project, in the order in which they are shown.

    result, original -scorer-> PSNR, SSIM, MS-SSIM, LPIPS       in every row
    result, original -AlexNet at four phases-> mean distance    lpips_moved
    result, original -VGG16-> distance                          lpips_vgg, dists
    result, original -EfficientNet-Lite0-> the same class?      same_class
    patches -network-> features -> Frechet distance of a set    fd_effnet, fid
    caption -CLIP-> cosine with the image, with the original    clip_score, clip_score_original
    caption, caption of the original -> what they share         caption_f1 ... (``evaluate``)
    image, mask -segmenter-> pixels of each class -> IoU        miou; of originals, miou_original

Networks are imported where they are asked for, and the errors of their own loaders say
what is missing on this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import MissingPackageError, SettingsError, path_from
from simulator.metrics.interval import Estimate, bootstrap_interval
from simulator.metrics.metric import (
    METRICS,
    Array,
    Arrived,
    Features,
    Metric,
    Pixels,
    Score,
    SetMetric,
    Setup,
)

#: Resamples of more patches take hours; the interval of so large a set is narrow, and left out.
MOST_ROWS = 2000


def resolve(place: str, what: str) -> Any:
    """``module:name``. Raises ``MissingPackageError``."""
    module, name = place.split(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise MissingPackageError(f"{what} cannot be had here ({error}).") from None


# Distances of sets


class PatchFeatures:
    """Features of half-overlapping patches; ``name``: of the network, for files of them."""

    def __init__(self, network: Any, device: str = "cpu") -> None:
        self.name: str = network.name
        self._network, self._device = network, device

    def __call__(self, pixels: Pixels, path: Path) -> Array:
        from simulator.metrics.frechet import patch_features
        from simulator.tensors import as_tensor

        # Networks give float32: nothing is lost by keeping that.
        found = patch_features(self._network, as_tensor(pixels, self._device))
        return found.astype(np.float32)


def load_effnet(setup: Setup) -> Features:
    load = resolve("simulator.metrics.effnet:load_effnet", "FD-EffNet")
    return PatchFeatures(load(device=setup.device), setup.device)


def load_inception(setup: Setup) -> Features:
    load = resolve("simulator.metrics.inception:load_inception", "FID")
    return PatchFeatures(load(device=setup.device), setup.device)


def frechet(
    sent: Sequence[Array], arrived: Sequence[Sequence[Array]], rng: np.random.Generator
) -> Estimate:
    """Between the features of each image's original and of all its results."""
    from simulator.metrics.frechet import FrechetOfImages, frechet_of_features

    originals = [features.astype(np.float64) for features in sent]
    results = [np.concatenate(repeats).astype(np.float64) for repeats in arrived]
    value = frechet_of_features(np.concatenate(originals), np.concatenate(results))
    if min(sum(map(len, originals)), sum(map(len, results))) > MOST_ROWS:
        return Estimate(value, images=len(sent))
    interval = bootstrap_interval(FrechetOfImages(originals, results), len(sent), rng)
    return Estimate(value, interval.margin, len(sent))


# LPIPS at all phases


def load_lpips_moved(setup: Setup) -> Score:
    """None for an image that is too small."""
    import torch

    from simulator.metrics.lpips import MIN_SIDE, STRIDE, load_lpips
    from simulator.tensors import as_tensor

    network = load_lpips(device=setup.device)

    def score(result: Arrived, original: Pixels) -> float | None:
        if min(original.shape[:2]) < MIN_SIDE + STRIDE // 2:
            return None
        pair = (as_tensor(pixels, setup.device)[None] for pixels in (result.pixels, original))
        with torch.inference_mode():
            return float(network.moved(*pair))

    return score


# Distances on VGG16, and the class


def load_lpips_vgg(setup: Setup) -> Score:
    from simulator.metrics.lpips import MIN_SIDE

    network = resolve("simulator.metrics.lpips:load_lpips_vgg", "LPIPS-VGG")(device=setup.device)
    return distance_of(network, MIN_SIDE, setup.device)


def load_dists(setup: Setup) -> Score:
    from simulator.metrics.dists import MIN_SIDE

    network = resolve("simulator.metrics.dists:load_dists", "DISTS")(device=setup.device)
    return distance_of(network, MIN_SIDE, setup.device)


def distance_of(network: Any, min_side: int, device: str) -> Score:
    """``network(results, originals)``; None for an image that is too small."""
    import torch

    from simulator.tensors import as_tensor

    def score(result: Arrived, original: Pixels) -> float | None:
        if min(original.shape[:2]) < min_side:
            return None
        pair = (as_tensor(pixels, device)[None] for pixels in (result.pixels, original))
        with torch.inference_mode():
            return float(network(*pair))

    return score


def load_same_class(setup: Setup) -> Score:
    """100 where a classifier sees in the result what it sees in the original, else 0.

    Over images this is a share in percent; that of refined images minus that of previews is what
    refining repaired minus what it broke.
    """
    from simulator.tensors import as_tensor

    network = resolve("simulator.metrics.effnet:load_effnet", "the class")(device=setup.device)

    def score(result: Arrived, original: Pixels) -> float | None:
        images = (as_tensor(pixels, setup.device)[None] for pixels in (result.pixels, original))
        seen, wanted = (int(network.classes(image)[0].argmax()) for image in images)
        return 100.0 * (seen == wanted)

    return score


# Captions


@lru_cache(maxsize=1)
def load_clip(setup: Setup) -> Any:
    """One for both scores."""
    options = {"model": setup.clip} if setup.clip else {}
    return resolve("simulator.metrics.clip:Clip", "the CLIP score")(device=setup.device, **options)


def load_clip_score(setup: Setup) -> Score:
    """Does the caption fit what arrived?"""
    return caption_score(setup, lambda result, original: result.pixels)


def load_clip_original(setup: Setup) -> Score:
    """Does the caption tell what was sent?"""
    return caption_score(setup, lambda result, original: original)


def caption_score(setup: Setup, image_of: Callable[[Arrived, Pixels], Pixels]) -> Score:
    """The cosine of the caption and an image; None for a method without captions."""
    clip = load_clip(setup)

    def score(result: Arrived, original: Pixels) -> float | None:
        caption = result.details.get("caption")
        if not caption:
            return None
        return float(clip.texts([caption])[0] @ clip.images([image_of(result, original)])[0])

    return score


# mIoU


class MaskFeatures:
    """(3, classes) pixels: in both, in the prediction, in the mask of the same name."""

    def __init__(self, segmenter: Any, masks: Path) -> None:
        self.name: str = segmenter.name
        from simulator.metrics.segmentation import Masks

        self._segmenter, self._masks = segmenter, Masks(masks)

    def __call__(self, pixels: Pixels, path: Path) -> Array:
        from simulator.metrics.segmentation import count

        classes, mask = self._segmenter.classes, self._mask(path)
        if mask is None:
            return np.zeros((3, classes), np.int64)
        truth = self._segmenter.truth(mask, (pixels.shape[0], pixels.shape[1]))
        counts: Array = count(self._segmenter.predict(pixels), truth, classes)
        return counts

    def salt(self, path: Path) -> bytes:
        """What beside the pixels decides: images that did not arrive are alike, masks are not."""
        mask = self._mask(path)
        return hashlib.sha256(mask.read_bytes()).digest() if mask else b""

    def _mask(self, path: Path) -> Path | None:
        return self._masks.find(str(path))


def load_segmenter(setup: Setup) -> Features:
    if not setup.masks:
        raise SettingsError("mIoU needs ground truth: --set masks=FOLDER (of evaluate: --masks).")
    options = {"model": setup.segmenter} if setup.segmenter else {}
    load = resolve("simulator.metrics.segmentation:Segmenter", "mIoU")
    return MaskFeatures(load(device=setup.device, **options), path_from(setup.masks))


def miou_of_results(
    sent: Sequence[Array], arrived: Sequence[Sequence[Array]], rng: np.random.Generator
) -> Estimate:
    """Over the images with a mask that judges a pixel; pixels are counted over all of them."""
    return pooled([sum(a) for s, a in zip(sent, arrived, strict=True) if s.any()], rng)


def miou_of_originals(
    sent: Sequence[Array], arrived: Sequence[Sequence[Array]], rng: np.random.Generator
) -> Estimate:
    """The ceiling."""
    return pooled([s for s in sent if s.any()], rng)


def pooled(pixels: Sequence[Any], rng: np.random.Generator) -> Estimate:
    """Raises ``SettingsError`` where no pixel is judged."""
    miou = resolve("simulator.metrics.segmentation:miou", "mIoU")
    counted = np.stack(pixels) if pixels else np.zeros((1, 3, 1), np.int64)

    def statistic(counts: NDArray[np.int64]) -> float:
        value: float = miou(np.tensordot(counts, counted, axes=1))
        return value

    return bootstrap_interval(statistic, len(counted), rng)


KNOWN: tuple[Metric | SetMetric, ...] = (
    Metric("psnr", "PSNR", "dB", 2),
    Metric("ssim", "SSIM"),
    Metric("ms_ssim", "MS-SSIM"),
    Metric("lpips", "LPIPS", better="lower"),
    Metric("lpips_moved", "LPIPS, moved", better="lower", load=load_lpips_moved),
    Metric("lpips_vgg", "LPIPS-VGG", better="lower", load=load_lpips_vgg),
    Metric("dists", "DISTS", better="lower", load=load_dists),
    Metric("same_class", "class kept", "%", 1, load=load_same_class),
    SetMetric("fd_effnet", "FD-EffNet", "", 1, "lower", load_effnet, frechet),
    SetMetric("fid", "FID", "", 1, "lower", load_inception, frechet),
    Metric("clip_score", "CLIP", load=load_clip_score),
    Metric("clip_score_original", "CLIP sent", load=load_clip_original),
    Metric("caption_f1", "words F1"),
    Metric("caption_jaccard", "words Jaccard"),
    Metric("caption_clip", "text CLIP"),
    Metric("flicker", "flicker", better="lower"),
    SetMetric("miou", "mIoU", load=load_segmenter, compare=miou_of_results),
    SetMetric(
        "miou_original", "mIoU sent", load=load_segmenter, compare=miou_of_originals, shared="miou"
    ),
)
#: Measured by ``simulator.metrics.scorer`` and in every row of a run.
SCORED = ("psnr", "ssim", "ms_ssim", "lpips")


def every_metric() -> dict[str, Metric | SetMetric]:
    """Those of this project, then those of plugins."""
    return {metric.key: metric for metric in KNOWN} | METRICS


def metric_of(key: str) -> Metric | SetMetric:
    """Raises ``SettingsError`` for a name that is unknown."""
    known = every_metric()
    if key not in known:
        raise SettingsError(f"there is no metric {key!r}; there are {', '.join(known)}.")
    return known[key]
