"""``deepjscc-l``: successive refinement. L layers of symbols, each of unit power; whoever has the
first l of them has an image, and each further layer makes it better.

Kurka, Gunduz, "Bandwidth-Agile Image Transmission with Deep Joint Source-Channel Coding", IEEE TWC
2021: one encoder makes all layers, and there is a decoder for each number of them. The layers here
are equal, and their encoder and decoders those of ``deepjscc``.

A frame at the ratio of l layers carries the first l. They are the same symbols whatever follows
them: a layer is normalised on its own, and has its symbols in a row.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.deepjscc import DeepJsccDecoder, DeepJsccEncoder
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import Layout, ratio_of
from simulator.phy.power import normalize_power

MAX_LAYERS = 16


def paired(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C/2 h w) complex: maps 2 i and 2 i + 1 are the parts of one."""
    return torch.complex(maps[:, 0::2], maps[:, 1::2]).flatten(1)


def unpaired(symbols: Tensor, layout: Layout) -> Tensor:
    """The inverse of ``paired``."""
    grid = symbols.reshape(-1, layout.channels // 2, layout.height, layout.width)
    return torch.stack([grid.real, grid.imag], dim=2).flatten(1, 2)


class LayeredCodec(JsccCodec):
    """``c_channel``: maps of one layer, 2 for 1/48; ``layers``: L; ``width_multiplier``: as of
    ``deepjscc``."""

    name: ClassVar[str] = "deepjscc-l"
    partly = True  # the decoders of other numbers of layers
    n_downsample = 2

    def __init__(self, c_channel: int = 2, layers: int = 2, width_multiplier: int = 1) -> None:
        super().__init__()
        if c_channel < 2 or c_channel % 2 or not 1 <= layers <= MAX_LAYERS:
            raise ModelError(
                f"deepjscc-l: {layers} layers of {c_channel} maps; give 1 to {MAX_LAYERS} layers "
                f"of an even number of maps."
            )
        self.c_channel, self.layers, self.width_multiplier = c_channel, layers, width_multiplier
        self.bandwidth_ratios = tuple(
            ratio_of(count * c_channel, self.n_downsample) for count in range(1, layers + 1)
        )
        self.bandwidth_ratio = self.bandwidth_ratios[-1]
        self.encoder = DeepJsccEncoder(layers * c_channel, width_multiplier)
        self.decoders = nn.ModuleList(
            DeepJsccDecoder(count * c_channel, width_multiplier) for count in range(1, layers + 1)
        )

    @property
    def config(self) -> dict[str, Any]:
        return {
            "c_channel": self.c_channel,
            "layers": self.layers,
            "width_multiplier": self.width_multiplier,
        }

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoder(image, received_snr(csi))[:, :channels]  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        decoder = self.decoders[latent.shape[1] // self.c_channel - 1]
        return decoder(latent, received_snr(csi))  # type: ignore[no-any-return]

    def pack(self, maps: Tensor) -> Tensor:
        """Each layer of mean power 1."""
        each = torch.split(maps, self.c_channel, dim=1)
        return torch.cat([normalize_power(paired(layer)) for layer in each], dim=1)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        return unpaired(symbols, layout)
