"""What the prior and the control module have in common: times, noise and the target."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional as F

from simulator.training.options import Times

SPREAD = 1.0  # deviation of the logit


def draw_times(count: int, steps: int, how: Times, generator: torch.Generator) -> Tensor:
    """(count,) training steps. ``logit-normal`` favours the middle of the schedule, where an
    image's structure is decided."""
    if how == "uniform":
        return torch.randint(steps, (count,), generator=generator)
    logit = SPREAD * torch.randn(count, generator=generator)
    return (logit.sigmoid() * steps).long().clamp(0, steps - 1)


def noised(scheduler: DDPMScheduler, z0: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """z_t = sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) noise, equation (12)."""
    return scheduler.add_noise(z0, noise, times)  # type: ignore[no-any-return]


def target_of(scheduler: DDPMScheduler, z0: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What the network predicts: noise, velocity or the clean latent."""
    kind: Any = scheduler.config["prediction_type"]
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(z0, noise, times)  # type: ignore[no-any-return]
    return z0


def denoising_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Equation (15)."""
    return F.mse_loss(predicted.float(), target.float())
