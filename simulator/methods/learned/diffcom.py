"""DiffCom: what was received guides a diffusion prior, through the encoder of the codec.

Wang, Dai, Tan, Qin, Niu, Zhang, "DiffCom: Channel Received Signal is a Natural Condition to Guide
Diffusion Posterior Sampling", IEEE JSAC 2025 (arXiv 2406.07390), in its form HiFi-DiffCom:

    z_t -UNet-> z0~ -decode-> x0~ -JSCC encoder-> s -JSCC decoder-> x'
    z_(t-1) = a step of the prior - rate * gradient of (zeta |s^ - s| + gamma |x^ - x'|) by z_t

s^ are the equalised symbols, x^ is the preview, which z starts from at the noise level ``start``.
Theirs are both terms, their equal weights, the gradient through the UNet and the start. What is
not:

- Their prior is a diffusion of pixels (faces, ImageNet); ours is the UNet of a model folder without
  its control module, and x0~ goes through the decoder of its VAE. See ``yilmaz`` for what that
  prior is in the shipped model.
- A symbol counts by its own noise, which they do with symbols in front of the equaliser.
- They start at a noise level that the SNR chooses and take every step of the schedule from there;
  ours has ``steps`` from ``start`` of the schedule on, and a rate that goes with them.
- Blind-DiffCom, which also guesses the channel, is not here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rx.pipeline import DiffJSCCPipeline
from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.link.clock import monotonic
from simulator.methods.diffjscc import codec_of
from simulator.methods.learned.codecs import Arrived, Codecs
from simulator.methods.learned.inversejscc import generate
from simulator.methods.learned.padding import padded
from simulator.methods.learned.prior import Prior, next_latent
from simulator.methods.method import Context, Method, Point, Sent
from simulator.tensors import as_pixels

WEIGHT = 0.25  # zeta and gamma


class DiffCom(Method):
    """``steps`` over the last ``start`` of the noise schedule, 0 to 1; ``rate``: of the gradient;
    ``eta``: part of new noise in a step. Raises ``SettingsError``."""

    name, label = "diffcom", "DiffCom (latent prior)"

    def __init__(
        self,
        pipeline: DiffJSCCPipeline,
        codecs: Codecs,
        steps: int = 30,
        start: float = 0.2,
        rate: float = 15.0,
        eta: float = 0.85,
    ) -> None:
        if not (0 < start <= 1 and rate >= 0 and 0 <= eta <= 1 and steps >= 1):
            raise SettingsError(
                "diffcom: give steps, a start above 0 and at most 1, a rate from 0 on, and eta "
                "from 0 to 1."
            )
        if codecs.equalizer != "zero-forcing":
            raise SettingsError(
                f"diffcom compares symbols behind zero forcing, not behind {codecs.equalizer}; "
                "leave it out, or leave the equalizer as it is."
            )
        self.pipeline, self.codecs = pipeline, codecs
        self.rate, self.eta = rate, eta
        self.prior = Prior(pipeline, max(2, round(steps / start)))
        self.timesteps = list(self.prior.timesteps)[-steps:]
        pipeline.vae.requires_grad_(False)
        pipeline.unet.requires_grad_(False)

    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Sent:
        began = monotonic()
        arrived = self.codecs.send(image, point, draw)
        if arrived.codec.rounds > 1:
            raise SettingsError("diffcom needs a codec that sends once; this one has rounds.")
        generator = torch.Generator().manual_seed(draw.seed)
        z, losses = self._sampled(arrived, point, (image.shape[0], image.shape[1]), generator)
        details = {
            "first_loss": losses[0],
            "last_loss": losses[-1],
            "seconds": monotonic() - began,
        }
        (pixels,) = as_pixels(generate(self.pipeline.vae, z, (image.shape[0], image.shape[1])))
        return Sent(pixels, arrived.k, details=details)

    def _sampled(
        self,
        arrived: Arrived,
        point: Point,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> tuple[Tensor, list[float]]:
        """z_0, and the loss in each step."""
        levels, losses = self.prior.alphas_bar, []
        with torch.no_grad():
            text = self.pipeline.text_features([""])
            first = self.pipeline.spatial_features(padded(arrived.preview, self.pipeline))
            noise = torch.randn(first.shape, generator=generator).to(first.device)
            level = levels[self.timesteps[0]]
            z = level.sqrt() * first + (1 - level).sqrt() * noise
        for t, following in zip(self.timesteps, [*self.timesteps[1:], -1], strict=True):
            with torch.enable_grad():
                z.requires_grad_()
                z0 = self.prior.predict(z, t, text)
                loss = self._loss(z0, arrived, point, size)
                (gradient,) = torch.autograd.grad(loss, z)
            losses.append(float(loss.detach()))
            z, z0 = z.detach(), z0.detach()
            if following < 0:
                return z0, losses
            z = next_latent(z, z0, z0, levels[t], levels[following], self.eta, generator)
            z -= self.rate * gradient
        raise AssertionError("no step")

    def _loss(self, z0: Tensor, arrived: Arrived, point: Point, size: tuple[int, int]) -> Tensor:
        """zeta |s^ - s| + gamma |x^ - x'|, symbols weighted by what their noise is to the mean."""
        codec, csi, variance = arrived.codec, arrived.csi, arrived.noise_variance
        made = generate(self.pipeline.vae, z0, size)
        signal = codec.encode(made, csi, point.cbr)
        worth = (variance.mean() / variance).sqrt()
        again = codec.decode(signal.symbols, csi, size, variance, signal.side)
        symbols: Tensor = torch.linalg.vector_norm(worth * (arrived.equalised - signal.symbols))
        confirmed: Tensor = torch.linalg.vector_norm(arrived.preview - again)
        return WEIGHT * (symbols + confirmed)


def make_diffcom(
    context: Context,
    codec: str = "",
    model: str = "",
    prior: str = "",
    steps: int = 30,
    start: float = 0.2,
    rate: float = 15.0,
    eta: float = 0.85,
) -> Method:
    """See ``DiffCom``. ``codec``: folders joined by ``+``; empty: the context's, else the
    model's. ``prior``: a model folder with the diffusion prior; empty: ``model``, else the
    context's. Raises ``ModelError``, ``SettingsError``."""
    pipeline = DiffJSCCPipeline.from_pretrained(
        prior or model or context.model, captioner=None, dtype=torch.float32
    )
    codecs = Codecs.of(context, codec_of(context, codec, model))
    return DiffCom(pipeline.to(context.device), codecs, steps, start, rate, eta)
