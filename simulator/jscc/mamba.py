"""``mamba`` [17], [20]: MambaJSCC, a state space model in place of attention.

Wu, Chen, Tao, Sun, Xu, Zhang, Zhang, "MambaJSCC: Adaptive Deep Joint Source-Channel Coding with
Generalized State Space Model", 2024 (arXiv 2409.16592).

    encoder  image -2x2 patches-> 128 [2 blocks] -merge-> 192 [2] -merge-> 256 [6] -merge-> 320 [2]
             -linear-> C
    decoder  C -linear-> 320 [2 blocks] -divide-> 256 [6] -> 192 [2] -> 128 [2] -> image
    block    x + scan(norm x), then x + perceptron(norm x)
    scan     x -linear-> (x, z);  x -3x3 depthwise, SiLU-> read row by row, in both directions,
             by a selective scan each; their sum -norm-> * SiLU(z) -linear->

The SNR in dB is the first state of every scan: it costs no parameter. Under fading it is that of
the image, its gain included. In a long sequence a first state is forgotten; the authors' code puts
it into the scan again and again (``mambajscc_official``), which is not done here. The perceptron is
as wide as the block, as in their code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError
from simulator.jscc.one_ratio import OneRatioCodec
from simulator.jscc.selective_scan import selective_scan
from simulator.jscc.swin_blocks import PatchDivision, PatchMerging

DIRECTIONS = 2
EXPANSION = 2  # channels of a scan to those of its block
STEPS = (0.001, 0.1)  # the smallest and the largest step of time at the start


class Scan(nn.Module):
    """(B, H, W, C), SNR (B,) in dB -> (B, H, W, C): selective scans over the cells, row by row and
    back; with four ``directions`` column by column and back, too."""

    def __init__(self, width: int, states: int, directions: int = DIRECTIONS) -> None:
        super().__init__()
        inner, rank = EXPANSION * width, math.ceil(width / 16)
        self.states, self.rank, self.directions = states, rank, directions
        self.inputs = nn.Linear(width, 2 * inner, bias=False)
        self.local = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        bound = inner**-0.5
        self.project = nn.Parameter(
            torch.empty(directions, inner, rank + 2 * states).uniform_(-bound, bound)
        )
        bound = rank**-0.5
        self.step = nn.Parameter(torch.empty(directions, rank, inner).uniform_(-bound, bound))
        low, high = map(math.log, STEPS)
        first = torch.empty(directions, inner).uniform_(low, high).exp()
        self.step_bias = nn.Parameter(first + (-torch.expm1(-first)).log())  # before softplus
        rates = torch.arange(1, states + 1).float().log()
        self.log_rates = nn.Parameter(rates.expand(directions, inner, states).clone())
        self.through = nn.Parameter(torch.ones(directions, inner))
        self.norm = nn.LayerNorm(inner)
        self.outputs = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        x, z = self.inputs(x).chunk(2, dim=-1)
        x = self.act(self.local(x.permute(0, 3, 1, 2)))
        y = self._merged(self._scanned(self._sequences(x), snr_db), x.shape)
        return self.outputs(self.norm(y) * self.act(z))  # type: ignore[no-any-return]

    def act(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def _sequences(self, x: Tensor) -> Tensor:
        """(B, D, H, W) -> (L, K, B, D), those that go back in the second half of K."""
        ways = [x, x.transpose(2, 3)][: self.directions // 2]
        ahead = torch.stack([way.flatten(2).permute(2, 0, 1) for way in ways], dim=1)
        return torch.cat([ahead, ahead.flip(0)], dim=1)

    def _merged(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        """The sum of all sequences, (B, H, W, D), of maps of ``shape`` (B, D, H, W)."""
        batch, inner, height, width = shape
        ahead, back = y.chunk(2, dim=1)
        both = (ahead + back.flip(0)).permute(1, 2, 0, 3)  # (K / 2, B, L, D)
        merged = both[0].reshape(batch, height, width, inner)
        if self.directions == 4:
            merged = merged + both[1].reshape(batch, width, height, inner).transpose(1, 2)
        return merged

    def _scanned(self, u: Tensor, snr_db: Tensor) -> Tensor:
        """(L, K, B, D) -> the same, each direction by weights of its own."""
        length, _, batch, inner = u.shape
        sizes = [self.rank, self.states, self.states]
        low, b, c = torch.split(torch.einsum("lkbd,kdr->lkbr", u, self.project), sizes, dim=-1)
        step = torch.einsum("lkbr,krd->lkbd", low, self.step) + self.step_bias[:, None]
        a = -self.log_rates.float().exp()
        groups = self.directions * batch
        y = self._scan(
            u.float().reshape(length, groups, inner),
            F.softplus(step.float()).reshape(length, groups, inner),
            a[:, None].expand(-1, batch, -1, -1).reshape(groups, inner, self.states),
            b.float().reshape(length, groups, self.states),
            c.float().reshape(length, groups, self.states),
            snr_db.float().repeat(self.directions),
        )
        return y.reshape(u.shape) + u * self.through[:, None]

    def _scan(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, snr_db: Tensor
    ) -> Tensor:
        """``selective_scan`` with its first state."""
        return selective_scan(u, delta, a, b, c, snr_db)


class ScanBlock(nn.Module):
    """A scan and a perceptron, each on normalised input and added to it."""

    def __init__(self, width: int, scan: Scan) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.scan = scan
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        x = x + self.scan(self.norm1(x), snr_db)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Layers:
    """Of both halves. ``c_channel``: maps that are sent; ``widths``, ``depths``: of the stages;
    ``block``: makes one of a width."""

    c_channel: int
    widths: Sequence[int]
    depths: Sequence[int]
    block: Callable[[int], ScanBlock]


def modulated(x: Tensor, snr: Tensor, modnet: nn.Module | None) -> Tensor:
    """Of (B, h, w, C), by a network that is given the SNR in dB, where there is one."""
    return x if modnet is None else modnet(x, 10 * snr)


class Pyramid(nn.Module):
    """Blocks, which are given the SNR, and what changes the size of the map between them."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(modules)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x, snr_db) if isinstance(stage, ScanBlock) else stage(x)
        return x


