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

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.one_ratio import OneRatioCodec
from simulator.jscc.swin import ModNet, start
from simulator.jscc.swin_blocks import PatchDivision, PatchMerging, swin_blocks

EXPANSION = 4


class WittEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) -> (B, C, H/2^D, W/2^D)."""

    def __init__(
        self,
        c_channel: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, widths[0], 2, stride=2)
        stages: list[nn.Module] = []
        for i, width in enumerate(widths):
            stages += [PatchMerging(widths[i - 1], width)] if i else []
            stages += [swin_blocks(width, depths[i], heads[i], window, EXPANSION)]
        self.stages = nn.Sequential(*stages, nn.LayerNorm(widths[-1]))
        self.stages.apply(start)
        self.snr = ModNet(widths[-1])
        self.head = nn.Linear(widths[-1], c_channel)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        x = self.snr(self.stages(self.patches(image).permute(0, 2, 3, 1)), snr)
        return self.head(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class WittDecoder(nn.Module):
    """(B, C, h, w), SNR (B,) -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(
        self,
        c_channel: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
    ) -> None:
        super().__init__()
        self.head = nn.Linear(c_channel, widths[-1])
        self.snr = ModNet(widths[-1])
        stages: list[nn.Module] = []
        for i in reversed(range(len(widths))):
            stages += [swin_blocks(widths[i], depths[i], heads[i], window, EXPANSION)]
            stages += [PatchDivision(widths[i], widths[i - 1] if i else 3)]
        self.stages = nn.Sequential(*stages)
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
        if not len(widths) == len(depths) == len(heads):
            raise ModelError("a witt codec needs a width, a depth and heads for every stage.")
        if any(count < 1 or width % count for width, count in zip(widths, heads, strict=True)):
            raise ModelError("the widths of a witt codec are multiples of its heads.")
        super().__init__(c_channel, n_downsample=len(widths))
        sizes = {"widths": widths, "depths": depths, "heads": heads}
        self._sizes = {name: list(each) for name, each in sizes.items()} | {"window": window}
        self.encoder = WittEncoder(c_channel, widths, depths, heads, window)
        self.decoder = WittDecoder(c_channel, widths, depths, heads, window)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, **self._sizes}

    def onnx_graph(self) -> Any:
        """Windows depend on the size of the image: there is no graph for all sizes."""
        return JsccCodec.onnx_graph(self)
