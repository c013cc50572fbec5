"""Images kept out of training: their latents, and how they arrive at some operating points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from simulator.images import find_images, load_image
from simulator.jscc.chain import complex_normal, transmit
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import parse_ratio
from simulator.tensors import as_tensor, quantised
from simulator.training.latents import latent_of

# (bandwidth ratio, SNR in dB) that a control module is checked at while it trains.
POINTS = (("1/384", 1.0), ("1/96", 10.0))


@dataclass(frozen=True)
class Received:
    """One image as it was and as it arrived, (3, H, W) in [0, 1]."""

    image: Tensor
    preview: Tensor
    csi: Csi
    seed: int


def images_of(folders: Sequence[str], limit: int = 1000) -> Iterator[Tensor]:
    """(3, H, W) in [0, 1], cut to whole cells of 16 px, in the order of names."""
    for path in find_images([Path(p) for p in folders])[:limit]:
        pixels = load_image(path).pixels
        height, width = (side // 16 * 16 for side in pixels.shape[:2])
        yield as_tensor(pixels[:height, :width])


def latents_of(vae: AutoencoderKL, folders: Sequence[str], device: torch.device) -> list[Tensor]:
    """(1, C, h, w) of each image, equation (7)."""
    return [latent_of(vae, image[None].to(device)) for image in images_of(folders)]


def received_of(
    codec: JsccCodec, folders: Sequence[str], limit: int, device: torch.device
) -> list[Received]:
    """Each image at each of ``POINTS`` that the codec has, on AWGN, with noise from its number."""
    found = []
    for seed, image in enumerate(images_of(folders, limit)):
        batch = image[None].to(device)
        for text, snr_db in POINTS:
            ratio = parse_ratio(text)
            if ratio not in codec.bandwidth_ratios:
                continue
            k = codec.k(ratio, (image.shape[1], image.shape[2]))
            noise = complex_normal((1, k), torch.Generator().manual_seed(seed), device)
            csi = Csi.of(snr_db, device=device)
            preview = transmit(codec, batch, csi, csi, noise, ratio)[0]
            found.append(Received(image, quantised(preview).cpu(), csi, seed))
    return found