class MambaEncoder(nn.Module):
    """(B, 3, H, W), SNR (B,) in tens of dB -> (B, C, H/2^D, W/2^D)."""

    def __init__(self, layers: Layers, modnet: nn.Module | None = None) -> None:
        super().__init__()
        widths = layers.widths
        self.patches = nn.Conv2d(3, widths[0], 2, stride=2)
        self.norm = nn.LayerNorm(widths[0])
        modules: list[nn.Module] = []
        for i, (width, depth) in enumerate(zip(widths, layers.depths, strict=True)):
            modules += [PatchMerging(widths[i - 1], width)] if i else []
            modules += [layers.block(width) for _ in range(depth)]
        self.pyramid = Pyramid(modules)
        self.modnet = modnet
        self.head = nn.Linear(widths[-1], layers.c_channel)

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        return self.head(self.features(image, snr)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def features(self, image: Tensor, snr: Tensor) -> Tensor:
        """(B, h, w, widths[-1])."""
        x = self.norm(self.patches(image).permute(0, 2, 3, 1))
        return modulated(self.pyramid(x, 10 * snr), snr, self.modnet)


class MambaDecoder(nn.Module):
    """(B, C, h, w), SNR (B,) in tens of dB -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, layers: Layers, modnet: nn.Module | None = None) -> None:
        super().__init__()
        widths = layers.widths
        self.head = nn.Linear(layers.c_channel, widths[-1])
        self.modnet = modnet
        modules: list[nn.Module] = []
        for i in reversed(range(len(widths))):
            modules += [layers.block(widths[i]) for _ in range(layers.depths[i])]
            modules += [PatchDivision(widths[i], widths[i - 1] if i else 3)]
        self.pyramid = Pyramid(modules)

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        return self.made(latent, snr) * 0.5 + 0.5

    def made(self, latent: Tensor, snr: Tensor) -> Tensor:
        """As the last layer makes it."""
        x = self.pyramid(self.features(latent, snr), 10 * snr)
        return x.permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def features(self, latent: Tensor, snr: Tensor) -> Tensor:
        """(B, h, w, widths[-1])."""
        return modulated(self.head(latent.permute(0, 2, 3, 1)), snr, self.modnet)


def check_sizes(codec: str, widths: Sequence[int], depths: Sequence[int], states: int) -> None:
    """Raises ``ModelError`` where no network has these sizes."""
    if not len(widths) == len(depths) > 0:
        raise ModelError(f"codec {codec!r} needs a width and a depth for every stage.")
    if min(*widths, *depths, states) < 1:
        raise ModelError(f"the widths, depths and states of codec {codec!r} are at least 1.")


class MambaCodec(OneRatioCodec):
    """The authors' sizes unless others are given; one number a stage in each. ``states``: of each
    channel of a scan."""

    name: ClassVar[str] = "mamba"

    def __init__(
        self,
        c_channel: int = 32,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        states: int = 16,
    ) -> None:
        check_sizes(self.name, widths, depths, states)
        super().__init__(c_channel, n_downsample=len(widths))
        self._sizes = {"widths": list(widths), "depths": list(depths), "states": states}

        def block(width: int) -> ScanBlock:
            return ScanBlock(width, Scan(width, states))

        layers = Layers(c_channel, widths, depths, block)
        self.encoder, self.decoder = MambaEncoder(layers), MambaDecoder(layers)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, **self._sizes}
