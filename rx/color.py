"""Coarse structure of the received image, detail of what was made of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR_FIXES = ("none", "wavelet")
LEVELS = 5
FLOOR = 1e-7  # of an energy: below a tenth of an 8-bit step
COARSE = 0.75  # share of the received image in what is larger than some 8 pixels


def low_frequencies(image: Tensor, levels: int = LEVELS, first: int = 0) -> Tensor:
    """What an a-trous decomposition leaves after ``levels`` of detail: (B, C, H, W), blurred.

    Level i convolves with the binomial kernel (1 2 1) / 4 in both directions, its taps 2^i
    pixels apart and the edges repeated. ``first``: the level that ``image`` has already reached.
    """
    channels = image.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], device=image.device, dtype=image.dtype)
    row = taps.expand(channels, 1, 1, 3)
    for level in range(first, levels):
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


def anchored(made: Tensor, received: Tensor) -> Tensor:
    """``made`` with what the received image knows better; both (B, 3, H, W).

    A decoder trained for squared error has the coarse structure, colours among it, closer to the
    original than a network trained for detail. What is larger than some 8 pixels is mostly that of
    ``received``. Between 4 and 8 pixels it counts by the share of the detail's energy that it has
    there: all of it where it is as sharp, nothing where it is blurred.
    """
    fine, finer = low_frequencies(made, 2), low_frequencies(received, 2)
    coarse, coarser = low_frequencies(fine, 3, 2), low_frequencies(finer, 3, 2)
    ours, theirs = fine - coarse, finer - coarser
    with torch.no_grad():
        share = (_energy(theirs) / _energy(ours)).clamp(max=1)
    return made + share * (theirs - ours) + COARSE * (coarser - coarse)


def _energy(band: Tensor) -> Tensor:
    """(B, 1, H, W): mean square of what is near."""
    return low_frequencies(band.square().mean(1, keepdim=True), 4) + FLOOR
