"""One image through encoder, channel, equaliser and decoder in this process.

The reference that the three processes are compared with, and the fast path of training and
sweeps: the same functions, without sockets.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from simulator.jscc.air import Air
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.metrics.limits import capped
from simulator.tensors import as_pixels, as_tensor


def complex_normal(
    shape: tuple[int, ...], generator: torch.Generator, device: str | torch.device = "cpu"
) -> Tensor:
    """CN(0, 1) draws on the generator's device, moved to ``device``."""
    draws = torch.randn(shape, generator=generator, dtype=torch.complex64, device=generator.device)
    return draws.to(device)


def transmit(
    codec: JsccCodec,
    image: Tensor,
    encoder_csi: Csi,
    decoder_csi: Csi,
    noise: Tensor,
    bandwidth_ratio: Fraction | None = None,
    gains: Tensor | None = None,
) -> Tensor:
    """The JSCC reconstruction, equations (5), (2), (3), (4), (5). Differentiable.

    ``image``: (B, 3, H, W) in [0, 1]; ``noise``: (B, >= K) unit-variance CN(0, 1), scaled
    here; ``decoder_csi`` holds the true gain, ``encoder_csi`` what the transmitter knows.
    ``gains``: (B, K), a factor of that gain for each symbol, of mean square 1. A codec with several
    rounds gets back what was received, without noise; the gains are those of its first round.
    """
    air = Air(encoder_csi, decoder_csi, noise, gains)
    return codec.through(image, air, bandwidth_ratio)


@torch.inference_mode()
def reconstruct(
    codec: JsccCodec,
    pixels: np.ndarray,
    ratio: Fraction,
    snr_db: float,
    generator: torch.Generator,
    rayleigh: bool = False,
) -> tuple[np.ndarray, float]:
    """One (H, W, 3) uint8 image sent at one operating point; returns it and its PSNR in dB,
    ``capped``."""
    weight = next(codec.parameters(), torch.empty(0))  # a codec may have none
    device = weight.device
    image = as_tensor(pixels, device)[None]
    h = complex_normal((1,), generator, device) if rayleigh else torch.ones(1, device=device) + 0j
    csi = Csi(torch.tensor([snr_db], device=device), h)
    noise = complex_normal((1, codec.k(ratio, pixels.shape[:2])), generator, device)
    result = transmit(codec, image, csi, csi, noise, ratio)
    out = as_pixels(result[0])
    mse = float(((as_tensor(out, device) - image[0]) ** 2).mean())
    return out, capped(float(10 * np.log10(1 / mse)) if mse else float("inf"))
