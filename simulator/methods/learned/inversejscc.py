"""InverseJSCC: the image of a generator whose transmission looks like what was received.

Erdemir, Tung, Dragotti, Gunduz, "Generative Joint Source-Channel Coding for Semantic Image
Transmission", IEEE JSAC 41(8), 2023 (arXiv 2211.13772):

    z -G-> image -JSCC encoder, channel, JSCC decoder-> F(G(z)) <-compare-> x^
    z* = argmin  MSE(F(G(z)), x^) + w_lpips LPIPS(F(G(z)), x^) + w_prior mean(z^2);   G(z*) is shown

The idea, F (the codec that sent the image, over the channel state that the receiver knows) and
the loss of MSE and LPIPS are theirs. What is not:

- Their G is StyleGAN, a strong prior of one kind of image (faces). Weights of one cannot be had
  here, and it knows no photographs in general: G is the decoder of the model folder's VAE, which
  makes nearly any image. So the prior is weak, and the label says so.
- z starts from the VAE's latent of x^ instead of from a mean latent, and is held by the variance
  that the VAE was scaled to (w_prior) instead of by StyleGAN's distribution.
- Noise in F is drawn anew in each step, as a channel draws it, from the seed of the transmission.
- Step size, number of steps and weights are our choice; their values did not carry over.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from rx.pipeline import DiffJSCCPipeline
from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.jscc.chain import complex_normal, transmit
from simulator.link.clock import monotonic
from simulator.methods.diffjscc import codec_of
from simulator.methods.learned.codecs import Arrived, Codecs
from simulator.methods.learned.padding import padded
from simulator.methods.method import Context, Method, Point, Sent
from simulator.metrics.lpips import MIN_SIDE, Lpips, load_lpips
from simulator.tensors import as_pixels


def generate(vae: AutoencoderKL, z: Tensor, size: tuple[int, int]) -> Tensor:
    """G: a scaled latent -> (1, 3, H, W) in [0, 1], cut to ``size``. Differentiable."""
    config = vae.config
    image: Tensor = vae.decode(z / config.scaling_factor + (config.shift_factor or 0)).sample
    return (image / 2 + 0.5).clamp(0, 1)[..., : size[0], : size[1]]


class InverseJscc(Method):
    """``steps`` of Adam at ``learning_rate`` on the latent; weights as above; ``lpips`` None:
    MSE alone. Raises ``SettingsError``."""

    name, label = "inversejscc", "InverseJSCC (VAE decoder in place of StyleGAN)"

    def __init__(
        self,
        pipeline: DiffJSCCPipeline,
        codecs: Codecs,
        lpips: Lpips | None,
        steps: int = 100,
        learning_rate: float = 0.02,
        lpips_weight: float = 0.1,
        prior_weight: float = 1e-4,
    ) -> None:
        if steps < 1 or learning_rate <= 0 or lpips_weight < 0 or prior_weight < 0:
            raise SettingsError(
                "inversejscc: give steps and a learning rate above 0, and weights from 0 on."
            )
        if codecs.equalizer != "zero-forcing":
            raise SettingsError(
                f"inversejscc inverts a chain with zero forcing, not with {codecs.equalizer}; "
                "leave it out, or leave the equalizer as it is."
            )
        self.pipeline, self.codecs, self.lpips = pipeline, codecs, lpips
        self.steps, self.learning_rate = steps, learning_rate
        self.lpips_weight, self.prior_weight = lpips_weight, prior_weight
        pipeline.vae.requires_grad_(False)

    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Sent:
        if self.lpips is not None and min(image.shape[:2]) < MIN_SIDE:
            raise SettingsError(f"inversejscc: LPIPS needs images of {MIN_SIDE} px or more.")
        began = monotonic()
        arrived = self.codecs.send(image, point, draw)
        generator = torch.Generator().manual_seed(draw.seed)
        z = self.pipeline.spatial_features(padded(arrived.preview, self.pipeline))
        size = image.shape[0], image.shape[1]
        fitted, first, last = self._fit(z, arrived, point, size, generator)
        with torch.no_grad():
            (pixels,) = as_pixels(generate(self.pipeline.vae, fitted, size))
        seconds = monotonic() - began
        details = {"first_loss": first, "last_loss": last, "seconds": seconds}
        return Sent(pixels, arrived.k, details=details)

    @torch.enable_grad()
    def _fit(
        self,
        z: Tensor,
        arrived: Arrived,
        point: Point,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> tuple[Tensor, float, float]:
        """z*, and the loss of the first and the last step."""
        z = z.clone().requires_grad_()
        adam = Adam([z], lr=self.learning_rate)
        losses = []
        for _ in range(self.steps):
            adam.zero_grad(set_to_none=True)
            noise = complex_normal((1, arrived.k), generator, z.device)
            made = generate(self.pipeline.vae, z, size)
            csi = arrived.csi
            sent = transmit(arrived.codec, made, csi, csi, noise, point.cbr)
            loss = self._loss(sent, arrived.preview, z)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            losses.append(float(loss.detach()))
        return z.detach(), losses[0], losses[-1]

    def _loss(self, sent: Tensor, received: Tensor, z: Tensor) -> Tensor:
        loss = ((sent - received) ** 2).mean() + self.prior_weight * (z**2).mean()
        if self.lpips is not None:
            loss = loss + self.lpips_weight * self.lpips(sent, received).mean()
        return loss


def make_inversejscc(
    context: Context,
    codec: str = "",
    model: str = "",
    steps: int = 100,
    learning_rate: float = 0.02,
    lpips_weight: float = 0.1,
    prior_weight: float = 1e-4,
) -> Method:
    """See ``InverseJscc``. ``codec``: folders joined by ``+``; empty: the context's, else the
    model's. Raises ``ModelError``, ``SettingsError``."""
    pipeline = DiffJSCCPipeline.from_pretrained(
        model or context.model, captioner=None, dtype=torch.float32
    )
    codecs = Codecs.of(context, codec_of(context, codec, model))
    lpips = load_lpips(device=context.device) if lpips_weight else None
    return InverseJscc(
        pipeline.to(context.device), codecs, lpips, steps, learning_rate, lpips_weight, prior_weight
    )
