"""Zero-shot diffusion after a JSCC decoder, by range-null-space decomposition.

Yilmaz, Niu, Bai, Han, Deng, Gunduz, "High Perceptual Quality Wireless Image Delivery with
Denoising Diffusion Models", INFOCOM Workshops 2024 (arXiv 2309.15889), with the sampler of Wang,
Yu, Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023:

    x^ -A-> y;   z_T -UNet-> z0~ -decode-> x0~ -> x0~ + A+ (y - A x0~) -encode-> z0 -> z_t-1 ...

A averages squares of ``scale`` pixels, A+ repeats each mean over its square, so that A A+ is the
identity: range (what A sees) comes from the channel, null space (the rest) from the prior.

What is theirs: A and A+, the correction with noiseless y, 100 steps of DDIM with eta 0.85 (as in
their code), no fine-tuning. What is not, because the priors here are latent:

- Their prior is an unconditional diffusion of pixels (ImageNet, 512 x 512). Ours is the UNet of
  a model folder without its control module, on an empty caption or on the captioner's. In a
  folder whose control module was trained with ``--unfreeze decoder`` (the compact model) that
  UNet is no pure prior any more: half of it has learnt to expect the control module. Name another
  folder as ``prior`` where there is one; it needs the VAE and the text encoder of its own.
- The correction happens in pixels, so each step decodes and encodes: z0 moves by the difference
  of E(x0~ + A+ (y - A x0~)) and E(x0~), and keeps what the autoencoder loses.
- Their codec is trained to send A x. Ours sends x, and y = A x^, which is a blur where the ratio
  is low: the prior then only adds what is finer than ``scale``. Larger squares leave more to it;
  on a development photograph (Set14, 1/96, 10 dB) the compact model's prior was not up to that
  (LPIPS 0.39 at 2, 0.61 at 4), so the default is theirs, 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rx.pipeline import DiffJSCCPipeline
from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.link.clock import monotonic
from simulator.methods.diffjscc import codec_of
from simulator.methods.learned.codecs import Codecs
from simulator.methods.learned.padding import padded
from simulator.methods.learned.prior import Prior, next_latent
from simulator.methods.method import Context, Method, Point, Sent
from simulator.tensors import as_pixels

Correct = Callable[[Tensor], Tensor]


def average(x: Tensor, scale: int) -> Tensor:
    """A: means of squares of ``scale`` pixels; sides are multiples of it."""
    return F.avg_pool2d(x, scale)


def repeat(y: Tensor, scale: int) -> Tensor:
    """A+, the pseudo-inverse of ``average``: each mean over its square."""
    return F.interpolate(y, scale_factor=float(scale), mode="nearest")


def correction(x0: Tensor, y: Tensor, scale: int) -> Tensor:
    """A+ (y - A x0): what ``x0`` lacks in the range of A, equation (17) of DDNM for exact y."""
    return repeat(y - average(x0, scale), scale)


def sample_null_space(
    predict: Callable[[Tensor, int], Tensor],
    correct: Correct,
    alphas_bar: Tensor,
    timesteps: Sequence[int],
    noise: Tensor,
    eta: float,
    generator: torch.Generator,
) -> Tensor:
    """z_0 by DDIM steps on the corrected z0~; ``timesteps`` descend, from pure ``noise``.

    ``predict(z_t, t)`` gives z0~, ``correct`` its corrected form; ``eta``: see ``next_latent``.
    """
    z = noise
    for t, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        z0 = predict(z, t)
        moved = correct(z0)
        if following < 0:
            return moved
        z = next_latent(z, z0, moved, alphas_bar[t], alphas_bar[following], eta, generator)
    return z


class Yilmaz(Method):
    """``steps`` of DDIM with ``eta``; ``scale``: side of the squares that A averages;
    ``captions``: whether the prior is told the captioner's caption. Raises ``SettingsError``."""

    name, label = "yilmaz", "Yilmaz et al. (latent prior)"

    def __init__(
        self,
        pipeline: DiffJSCCPipeline,
        codecs: Codecs,
        scale: int = 2,
        steps: int = 100,
        eta: float = 0.85,
        captions: bool = False,
    ) -> None:
        if not 0 <= eta <= 1:
            raise SettingsError(f"eta {eta} of yilmaz: give a number from 0 to 1.")
        multiple = pipeline.vae_factor * pipeline.unet_multiple
        if scale < 1 or multiple % scale:
            raise SettingsError(f"scale {scale} of yilmaz: give a divisor of {multiple}.")
        self.pipeline, self.codecs = pipeline, codecs
        self.scale, self.eta, self.captions = scale, eta, captions
        self.prior = Prior(pipeline, steps)

    @torch.no_grad()
    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Sent:
        began = monotonic()
        arrived = self.codecs.send(image, point, draw)
        height, width = image.shape[:2]
        target = padded(arrived.preview, self.pipeline)
        caption = self._caption(arrived.preview)
        text = self.pipeline.text_features([caption])
        generator = torch.Generator().manual_seed(draw.seed)
        shape = self.pipeline.spatial_features(target).shape
        z = sample_null_space(
            lambda z, t: self.prior.predict(z, t, text),
            self._corrector(average(target, self.scale)),
            self.prior.alphas_bar,
            self.prior.timesteps,
            torch.randn(shape, generator=generator).to(target.device),
            self.eta,
            generator,
        )
        (pixels,) = as_pixels(self.pipeline.decode(z)[..., :height, :width])
        details = {"caption": caption, "seconds": monotonic() - began}
        return Sent(pixels, arrived.k, details=details)

    def _corrector(self, y: Tensor) -> Correct:
        def correct(z0: Tensor) -> Tensor:
            x0 = self.pipeline.decode(z0)
            moved = (x0 + correction(x0, y, self.scale)).clamp(0, 1)
            encode = self.pipeline.spatial_features
            return z0 + encode(moved) - encode(x0)

        return correct

    def _caption(self, preview: Tensor) -> str:
        if not self.captions:
            return ""
        if self.pipeline.captioner is None:
            raise SettingsError("yilmaz: this model has no captioner; say captions=false.")
        found: str = self.pipeline.captioner.caption(preview)[0]
        return found


def make_yilmaz(
    context: Context,
    codec: str = "",
    model: str = "",
    prior: str = "",
    scale: int = 2,
    steps: int = 100,
    eta: float = 0.85,
    captions: bool = False,
) -> Method:
    """See ``Yilmaz``. ``codec``: folders joined by ``+``; empty: the context's, else the
    model's. ``prior``: a model folder with the diffusion prior; empty: ``model``, else the
    context's. Raises ``ModelError``, ``SettingsError``."""
    pipeline = DiffJSCCPipeline.from_pretrained(
        prior or model or context.model, dtype=torch.float32
    )
    codecs = Codecs.of(context, codec_of(context, codec, model))
    return Yilmaz(pipeline.to(context.device), codecs, scale, steps, eta, captions)
