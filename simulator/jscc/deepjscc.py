"""``deepjscc`` [11]: five convolutions and their mirror; the codec that everybody compares with.

Bourtsoulatze, Burth Kurka, Gunduz, "Deep Joint Source-Channel Coding for Wireless Image
Transmission", IEEE TCCN 2019.

    encoder  image -16, s2-> -32, s2-> -32-> -32-> -C-> symbols        5x5, PReLU behind each
    decoder  C -32-> -32-> -32-> -16, s2-> -3, s2-> sigmoid -> image

It knows nothing of the channel: the paper trains one for each SNR. ``width_multiplier`` scales its
layers; 1 is the paper's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from simulator.jscc.one_ratio import OneRatioCodec, snr_graph

WIDTHS = (16, 32, 32, 32)


def down(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 5, stride=stride, padding=2), nn.PReLU(outputs)]


def up(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.ConvTranspose2d(
        inputs, outputs, 5, stride=stride, padding=2, output_padding=stride - 1
    )


class DeepJsccEncoder(nn.Module):
    """(B, 3, H, W) -> (B, C, H/4, W/4)."""

    def __init__(self, c_channel: int, width_multiplier: int = 1, inputs: int = 3) -> None:
        super().__init__()
        one, two, three, four = (width_multiplier * each for each in WIDTHS)
        self.layers = nn.Sequential(
            *down(inputs, one, 2),
            *down(one, two, 2),
            *down(two, three, 1),
            *down(three, four, 1),
            *down(four, c_channel, 1),
        )

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        return self.layers(image)  # type: ignore[no-any-return]


class DeepJsccDecoder(nn.Module):
    """(B, C, h, w) -> (B, 3, 4 h, 4 w) in [0, 1]."""

    def __init__(self, c_channel: int, width_multiplier: int = 1) -> None:
        super().__init__()
        one, two, three, four = (width_multiplier * each for each in WIDTHS)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in (
            (c_channel, four, 1),
            (four, three, 1),
            (three, two, 1),
            (two, one, 2),
        ):
            layers += [up(inputs, outputs, stride), nn.PReLU(outputs)]
        self.layers = nn.Sequential(*layers, up(one, 3, 2), nn.Sigmoid())

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        return self.layers(latent)  # type: ignore[no-any-return]


class DeepJsccCodec(OneRatioCodec):
    """1/48 with ``c_channel`` = 2, 1/24 with 4, and so on."""

    name: ClassVar[str] = "deepjscc"

    def __init__(self, c_channel: int = 2, width_multiplier: int = 1) -> None:
        super().__init__(c_channel, n_downsample=2)
        self.width_multiplier = width_multiplier
        self.encoder = DeepJsccEncoder(c_channel, width_multiplier)
        self.decoder = DeepJsccDecoder(c_channel, width_multiplier)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, "width_multiplier": self.width_multiplier}

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        return snr_graph(self.encoder, {self.bandwidth_ratio: self.c_channel})
