"""All metrics of an image against its reference, in one call."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from simulator.errors import ModelError
from simulator.metrics.fidelity import ms_ssim, psnr, ssim
from simulator.metrics.limits import capped
from simulator.metrics.lpips import MIN_SIDE, Features, Lpips, load_lpips
from simulator.tensors import as_tensor
from simulator.threads import one_thread

Scores = dict[str, float | None]


class Scorer:
    """Scores images: keys ``psnr`` (dB), ``ssim``, ``ms_ssim`` and ``lpips``.

    A value is None where the image is too small for the metric (see ``fidelity`` and ``lpips``)
    or the metric cannot be had on this machine at all; ``unavailable`` maps the names of the
    latter to a sentence that says why and what to do. PSNR of equal images is ``PERFECT_DB``.
    """

    unavailable: dict[str, str]

    def __init__(self, device: torch.device | str = "cpu", lpips: bool = True) -> None:
        self._device = device
        self._network: Lpips | None = None
        self.unavailable = {}
        if not lpips:
            self.unavailable["lpips"] = "LPIPS was not asked for."
            return
        try:
            self._network = load_lpips(device=device)
        except ModelError as error:
            self.unavailable["lpips"] = str(error)

    def score(self, image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Scores:
        """Scores of one (H, W, 3) uint8 RGB image. Raises ValueError where the sizes differ."""
        return self.score_many([image], reference)[0]

    def score_many(
        self, images: Sequence[NDArray[np.uint8]], reference: NDArray[np.uint8]
    ) -> list[Scores]:
        """Scores of several images of one reference (a preview and a refined image, say).

        The reference's part of LPIPS is computed once. On a processor all of it runs on one
        thread: the same images have the same scores wherever they are scored on a machine.
        """
        with one_thread(), torch.inference_mode():
            target = as_tensor(reference, self._device)
            taps = self._taps(target)
            return [self._score(as_tensor(image, self._device), target, taps) for image in images]

    def _score(self, image: torch.Tensor, reference: torch.Tensor, taps: Features | None) -> Scores:
        scores: Scores = {
            "psnr": capped(psnr(image, reference)),
            "ssim": ssim(image, reference),
            "ms_ssim": ms_ssim(image, reference),
            "lpips": None,
        }
        if self._network is not None and taps is not None:
            distance = self._network.compare(self._network.features(image[None]), taps)
            scores["lpips"] = float(distance)
        return scores

    def _taps(self, reference: torch.Tensor) -> Features | None:
        if self._network is None or min(reference.shape[1:]) < MIN_SIDE:
            return None
        return self._network.features(reference[None])
