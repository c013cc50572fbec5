"""``witt`` [18]: a Swin transformer with one modulation, by the SNR; one bandwidth ratio a model.

Yang, Wang, Dai, Si, Niu, Zhang, "WITT: A Wireless Image Transmission Transformer for Semantic
Communications", IEEE ICASSP 2023.

    encoder  image -2x2 patches-> 128 [2 blocks] -merge-> 192 [2] -merge-> 256 [6] -merge-> 320 [2]
             -norm-> Channel ModNet (SNR) -linear-> C
    decoder  C -linear-> Channel ModNet (SNR) -> 320 [2] -divide-> 256 [6] -> 192 [2] -> 128 [2]
             -> image

Blocks, modulation and sizes are those of ``swin``, which came from it. Under fading the SNR is that
of the image, its gain included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from simulator.jscc.one_ratio import OneRatioCodec
from simulator.jscc.swin import ModNet, start
from simulator.jscc.swin_blocks import SwinSizes


class WittEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) -> (B, C, H/2^D, W/2^D)."""

    def __init__(self, c_channel: int, sizes: SwinSizes) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.patches = nn.Conv2d(3, sizes.widths[0], 2, stride=2)
        self.stages = nn.Sequential(*sizes.down(), nn.LayerNorm(width))
        self.stages.apply(start)
        self.snr = ModNet(width)
        self.head = nn.Linear(width, c_channel)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        x = self.snr(self.stages(self.patches(image).permute(0, 2, 3, 1)), snr)
        return self.head(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class WittDecoder(nn.Module):
    """(B, C, h, w), SNR (B,) -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, c_channel: int, sizes: SwinSizes) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.head = nn.Linear(c_channel, width)
        self.snr = ModNet(width)
        self.stages = nn.Sequential(*sizes.up())
        self.stages.apply(start)

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        x = self.snr(self.head(latent.permute(0, 2, 3, 1)), snr)
        return self.stages(x).permute(0, 3, 1, 2) * 0.5 + 0.5  # type: ignore[no-any-return]


class WittCodec(OneRatioCodec):
    """The base model unless other sizes are given; one number a stage in each."""

    name: ClassVar[str] = "witt"

    def __init__(
        self,
        c_channel: int = 32,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (4, 6, 8, 10),
        window: int = 8,
    ) -> None:
        sizes = SwinSizes(widths, depths, heads, window)
        sizes.check(self.name)
        super().__init__(c_channel, n_downsample=len(widths))
        self._sizes = sizes
        self.encoder = WittEncoder(c_channel, sizes)
        self.decoder = WittDecoder(c_channel, sizes)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, **self._sizes.config}
