"""PSNR, SSIM and MS-SSIM of one image against its reference.

Every function takes two (3, H, W) float tensors of RGB in [0, 1] on one device. SSIM runs about
twice as fast on a CPU where the channels lie together in memory, as they do in a decoded picture
(``simulator.tensors.as_tensor``); the values do not depend on it.
"""

import math

import pytorch_msssim
import torch

#: SSIM's Gaussian window is 11 pixels wide.
SSIM_MIN_SIDE = 11
#: MS-SSIM halves the image four times, and the window must still fit.
MS_SSIM_MIN_SIDE = 161


def psnr(image: torch.Tensor, reference: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(MSE), peak 1.

    Equal images give ``math.inf``: ``limits.capped`` makes a number of it that has a mean.
    """
    check_shapes(image, reference)
    error = (image.double() - reference.double()).square().mean().item()
    return -10 * math.log10(error) if error else math.inf


def ssim(image: torch.Tensor, reference: torch.Tensor) -> float | None:
    """Structural similarity (Wang et al. 2004), mean over RGB; None for a side under 11 pixels."""
    check_shapes(image, reference)
    if min(image.shape[1:]) < SSIM_MIN_SIDE:
        return None
    value = pytorch_msssim.ssim(image[None], reference[None], data_range=1)
    return float(value)


def ms_ssim(image: torch.Tensor, reference: torch.Tensor) -> float | None:
    """Multi-scale SSIM (Wang et al. 2003), five scales; None for a side under 161 pixels."""
    check_shapes(image, reference)
    if min(image.shape[1:]) < MS_SSIM_MIN_SIDE:
        return None
    value = pytorch_msssim.ms_ssim(image[None], reference[None], data_range=1)
    return float(value)


def check_shapes(image: torch.Tensor, reference: torch.Tensor) -> None:
    """Tensors of other shapes would be broadcast, and the value would be wrong in silence."""
    if image.shape != reference.shape or image.ndim != 3:
        raise ValueError(
            f"image {tuple(image.shape)} and reference {tuple(reference.shape)} must both be"
            " (3, H, W) of one size"
        )
