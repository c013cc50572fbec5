"""The networks of ``ntscc``, on maps with channels last but for the two ends.

transmitter  image -transform-> y -hyperprior-> bits of each cell
             y + token of the rate -blocks-> a linear layer for each rate -> values of each cell
receiver     a linear layer for each rate -> + token -blocks-> y -transform-> image
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.jscc.swin_blocks import SwinSizes, swin_blocks

SHRINK = 4  # times that the hyperprior is smaller than the latent
SMALLEST_SCALE = 0.11  # of a Gaussian; a narrower one has no gradient between whole numbers
SMALLEST_P = 1e-9


@dataclass(frozen=True)
class Sizes:
    """``transform``: of both transforms; ``jscc_depth``: blocks of JSCC encoder and decoder;
    ``hyper``: maps of the hyperprior; ``rates``: values of a cell at each rate."""

    transform: SwinSizes
    jscc_depth: int
    hyper: int
    rates: Sequence[int]

    @property
    def width(self) -> int:
        """Of y."""
        return self.transform.widths[-1]

    def jscc_blocks(self) -> nn.Sequential:
        heads, window = self.transform.heads[-1], self.transform.window
        return swin_blocks(self.width, self.jscc_depth, heads, window)


class Analysis(nn.Module):
    """(B, 3, H, W) -> (B, H/2^D, W/2^D, widths[-1])."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.patches = nn.Conv2d(3, sizes.widths[0], 2, stride=2)
        self.stages = nn.Sequential(*sizes.down())
        self.out = nn.Linear(width, width)  # y is of any size: its bits count

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.stages(self.patches(image).permute(0, 2, 3, 1)))  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """(B, h, w, widths[-1]) -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        self.stages = nn.Sequential(*sizes.up())

    def forward(self, y: Tensor) -> Tensor:
        return self.stages(y).permute(0, 3, 1, 2) * 0.5 + 0.5  # type: ignore[no-any-return]


class Hyperprior(nn.Module):
    """Bits of each cell of y: Gaussian, with means and scales that z says; z is logistic.

    Balle, Minnen, Singh, Hwang, Johnston, "Variational Image Compression with a Scale Hyperprior",
    ICLR 2018; their learned density of z is one logistic for each of its maps here.
    """

    def __init__(self, width: int, hyper: int) -> None:
        super().__init__()
        self.down = shrinking(width, hyper)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(hyper, hyper, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(hyper, hyper, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(hyper, 2 * width, 3, padding=1),
        )
        self.middle = nn.Parameter(torch.zeros(hyper, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(hyper, 1, 1))

    def forward(self, y: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) -> bits of each cell (B, h, w), and of z (B,). ``generator``: adds noise
        instead of rounding, so that there is a gradient."""
        maps = y.permute(0, 3, 1, 2)
        height, width = maps.shape[-2:]
        whole = F.pad(maps, (0, -width % SHRINK, 0, -height % SHRINK), mode="replicate")
        z = quantised(self.down(whole), generator)
        mean, scale = self.up(z)[..., :height, :width].chunk(2, dim=1)
        scale = F.softplus(scale) + SMALLEST_SCALE
        away = (quantised(maps, generator) - mean).abs()  # the far tail is where precision is left
        p = normal((0.5 - away) / scale) - normal((-0.5 - away) / scale)
        away_z = (z - self.middle).abs()
        scale_z = self.log_scale.exp()
        p_z = ((0.5 - away_z) / scale_z).sigmoid() - ((-0.5 - away_z) / scale_z).sigmoid()
        return bits(p).sum(dim=1), bits(p_z).sum(dim=(1, 2, 3))


def shrinking(width: int, hyper: int) -> nn.Sequential:
    """y -> z, ``SHRINK`` times smaller."""
    return nn.Sequential(
        nn.Conv2d(width, hyper, 3, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(hyper, hyper, 5, stride=2, padding=2),
        nn.LeakyReLU(),
        nn.Conv2d(hyper, hyper, 5, stride=2, padding=2),
    )


class JsccEncoder(nn.Module):
    """A linear layer for each rate: all are computed for all cells, and each cell takes the values
    of its own. Together they cost as much as one block, and shapes do not depend on the image."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.most = max(sizes.rates)
        self.token = nn.Embedding(len(sizes.rates), width)
        self.state = nn.Linear(1, width)
        self.blocks = sizes.jscc_blocks()
        self.layers = nn.ModuleList(nn.Linear(width, rate) for rate in sizes.rates if rate)
        self.silent = len(sizes.rates) - len(self.layers)  # rates without values, 0 or 1

    def forward(self, y: Tensor, numbers: Tensor, snr: Tensor) -> Tensor:
        """(B, h, w, C), (B, h, w) number of each cell's rate, (B,) -> (B, h, w, most); zeros
        behind the values of a cell."""
        x: Tensor = self.blocks(y + self.token(numbers) + told(self.state, snr))
        made = x.new_zeros(*x.shape[:-1], self.most)
        for number, layer in enumerate(self.layers, self.silent):
            values = layer(x)
            values = F.pad(values, (0, self.most - values.shape[-1]))
            made = torch.where((numbers == number)[..., None], values, made)
        return made


class JsccDecoder(nn.Module):
    """The mirror of ``JsccEncoder``."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.layers = nn.ModuleList(nn.Linear(rate, width) for rate in sizes.rates if rate)
        self.silent = len(sizes.rates) - len(self.layers)
        self.token = nn.Embedding(len(sizes.rates), width)
        self.state = nn.Linear(1, width)
        self.blocks = sizes.jscc_blocks()
        self.out = nn.Linear(width, width)

    def forward(self, values: Tensor, numbers: Tensor, snr: Tensor) -> Tensor:
        """(B, h, w, most), (B, h, w), (B,) -> (B, h, w, C)."""
        x = self.token(numbers) + told(self.state, snr)
        for number, layer in enumerate(self.layers, self.silent):
            seen = layer(values[..., : layer.in_features])
            x = x + seen * (numbers == number)[..., None]
        return self.out(self.blocks(x))  # type: ignore[no-any-return]


class Transmitter(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.analysis = Analysis(sizes.transform)
        self.prior = Hyperprior(sizes.width, sizes.hyper)
        self.jscc = JsccEncoder(sizes)


class Receiver(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.jscc = JsccDecoder(sizes)
        self.synthesis = Synthesis(sizes.transform)


def told(layer: nn.Module, snr: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, C)."""
    return layer(snr[:, None])[:, None, None]  # type: ignore[no-any-return]


def normal(x: Tensor) -> Tensor:
    """The distribution function of a Gaussian."""
    below: Tensor = torch.special.erfc(-x / math.sqrt(2))
    return below / 2


def bits(p: Tensor) -> Tensor:
    return -p.clamp_min(SMALLEST_P).log2()


def quantised(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Whole numbers, or as if, by uniform noise of the same width. ``generator``: on the CPU."""
    if generator is None:
        return x.round()
    return x + torch.rand(x.shape, generator=generator).to(x.device) - 0.5
