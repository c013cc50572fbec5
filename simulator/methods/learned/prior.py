"""The diffusion prior of a model folder: its UNet without the control module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rx.pipeline import DiffJSCCPipeline
from rx.sampler import make_scheduler, prediction_of, spaced_timesteps, to_sample


class Prior:
    """``steps`` of the noise schedule. Raises ``SettingsError``, ``ModelError``."""

    def __init__(self, pipeline: DiffJSCCPipeline, steps: int) -> None:
        scheduler, _ = make_scheduler("ddpm", pipeline.scheduler.config, steps)
        self.pipeline = pipeline
        self.alphas_bar: Tensor = scheduler.alphas_cumprod.to(pipeline.device)
        self.timesteps: Sequence[int] = spaced_timesteps(steps, len(self.alphas_bar))[::-1]

    def predict(self, z: Tensor, t: int, text: Tensor) -> Tensor:
        """z0~ of z_t."""
        unet = self.pipeline.unet
        times = torch.full((len(z),), t, device=z.device)
        output = unet(z.to(unet.dtype), times, text.to(unet.dtype), return_dict=False)[0].float()
        kind = prediction_of(self.pipeline.scheduler.config)
        return to_sample(output, z, self.alphas_bar[t], kind)


def next_latent(
    z: Tensor,
    z0: Tensor,
    moved: Tensor,
    alpha_bar: Tensor,
    following: Tensor,
    eta: float,
    generator: torch.Generator,
) -> Tensor:
    """z at the noise level ``following``, by a DDIM step on ``moved``, a corrected ``z0``.

    Of the noise that it adds, the part ``eta`` is new and sqrt(1 - eta^2) is what the network saw
    in ``z``.
    """
    seen = (z - alpha_bar.sqrt() * z0) / (1 - alpha_bar).sqrt()
    new = torch.randn(z.shape, generator=generator).to(z.device)
    added = eta * new + (1 - eta**2) ** 0.5 * seen
    z_next: Tensor = following.sqrt() * moved + (1 - following).sqrt() * added
    return z_next
