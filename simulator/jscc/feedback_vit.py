"""``feedback-vit`` [13]: one transformer sends all blocks, and hears what came of those before.

Wu, Shao, Ozfatura, Mikolajczyk, Gunduz, "Transformer-Aided Wireless Image Transmission with Channel
Feedback", IEEE TWC 2024 (arXiv 2306.09101).

    tokens         [4x4 pixels, received symbols of all blocks before (0 where none yet), SNR]
    encoder        tokens -linear, GELU, norm-> 8 layers -norm, linear-> C values a token and block
    decoder, once  [received symbols of all m blocks, SNR] -the same-> 4x4 pixels a token

A block of the paper is a round here. A layer has 8 heads, is 256 wide, and its perceptron is 1024
wide. Every block has power 1, and only the last image counts in training. The authors' code sends
48/m real values a token and block, which is a bandwidth ratio of 1/2: 24 complex symbols for the 48
samples of a token (``--cbr 1/2``; their comments count real values). The default here is 1/24, two
blocks of 2 values, as with ``deepjscc-f``.

The paper's images are 32x32 pixels, 8x8 tokens that all see each other. Attention is quadratic in
the tokens, so that a larger image has it within windows of 8x8 tokens, in every second layer
shifted by half a window, which is what the authors advise for large ones: Swin blocks. With these
come a bias for each relative position in place of a vector for each of 64 places, and norms in
front of a layer's parts instead of behind them. An image of 32x32 pixels is one window, unshifted.
In the authors' code neither end knows the SNR; here both do, so that one model has a range of them.
Under fading it is that of the image, its gain included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError
from simulator.jscc.csi import Csi
from simulator.jscc.in_rounds import RoundsCodec
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.swin import start
from simulator.jscc.swin_blocks import swin_blocks

SIDE = 4  # of a token, in pixels
SAMPLES = 3 * SIDE**2  # of a token


@dataclass(frozen=True)
class TransformerSizes:
    """``window``: its side, in tokens."""

    width: int
    layers: int
    heads: int
    window: int


class Transformer(nn.Module):
    """(B, I, h, w), SNR (B,) in tens of dB -> (B, O, h, w); a token is a place of the map."""

    def __init__(self, inputs: int, outputs: int, sizes: TransformerSizes) -> None:
        super().__init__()
        width = sizes.width
        self.embed = nn.Sequential(nn.Linear(inputs + 1, width), nn.GELU(), nn.LayerNorm(width))
        self.layers = swin_blocks(width, sizes.layers, sizes.heads, sizes.window)
        self.layers.apply(start)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, maps: Tensor, snr: Tensor) -> Tensor:
        state = snr[:, None, None, None].expand(-1, 1, *maps.shape[-2:])
        tokens = torch.cat([maps, state], dim=1).permute(0, 2, 3, 1)
        return self.head(self.layers(self.embed(tokens))).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class FeedbackVitCodec(RoundsCodec):
    """``width``, ``layers``, ``heads`` and ``window``, its side in tokens: of both transformers."""

    name: ClassVar[str] = "feedback-vit"

    def __init__(
        self,
        c_channel: int = 2,
        rounds: int = 2,
        width: int = 256,
        layers: int = 8,
        heads: int = 8,
        window: int = 8,
    ) -> None:
        super().__init__(c_channel, rounds)
        if min(width, layers, heads, window) < 1 or width % heads:
            raise ModelError(
                f"{self.name}: {layers} layers of width {width}, {heads} heads and a window of "
                f"{window} tokens; give 1 or more of each, and a width that is a multiple of the "
                f"heads."
            )
        self._sizes = TransformerSizes(width, layers, heads, window)
        self.encoder = Transformer(SAMPLES + (rounds - 1) * c_channel, c_channel, self._sizes)
        self.decoder = Transformer(rounds * c_channel, SAMPLES, self._sizes)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, "rounds": self.rounds, **asdict(self._sizes)}

    def sent_after(self, image: Tensor, heard: Sequence[Tensor], snr: Tensor) -> Tensor:
        pixels = F.pixel_unshuffle(image, SIDE)
        missing = (self.rounds - 1 - len(heard)) * self.c_channel
        nothing = pixels.new_zeros(len(pixels), missing, *pixels.shape[-2:])
        return self.encoder(torch.cat([pixels, *heard, nothing], dim=1), snr)  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        pixels = self.decoder(latent, received_snr(csi))
        return F.pixel_shuffle(pixels, SIDE) * 0.5 + 0.5
