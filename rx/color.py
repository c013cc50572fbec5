"""Wavelet colour fix: colours of the received image, detail of the sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR_FIXES = ("none", "wavelet")
LEVELS = 5


def low_frequencies(image: Tensor, levels: int = LEVELS) -> Tensor:
    """What an a-trous decomposition leaves after ``levels`` of detail: (B, C, H, W), blurred.

    Level i convolves with the binomial kernel (1 2 1) / 4 in both directions, its taps 2^i
    pixels apart and the edges repeated.
    """
    channels = image.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], device=image.device, dtype=image.dtype)
    row = taps.expand(channels, 1, 1, 3)
    for level in range(levels):
        step = 2**level
        padded = F.pad(image, (step, step, step, step), mode="replicate")
        across = F.conv2d(padded, row, groups=channels, dilation=step)
        image = F.conv2d(across, row.transpose(2, 3), groups=channels, dilation=step)
    return image


def wavelet_color_fix(sample: Tensor, received: Tensor, levels: int = LEVELS) -> Tensor:
    """High frequencies of ``sample`` on the low ones of ``received``; (B, 3, H, W).

    As in the authors' code neither ``sample`` nor the result is clipped: what a decoder says
    beyond white is detail, too, once the colours are others.
    """
    return sample + low_frequencies(received - sample, levels)
