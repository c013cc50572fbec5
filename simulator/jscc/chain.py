"""One image through encoder, channel, equaliser and decoder in this process.

The reference that the three processes are compared with, and the fast path of training and
sweeps: the same functions, without sockets.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.signal import Round
from simulator.metrics.limits import capped
from simulator.phy.equalize import equalize
from simulator.phy.propagation import apply_channel
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
    size = (image.shape[-2], image.shape[-1])
    sigma = 10 ** (-decoder_csi.snr_db / 20)[:, None]
    h, variance, csi, side = decoder_csi.gain[:, None], None, encoder_csi, b""
    rounds: list[Round[Tensor]] = []
    for _ in range(codec.rounds):
        signal = codec.encode(image, csi, bandwidth_ratio, rounds)
        k = signal.symbols.shape[1]
        if not rounds:
            csi, side = decoder_csi, signal.side  # with what comes back, the transmitter learns h
            if gains is not None:
                h = h * gains[:, :k]
                variance = sigma**2 / h.abs().square().clamp_min(1e-12)
        own, noise = noise[:, :k] * sigma, noise[:, k:]
        received = equalize(apply_channel(signal.symbols, h, own), h)
        rounds.append(Round(signal.symbols, received, variance))
    if len(rounds) == 1:
        return codec.decode(received, decoder_csi, size, variance, side)
    equalised = torch.cat([each.received for each in rounds], dim=1)
    if variance is not None:
        variance = variance.repeat(1, codec.rounds)
    return codec.decode(equalised, decoder_csi, size, variance, side)


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
    device = next(codec.parameters()).device
    image = as_tensor(pixels, device)[None]
    h = complex_normal((1,), generator, device) if rayleigh else torch.ones(1, device=device) + 0j
    csi = Csi(torch.tensor([snr_db], device=device), h)
    noise = complex_normal((1, codec.k(ratio, pixels.shape[:2])), generator, device)
    result = transmit(codec, image, csi, csi, noise, ratio)
    out = as_pixels(result[0])
    mse = float(((as_tensor(out, device) - image[0]) ** 2).mean())
    return out, capped(float(10 * np.log10(1 / mse)) if mse else float("inf"))
