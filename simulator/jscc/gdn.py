"""Generalised divisive normalisation, and its approximate inverse.

    y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)        inverse: times the root instead

Balle, Laparra, Simoncelli, "Density Modeling of Images using a Generalized Normalization
Transformation", ICLR 2016. beta and gamma stay positive: what is trained are their roots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-6  # of beta
PEDESTAL = 2.0**-36  # a root of zero would never leave it
GAMMA = 0.1  # of each channel with itself, at the start


class Gdn(nn.Module):
    """(B, C, H, W) -> the same."""

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(channels) + PEDESTAL).sqrt())
        self.gamma = nn.Parameter((GAMMA * torch.eye(channels) + PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        beta = self.beta.square().clamp_min(FLOOR)
        norm = F.conv2d(x.square(), self.gamma.square()[:, :, None, None], beta)
        return x * norm.sqrt() if self.inverse else x * norm.rsqrt()
