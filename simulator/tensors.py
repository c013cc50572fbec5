"""The one way between 8-bit pictures and tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(..., H, W, 3) uint8 to (..., 3, H, W) float32 in [0, 1], channels last in memory.

    Raises ValueError for another shape or type, whose values would be other ones in silence.
    """
    if pixels.ndim < 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}: give (H, W, 3) uint8 RGB"
        )
    # A copy, because torch warns of arrays that cannot be written.
    return torch.tensor(pixels, device=device).movedim(-1, -3) / 255


def unit(image: Tensor) -> Tensor:
    """uint8 of any shape to float32 in [0, 1]."""
    return image.float() / 255


def quantised(image: Tensor) -> Tensor:
    """An image in [0, 1] as its 8 bits say it: what a receiver hands on."""
    return (image * 255).round() / 255


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(..., 3, H, W) in [0, 1], rounded to (..., H, W, 3) uint8; what is outside is cut off."""
    scaled = (image.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.movedim(-3, -1).cpu().numpy())
