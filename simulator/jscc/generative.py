"""``generative``: GenerativeJSCC [35], a pretrained generator inside the decoder.

Erdemir, Tung, Dragotti, Gunduz, "Generative Joint Source-Channel Coding for Semantic Image
Transmission", IEEE JSAC 41(8), 2023 (arXiv 2211.13772).

    encoder  image -s2-> -s2-> -s2-> [residual block] x B -> C maps -> symbols
    decoder  C maps -> [residual block] x B -> latent -frozen generator-> image

Encoder and the network in front of the generator are trained together, through the generator, by
squared error and LPIPS: ``train codec --lpips``. The blocks are those of ``padc``, which see the
SNR. The paper's generator is StyleGAN-2, which makes faces; here it is the decoder of a model's
autoencoder, which makes any image, so that it restrains less what can come out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.adjscc import Layer, conv, transposed
from simulator.jscc.generator import Generator
from simulator.jscc.one_ratio import OneRatioCodec, snr_graph
from simulator.jscc.padc import ResidualBlock, run


class GenerativeEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) -> (B, C, H/2^D, W/2^D)."""

    def __init__(self, c_channel: int, width: int, blocks: int, halvings: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                *(
                    Layer(conv(width if i else 3, width, 5, 2), width, False)
                    for i in range(halvings)
                ),
                *(ResidualBlock(width, inverse=False) for _ in range(blocks)),
            ]
        )
        self.last = conv(width, c_channel, 3)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        return self.last(run(self.layers, image, snr))  # type: ignore[no-any-return]


class GenerativeDecoder(nn.Module):
    """(B, C, h, w), SNR (B,) -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, c_channel: int, width: int, blocks: int, generator: Generator) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                Layer(transposed(c_channel, width, 3), width, inverse=True),
                *(ResidualBlock(width, inverse=True) for _ in range(blocks)),
            ]
        )
        self.last = conv(width, generator.channels, 3)
        self.generator = generator

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        return self.generator(self.last(run(self.layers, latent, snr)))  # type: ignore[no-any-return]


class GenerativeCodec(OneRatioCodec):
    """1/48 with ``c_channel`` = 8 and a generator of f = 8, 1/96 with 4, and so on.

    ``generator``: the model whose autoencoder it is taken from, with its weights; or its sizes
    alone, as a codec folder has them beside the weights.
    """

    name: ClassVar[str] = "generative"

    def __init__(
        self,
        c_channel: int = 8,
        width: int = 128,
        blocks: int = 2,
        generator: str | dict[str, Any] = "compact",
    ) -> None:
        if width < 1 or blocks < 0:
            raise ModelError(f"generative: {blocks} blocks of width {width} cannot be.")
        if isinstance(generator, str):
            made = Generator.of_model(generator)
        else:
            made = Generator(dict(generator))
        super().__init__(c_channel, made.n_downsample)
        self.width, self.blocks, self.sizes = width, blocks, made.sizes
        self.encoder = GenerativeEncoder(c_channel, width, blocks, made.n_downsample)
        self.decoder = GenerativeDecoder(c_channel, width, blocks, made)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "c_channel": self.c_channel,
            "width": self.width,
            "blocks": self.blocks,
            "generator": self.sizes,
        }

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        return snr_graph(self.encoder, {self.bandwidth_ratio: self.c_channel})
