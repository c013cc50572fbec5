"""Images of any size for the networks of a model folder."""

from __future__ import annotations

import math

from torch import Tensor

from rx.pipeline import DiffJSCCPipeline
from simulator.jscc.codec import pad_to


def padded(image: Tensor, pipeline: DiffJSCCPipeline) -> Tensor:
    """Edges repeated, until VAE and UNet of the model can take (B, 3, H, W)."""
    whole = pipeline.vae_factor * pipeline.unet_multiple
    height, width = (math.ceil(side / whole) * whole for side in image.shape[-2:])
    return pad_to(image, (height, width))
