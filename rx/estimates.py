"""What an image has become while it is denoised: decoded now and then, for people to see.

    z0~ of a step (Algorithm 1) -VAE-> picture -> whoever shows it

Nothing that is computed here goes into the result: the decoder has no state and draws nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rx.memory import is_out_of_memory, release

if TYPE_CHECKING:
    import torch

log = logging.getLogger("rx")
#: ``(step, of, pixels)``: (H, W, 3) uint8 of the first image of a batch.
OnEstimate = Callable[[int, int, np.ndarray], None]


def steps_shown(count: int, steps: int) -> set[int]:
    """``count`` of ``steps``, evenly; never the last, which is the result."""
    return {round(i * steps / (count + 1)) for i in range(1, count + 1)} - {0, steps}


class Estimates:
    """Decodes ``count`` estimates of each call of the pipeline, of its first image."""

    def __init__(self, pipeline: Any, count: int) -> None:
        self._pipeline, self._count = pipeline, count
        self._fits = True

    def shown(
        self, on_estimate: OnEstimate, size: tuple[int, int], tile: int | None
    ) -> Callable[[int, int, torch.Tensor], None]:
        """The callback of one call. ``size``: (H, W) of its images; ``tile``: as for the call."""
        from simulator.tensors import as_pixels

        def show(step: int, of: int, latents: torch.Tensor) -> None:
            if not self._fits or step not in steps_shown(self._count, of):
                return
            try:
                decoded = self._pipeline.decode(latents[:1], tile)
                pixels = as_pixels(decoded[..., : size[0], : size[1]])[0]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._fits = False
                log.warning("no steps are shown any more: there is not enough memory for them")
                pixels = None
            if pixels is None:
                release()
            else:
                on_estimate(step, of, pixels)

        return show
