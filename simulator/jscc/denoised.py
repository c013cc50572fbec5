"""``cddm``: a codec whose received symbols are denoised before it decodes them.

Wu, Chen, He, Qian, Xu, Tao, Zhang, "CDDM: Channel Denoising Diffusion Models for Wireless Semantic
Communications", IEEE TWC 2024 (arXiv 2309.08895).

    received s + sqrt(v) n  -[the network predicts n, a part is taken away] x steps-> decoder

An equalised symbol is a sample of a forward diffusion at a known step, the one whose noise has the
variance v that the equaliser tells: abar = 1 / (1 + v). So the reverse process begins there, not at
pure noise, and goes down to none in ``steps`` deterministic steps. The variance may differ from
symbol to symbol, as under fading.

That idea is theirs. What is not: their network is a U-Net, which takes many steps and learns from
the error of the noise; this one is small and learns from the error of the image, through the frozen
decoder. Learning from the error of the noise, it took away most of it at every SNR, and still the
image lost at 10 dB (docs/systems.md).

``diffjscc wrap cddm FOLDER``, then ``train codec --codec cddm --init``: the codec inside stays what
it is. Without a training the network predicts no noise and nothing is changed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import channels_of
from simulator.jscc.wrapped import WrappedCodec

SMALLEST = 1e-6  # variance: less noise is as good as none


class Block(nn.Module):
    """(B, W, h, w) -> the same; residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]


class NoisePredictor(nn.Module):
    """(B, C, h, w) of mean power 1 without noise, and the variance of the noise in each -> the
    noise, of variance 1. C is at most ``maps``. It starts as zero."""

    def __init__(self, maps: int, width: int, blocks: int) -> None:
        super().__init__()
        self.maps = maps
        self.layers = nn.Sequential(
            nn.Conv2d(2 * maps, width, 3, padding=1), *(Block(width) for _ in range(blocks))
        )
        self.last = nn.Conv2d(width, maps, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, variance: Tensor) -> Tensor:
        absent = (0, 0, 0, 0, 0, self.maps - x.shape[1])
        scaled, level = x / (1 + variance).sqrt(), variance.log10()
        both = [nn.functional.pad(each, absent) for each in (scaled, level)]
        noise: Tensor = self.last(self.layers(torch.cat(both, dim=1)))
        return noise[:, : x.shape[1]]


class DenoisedCodec(WrappedCodec):
    """``steps``: of the reverse process; ``width``, ``blocks``: of the network."""

    name: ClassVar[str] = "cddm"

    def __init__(self, codec: JsccCodec, steps: int = 1, width: int = 32, blocks: int = 3) -> None:
        super().__init__(codec)
        if steps < 1 or width < 1 or blocks < 0:
            raise ModelError(f"cddm: {steps} steps, {blocks} blocks of width {width} cannot be.")
        self.steps, self.width, self.blocks = steps, width, blocks
        maps = max(channels_of(each, self.n_downsample) for each in self.bandwidth_ratios)
        self.denoiser = NoisePredictor(maps, width, blocks)
        self.codec.requires_grad_(False)

    @property
    def config(self) -> dict[str, Any]:
        own = {"steps": self.steps, "width": self.width, "blocks": self.blocks}
        return {**super().config, **own}

    def train(self, mode: bool = True) -> Self:
        """The codec inside keeps the statistics of its normalisations."""
        super().train(mode)
        self.codec.eval()
        return self

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return super().synthesise(self.denoised(latent, noise_variance), csi, noise_variance)

    def denoised(self, latent: Tensor, noise_variance: Tensor) -> Tensor:
        """(B, C, h, w) equalised -> the same with less noise."""
        v = noise_variance.clamp_min(SMALLEST)
        x = latent * 2**0.5  # half of a symbol has half of its power
        for left in range(self.steps, 0, -1):
            part = left / self.steps
            x = x - v.sqrt() / self.steps * self.denoiser(x, v * part**2)
        return x / 2**0.5
