"""All metrics of an image against its reference, in one call."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from simulator.errors import ModelError
from simulator.metrics.fidelity import check_shapes, ms_ssim, psnr, ssim
from simulator.metrics.known import SCORED
from simulator.metrics.limits import capped
from simulator.metrics.lpips import MIN_SIDE, Features, Lpips, load_lpips
from simulator.tensors import as_tensor
from simulator.threads import one_thread

Scores = dict[str, float | None]
Pixels = NDArray[np.uint8]


def capped_psnr(image: torch.Tensor, reference: torch.Tensor) -> float:
    return capped(psnr(image, reference))


FIDELITY: dict[str, Callable[[torch.Tensor, torch.Tensor], float | None]] = {
    "psnr": capped_psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
}


class Scorer:
    """Scores images: those of ``SCORED`` that are asked for, ``psnr`` in dB.

    A value is None where it is not asked for, where the image is too small for the metric (see
    ``fidelity`` and ``lpips``) or the metric cannot be had on this machine at all;
    ``unavailable`` maps the keys of the latter to a sentence that says why and what to do. PSNR
    of equal images is ``PERFECT_DB``.
    """

    unavailable: dict[str, str]

    def __init__(self, device: torch.device | str = "cpu", metrics: Sequence[str] = SCORED) -> None:
        self._device = device
        self._metrics = [key for key in SCORED if key in metrics]
        self._network: Lpips | None = None
        self._last: tuple[bytes, Features] | None = None  # of the last reference
        self.unavailable = {}
        if "lpips" not in self._metrics:
            return
        try:
            self._network = load_lpips(device=device)
        except ModelError as error:
            self.unavailable["lpips"] = str(error)

    def score(self, image: Pixels, reference: Pixels) -> Scores:
        """Scores of one (H, W, 3) uint8 RGB image. Raises ValueError where the sizes differ."""
        return self.score_many([image], reference)[0]

    def score_many(self, images: Sequence[Pixels], reference: Pixels) -> list[Scores]:
        """Scores of several images of one reference (a preview and a refined image, say).

        The reference's part of LPIPS is computed once for as long as it stays the same. On a
        processor all of it runs on one thread: the same images have the same scores wherever
        they are scored on a machine.
        """
        with one_thread(), torch.inference_mode():
            target = as_tensor(reference, self._device)
            taps = self._taps(reference, target)
            return [self._score(as_tensor(image, self._device), target, taps) for image in images]

    def _score(self, image: torch.Tensor, reference: torch.Tensor, taps: Features | None) -> Scores:
        check_shapes(image, reference)
        scores: Scores = dict.fromkeys(SCORED)
        for key in FIDELITY.keys() & set(self._metrics):
            scores[key] = FIDELITY[key](image, reference)
        if self._network is not None and taps is not None:
            distance = self._network.compare(self._network.features(image[None]), taps)
            scores["lpips"] = float(distance)
        return scores

    def _taps(self, pixels: Pixels, reference: torch.Tensor) -> Features | None:
        """By content: an array may have been written to since it was last seen."""
        if self._network is None or min(reference.shape[1:]) < MIN_SIDE:
            return None
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if self._last is None or self._last[0] != digest:
            self._last = digest, self._network.features(reference[None])
        return self._last[1]
