"""``swin``: SwinJSCC with both of its modulations, one set of weights for every rate and SNR.

Yang, Wang, Dai, Qin, Niu, Zhang, "SwinJSCC: Taming Swin Transformer for Deep Joint Source-Channel
Coding", IEEE TCCN 2024 (arXiv 2308.09361); written from its description, with the sizes of its
base model.

    encoder  image -2x2 patches-> 128 [2 blocks] -merge-> 192 [2] -merge-> 256 [6] -merge-> 320 [2]
             -norm-> Channel ModNet (SNR) -> Rate ModNet (C_out) -> the first C_out of 320 maps
    decoder  C_out maps, zeros for the others -linear-> Channel ModNet (SNR)
             -> 320 [2 blocks] -divide-> 256 [6] -divide-> 192 [2] -divide-> 128 [2] -divide-> image

What differs from the authors' code, and why:

- They send the C_out maps that are strongest in each image, and their simulation hands the
  decoder the list, and the power of the image, without sending them. At 1/384 a list of 4 in 320
  maps and a power are a cost that no other codec here is spared. Ours are the first C_out maps,
  which both ends know, and symbols of power 1: training learns the order.
- A linear layer with a bias takes the maps into the decoder (theirs has one only without the Rate
  ModNet). The first layer of a block is a normalisation over 320 maps: of two maps and 318 zeros
  it would leave the direction and lose the size.
- Their rates, 32 to 192 maps, are 1/48 to 1/8; ours are this project's, 2 to 32. ``channels``
  chooses others.
- Under fading the SNR is that of the image, snr_db + 20 log10 abs(h), which is theirs on AWGN.
- SNR is given in tens of dB and the rate as log2 of C_out, so that neither saturates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import BANDWIDTH_RATIOS, channels_of, ratio_of
from simulator.jscc.swin_blocks import SwinSizes

CHANNELS = tuple(channels_of(ratio) for ratio in BANDWIDTH_RATIOS)  # 2, 4, 8, 16, 32
MODULATIONS = 7  # layers of a ModNet


class Factor(nn.Module):
    """A factor between 0 and 1 for each of ``width`` features, from one number an image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.Sigmoid(),
        )

    def forward(self, value: Tensor) -> Tensor:
        """(B,) -> (B, 1, 1, width)."""
        return self.layers(value[:, None])[:, None, None]  # type: ignore[no-any-return]


class ModNet(nn.Module):
    """Channel ModNet and Rate ModNet: scales each map by what its state is worth.

    x -linear-> (* factor of the state -linear->) x 7 -sigmoid-> * x

    It looks at the features without a gradient to them, as in the authors' code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * 3 // 2
        widths = [width, *[hidden] * MODULATIONS, width]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.factor = nn.ModuleList(Factor(hidden) for _ in range(MODULATIONS))

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        """(B, H, W, C), (B,) -> (B, H, W, C)."""
        return x * self.gate(x, value)

    def gate(self, x: Tensor, value: Tensor) -> Tensor:
        """What each value is scaled by, between 0 and 1."""
        y = self.linear[0](x.detach())
        for factor, linear in zip(self.factor, self.linear[1:], strict=True):
            y = linear(y * factor(value))
        return y.sigmoid()  # type: ignore[no-any-return]


def start(module: nn.Module) -> None:
    """The backbone's first weights: small, so that blocks start as almost nothing."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SwinEncoder(nn.Module):
    """(B, 3, H, W), (B,) SNR, (B,) rate -> (B, widths[-1], H/2^D, W/2^D)."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.patches = nn.Conv2d(3, sizes.widths[0], 2, stride=2)
        self.stages = nn.Sequential(*sizes.down(), nn.LayerNorm(width))
        self.stages.apply(start)
        self.snr = ModNet(width)
        self.rate = ModNet(width)

    def forward(self, image: Tensor, snr: Tensor, rate: Tensor) -> Tensor:
        x = self.stages(self.patches(image).permute(0, 2, 3, 1))
        x = self.rate(self.snr(x, snr), rate)
        return x.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class SwinDecoder(nn.Module):
    """(B, widths[-1], h, w), (B,) SNR -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.head = nn.Linear(width, width)
        self.snr = ModNet(width)
        self.stages = nn.Sequential(*sizes.up())
        self.stages.apply(start)

    def forward(self, maps: Tensor, snr: Tensor) -> Tensor:
        x = self.snr(self.head(maps.permute(0, 2, 3, 1)), snr)
        return self.stages(x).permute(0, 3, 1, 2) * 0.5 + 0.5  # type: ignore[no-any-return]


class SwinCodec(JsccCodec):
    """SwinJSCC, the base model unless other sizes are given; one number a stage in each.

    ``channels``: C_out of each bandwidth ratio it serves, at most ``widths[-1]``.
    """

    name: ClassVar[str] = "swin"

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (4, 6, 8, 10),
        window: int = 8,
    ) -> None:
        super().__init__()
        sizes = SwinSizes(widths, depths, heads, window)
        sizes.check(self.name)
        if any(c % 2 or not 0 < c <= widths[-1] for c in channels):
            raise ModelError(f"the channels of a swin codec are even and at most {widths[-1]}.")
        self._config = {"channels": list(channels), **sizes.config}
        self.width = widths[-1]
        self.n_downsample = len(widths)
        self.bandwidth_ratios = tuple(ratio_of(c, self.n_downsample) for c in channels)
        self.bandwidth_ratio = self.bandwidth_ratios[min(1, len(channels) - 1)]
        self.encoder = SwinEncoder(sizes)
        self.decoder = SwinDecoder(sizes)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        rate = torch.full((image.shape[0],), math.log2(channels), device=image.device)
        return self.encoder(image, received_snr(csi), rate)[:, :channels]  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        missing = self.width - latent.shape[1]
        maps = nn.functional.pad(latent, (0, 0, 0, 0, 0, missing))
        return self.decoder(maps, received_snr(csi))  # type: ignore[no-any-return]
