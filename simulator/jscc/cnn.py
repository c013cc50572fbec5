"""``cnn``: the paper's convolutional codec, in the layout of the official checkpoints.

One model serves one bandwidth ratio (``c_channel`` = C_out). State-dict keys are those of
the authors' ``E.`` and ``G.`` (METHOD, "Official layouts"), so that importing is renaming.

    E  image -7x7-> ngf -n x (3x3, stride 2)-> [residual, modulation] x n_blocks_E -3x3-> C_out
    G  C_out -3x3-> [residual, modulation] x n_blocks_D -n x (transposed 3x3)-> 5x5, sigmoid
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import N_DOWNSAMPLE, channels_of, ratio_of

Channel = Literal["awgn", "rayleigh"]


class ResidualBlock(nn.Module):
    """conv, norm, ReLU, conv, norm, added to the input; no ReLU after."""

    def __init__(self, width: int, reflect: bool) -> None:
        super().__init__()
        pad = [nn.ReflectionPad2d(1)] if reflect else []
        padding = 0 if reflect else 1
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [*pad, nn.Conv2d(width, width, 3, padding=padding, bias=False)]
            layers += [nn.BatchNorm2d(width)] + ([] if last else [nn.ReLU()])
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)  # type: ignore[no-any-return]


class Modulation(nn.Module):
    """A factor and a shift per channel from the feature means and the channel state."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()

        def mlp(*tail: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(width + state, width), nn.ReLU(), nn.Linear(width, width), *tail
            )

        self.model_multi = mlp(nn.Sigmoid())
        self.model_add = mlp()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        joined = torch.cat([x.mean(dim=(2, 3)), state], dim=1)
        factor = self.model_multi(joined)[:, :, None, None]
        return x * factor + self.model_add(joined)[:, :, None, None]  # type: ignore[no-any-return]


def run_blocks(blocks: nn.ModuleList, x: Tensor, state: Tensor) -> Tensor:
    """Residual blocks and modulations in turn."""
    for residual, modulation in zip(blocks[::2], blocks[1::2], strict=True):
        x = modulation(residual(x), state)
    return x


def make_blocks(width: int, count: int, state: int, reflect: bool) -> nn.ModuleList:
    pairs = [(ResidualBlock(width, reflect), Modulation(width, state)) for _ in range(count)]
    return nn.ModuleList(module for pair in pairs for module in pair)


class CnnEncoder(nn.Module):
    def __init__(
        self, ngf: int, max_ngf: int, n_downsample: int, n_blocks: int, c_channel: int, state: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, ngf, 7, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(),
        ]
        width = ngf
        for _ in range(n_downsample):
            wider = min(2 * width, max_ngf)
            layers += [
                nn.Conv2d(width, wider, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
            ]
            width = wider
        self.net = nn.Sequential(*layers)
        self.res_list = make_blocks(width, n_blocks, state, reflect=False)
        self.projection = nn.Conv2d(width, c_channel, 3, padding=1)

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        return self.projection(run_blocks(self.res_list, self.net(image), state))  # type: ignore[no-any-return]


class CnnDecoder(nn.Module):
    def __init__(
        self, ngf: int, max_ngf: int, n_downsample: int, n_blocks: int, c_channel: int, state: int
    ) -> None:
        super().__init__()
        widths = [min(ngf * 2**level, max_ngf) for level in range(n_downsample, -1, -1)]
        self.mask_conv = nn.Conv2d(c_channel, widths[0], 3, padding=1, bias=False)
        self.res_list = make_blocks(widths[0], n_blocks, state, reflect=True)
        layers: list[nn.Module] = []
        for width, narrower in itertools.pairwise(widths):
            layers += [
                nn.ConvTranspose2d(
                    width, narrower, 3, stride=2, padding=1, output_padding=1, bias=False
                ),
                nn.BatchNorm2d(narrower),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(2), nn.Conv2d(widths[-1], 3, 5), nn.Sigmoid()]
        self.model = nn.Sequential(*layers)

    def forward(self, latent: Tensor, state: Tensor) -> Tensor:
        return self.model(run_blocks(self.res_list, self.mask_conv(latent), state))  # type: ignore[no-any-return]


class CnnGraph(nn.Module):
    """The encoder with its state joined inside, for ONNX."""

    def __init__(self, encoder: CnnEncoder, faded: bool) -> None:
        super().__init__()
        self.encoder, self.faded = encoder, faded

    def forward(self, image: Tensor, snr_db: Tensor, h: Tensor, ratio: Tensor) -> Tensor:
        state = snr_db[:, None]
        state = torch.cat([state, h], dim=1) if self.faded else state
        return self.encoder(image, state)  # type: ignore[no-any-return]


class CnnCodec(JsccCodec):
    """The paper's codec. ``channel`` says which state it sees: AWGN snr_db; Rayleigh h, too."""

    name: ClassVar[str] = "cnn"
    encoder_name: ClassVar[str] = "E"
    min_cells = 2  # reflection padding needs a neighbour

    def __init__(
        self,
        c_channel: int = 4,
        channel: Channel = "awgn",
        ngf: int = 64,
        max_ngf_e: int = 384,
        max_ngf_d: int = 384,
        n_downsample: int = 4,
        n_blocks_e: int = 4,
        n_blocks_d: int = 4,
    ) -> None:
        super().__init__()
        self._config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.channel = channel
        self.n_downsample = n_downsample
        self.bandwidth_ratio = ratio_of(c_channel, n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)
        state = 1 if channel == "awgn" else 3
        self.E = CnnEncoder(ngf, max_ngf_e, n_downsample, n_blocks_e, c_channel, state)
        self.G = CnnDecoder(ngf, max_ngf_d, n_downsample, n_blocks_d, c_channel, state)

    @classmethod
    def made_for(cls, ratio: Fraction | None, channel: str, **config: Any) -> Self:
        if ratio is not None:
            config["c_channel"] = channels_of(ratio, config.get("n_downsample", N_DOWNSAMPLE))
        return cls(channel="awgn" if channel == "awgn" else "rayleigh", **config)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        channels: int = self._config["c_channel"]
        graph = CnnGraph(self.E, self.channel == "rayleigh")
        return graph, {str(self.bandwidth_ratio): [0, channels]}

    def state(self, csi: Csi) -> Tensor:
        """(B, 1) snr_db, or (B, 3) snr_db, Re h, Im h."""
        parts = [csi.snr_db.float()]
        if self.channel == "rayleigh":
            parts += [csi.gain.real.float(), csi.gain.imag.float()]
        return torch.stack(parts, dim=1)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.E(image, self.state(csi))  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.G(latent, self.state(csi))  # type: ignore[no-any-return]
