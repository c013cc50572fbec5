"""``padc`` [25]: one network for every SNR and any number of maps, for a target quality.

Zhang, Zhang, Liu, Wang, Zhang, "Predictive and Adaptive Deep Coding for Wireless Image Transmission
in Semantic Communication", IEEE TIP 2023.

    encoder  image -s2-> -s2-> [residual block] x B -> ``maps`` maps, of which the first C are sent
    decoder  C maps, zeros for the others -> [residual block] x B -s2-> -s2-> sigmoid -> image

Each block is a residual one of two 3x3 convolutions, with normalisation (GDN), PReLU and an
attention feature module (``simulator.jscc.attention_feature``), which sees the SNR. Training draws
the ratio of each step, so that the maps order themselves by what they are worth. Which ratio an
image needs for a target PSNR is the business of OraNet: ``train oranet``, ``--target-psnr``
(``simulator.jscc.oranet``). The paper is 256 wide, with 48 maps and any ratio; here the ratios are
``steps`` equal parts of the maps.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError
from simulator.jscc.adjscc import Layer, conv, transposed
from simulator.jscc.attention_feature import AttentionFeature
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.gdn import Gdn
from simulator.jscc.one_ratio import received_snr, snr_graph
from simulator.jscc.rates import ratio_of


class ResidualBlock(nn.Module):
    """(B, C, H, W), SNR (B, 1) -> the same; starts as nothing."""

    def __init__(self, width: int, inverse: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(width, width, 3), Gdn(width, inverse), nn.PReLU(width), conv(width, width, 3)
        )
        self.attention = AttentionFeature(width)
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        return x + self.attention(self.layers(x), snr)  # type: ignore[no-any-return]


def run(layers: nn.ModuleList, x: Tensor, snr: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x, snr[:, None])
    return x


class PadcEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) -> (B, maps, H/4, W/4)."""

    def __init__(self, maps: int, width: int, blocks: int) -> None:
        super().__init__()
        down = [conv(3, width, 5, 2), conv(width, width, 5, 2)]
        self.layers = nn.ModuleList(
            [
                *(Layer(each, width, inverse=False) for each in down),
                *(ResidualBlock(width, inverse=False) for _ in range(blocks)),
            ]
        )
        self.last = conv(width, maps, 5)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        return self.last(run(self.layers, image, snr))  # type: ignore[no-any-return]


class PadcDecoder(nn.Module):
    """(B, maps, h, w), SNR (B,) -> (B, 3, 4 h, 4 w) in [0, 1]."""

    def __init__(self, maps: int, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                Layer(transposed(maps, width, 5), width, inverse=True),
                *(ResidualBlock(width, inverse=True) for _ in range(blocks)),
                Layer(transposed(width, width, 5, 2), width, inverse=True),
            ]
        )
        self.last = transposed(width, 3, 5, 2)

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        return self.last(run(self.layers, latent, snr)).sigmoid()  # type: ignore[no-any-return]


class PadcCodec(JsccCodec):
    """``maps``: of the whole latent, 48 in the paper; ``steps``: how many ratios there are."""

    name: ClassVar[str] = "padc"
    n_downsample = 2

    def __init__(self, maps: int = 48, steps: int = 24, width: int = 256, blocks: int = 2) -> None:
        super().__init__()
        if steps < 1 or maps % (2 * steps) or width < 1 or blocks < 0:
            raise ModelError(
                f"padc: {steps} ratios of {maps} maps, {blocks} blocks of width {width}; the maps "
                f"have to be a multiple of twice the ratios."
            )
        self._config = {"maps": maps, "steps": steps, "width": width, "blocks": blocks}
        self.n_maps = maps
        part = maps // steps
        self.bandwidth_ratios = tuple(
            ratio_of(part * count, self.n_downsample) for count in range(1, steps + 1)
        )
        self.bandwidth_ratio = self.bandwidth_ratios[0]
        self.encoder = PadcEncoder(maps, width, blocks)
        self.decoder = PadcDecoder(maps, width, blocks)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        part = self.n_maps // len(self.bandwidth_ratios)
        counts = {ratio: part * (i + 1) for i, ratio in enumerate(self.bandwidth_ratios)}
        return snr_graph(self.encoder, counts)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoder(image, received_snr(csi))[:, :channels]  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        maps = F.pad(latent, (0, 0, 0, 0, 0, self.n_maps - latent.shape[1]))
        return self.decoder(maps, received_snr(csi))  # type: ignore[no-any-return]
