"""``null``: symbols that say nothing, an image of one grey. For measuring the link alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import BANDWIDTH_RATIOS, null_symbols


class NullCodec(JsccCodec):
    name: ClassVar[str] = "null"
    bandwidth_ratios = BANDWIDTH_RATIOS
    bandwidth_ratio = Fraction(1, 384)

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        height, width = (side // 2**self.n_downsample for side in image.shape[-2:])
        symbols = torch.from_numpy(null_symbols(channels // 2 * height * width))
        grid = symbols.reshape(1, channels // 2, height, width)
        latent = torch.cat([grid.real, grid.imag], dim=1)
        return latent.expand(image.shape[0], -1, -1, -1).to(image.device)

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        cell = 2**self.n_downsample
        batch, _, height, width = latent.shape
        return latent.new_full((batch, 3, height * cell, width * cell), 0.5)
