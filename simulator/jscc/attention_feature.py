"""The attention feature module of ADJSCC [21]: the SNR scales each map of a layer.

    x -mean of each map-> joined with the SNR -> C/16, ReLU -> C, sigmoid -> times x

Xu, Ai, Chen, Yang, Sun, Rodrigues, "Wireless Image Transmission Using Deep Source Channel Coding
with Attention Modules", IEEE TCSVT 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SQUEEZE = 16


class AttentionFeature(nn.Module):
    """(B, C, H, W) and ``state`` (B, S) -> (B, C, H, W)."""

    def __init__(self, channels: int, state: int = 1) -> None:
        super().__init__()
        hidden = max(1, channels // SQUEEZE)
        self.layers = nn.Sequential(
            nn.Linear(channels + state, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        joined = torch.cat([x.mean(dim=(2, 3)), state], dim=1)
        return x * self.layers(joined)[:, :, None, None]  # type: ignore[no-any-return]
