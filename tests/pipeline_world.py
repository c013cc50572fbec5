"""What the tests of the pipeline call it with."""

from __future__ import annotations

import torch

from simulator.jscc.csi import Csi

KINDS = ("compact", "sd21")


def photograph(batch: int = 1, size=(64, 96), seed: int = 0) -> torch.Tensor:
    """Smooth, in [0, 1]."""
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def csi_of(batch: int = 1) -> Csi:
    return Csi(
        torch.linspace(2.0, 9.0, batch), torch.linspace(0.4, 1.1, batch) * torch.tensor(0.6 + 0.8j)
    )
