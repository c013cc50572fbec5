"""``adjscc`` [21]: one network for every SNR, by attention feature modules.

    encoder  image -9x9, s2-> -5x5, s2-> -5x5-> -5x5-> -5x5 to C-> symbols
    decoder  mirrored, the last one 9x9 -> sigmoid -> image

Behind every convolution but the last are a normalisation (GDN, in the decoder its inverse), PReLU
and an attention feature module (``simulator.jscc.attention_feature``). The paper is 256 wide.
Under fading the SNR is that of the image, its gain included.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.attention_feature import AttentionFeature
from simulator.jscc.gdn import Gdn
from simulator.jscc.one_ratio import OneRatioCodec, snr_graph


class Layer(nn.Module):
    """A convolution, or its transpose, normalisation, PReLU, attention feature module."""

    def __init__(self, conv: nn.Module, width: int, inverse: bool) -> None:
        super().__init__()
        self.conv = conv
        self.norm = Gdn(width, inverse)
        self.slope = nn.PReLU(width)
        self.attention = AttentionFeature(width)

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        return self.attention(self.slope(self.norm(self.conv(x))), snr)  # type: ignore[no-any-return]


def conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2)


def transposed(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Module:
    return nn.ConvTranspose2d(
        inputs, outputs, side, stride=stride, padding=side // 2, output_padding=stride - 1
    )


class AdjsccEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) -> (B, C, H/4, W/4)."""

    def __init__(self, c_channel: int, width: int, inputs: int = 3) -> None:
        super().__init__()
        convolutions = (
            conv(inputs, width, 9, 2),
            conv(width, width, 5, 2),
            conv(width, width, 5),
            conv(width, width, 5),
        )
        self.layers = nn.ModuleList(Layer(each, width, inverse=False) for each in convolutions)
        self.last = conv(width, c_channel, 5)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        x = image
        for layer in self.layers:
            x = layer(x, snr[:, None])
        return self.last(x)  # type: ignore[no-any-return]


class AdjsccDecoder(nn.Module):
    """(B, C, h, w), SNR (B,) -> (B, 3, 4 h, 4 w) in [0, 1]."""

    def __init__(self, c_channel: int, width: int) -> None:
        super().__init__()
        convolutions = (
            transposed(c_channel, width, 5),
            transposed(width, width, 5),
            transposed(width, width, 5),
            transposed(width, width, 5, 2),
        )
        self.layers = nn.ModuleList(Layer(each, width, inverse=True) for each in convolutions)
        self.last = transposed(width, 3, 9, 2)

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        x = latent
        for layer in self.layers:
            x = layer(x, snr[:, None])
        return self.last(x).sigmoid()  # type: ignore[no-any-return]


class AdjsccCodec(OneRatioCodec):
    """1/48 with ``c_channel`` = 2, 1/24 with 4, and so on."""

    name: ClassVar[str] = "adjscc"

    def __init__(self, c_channel: int = 2, width: int = 256) -> None:
        super().__init__(c_channel, n_downsample=2)
        if width < 1:
            raise ModelError(f"adjscc: width = {width}; give 1 or more.")
        self.width = width
        self.encoder = AdjsccEncoder(c_channel, width)
        self.decoder = AdjsccDecoder(c_channel, width)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, "width": self.width}

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        return snr_graph(self.encoder, {self.bandwidth_ratio: self.c_channel})
