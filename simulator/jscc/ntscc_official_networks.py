"""The networks of ``ntscc-official``, on maps with channels last but for the two ends.

transmitter  image -2x2 patches, norm-> [blocks] -merge, blocks-> x (stages - 1) -norm-> y
             y -convolutions-> z, rounded -transposed convolutions-> Gaussian of y -> likelihoods
             y + perceptron(1 - likelihoods, y) + token of the rate -blocks, norm-> a linear layer
             for each rate -> values of each cell
receiver     a linear layer for each rate -> + token -blocks-> y
             -> [blocks, shuffle, norm, linear] x stages -3x3-> image

Their training saw 16x16 cells of y, which one window of that side covers: blocks with one are not
shifted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.jscc.ntscc_networks import SHRINK, shrinking
from simulator.jscc.swin_blocks import SwinBlock, SwinSizes
from simulator.jscc.swin_official import merging_stages, stage

SMALLEST = 1e-10  # scale of a Gaussian, and likelihood
TRAINED_CELLS = 16  # a side of y


@dataclass(frozen=True)
class Sizes:
    """``sent`` and ``heard``: of the blocks of JSCC encoder and decoder; ``hyper``: maps of z;
    ``rising``: maps between z and the parameters of y; ``rates``: values of a cell at each."""

    analysis: SwinSizes
    synthesis: SwinSizes
    sent: SwinSizes
    heard: SwinSizes
    hyper: int
    rising: Sequence[int]
    rates: Sequence[int]

    @property
    def width(self) -> int:
        """Of y."""
        return self.analysis.widths[-1]


class Analysis(nn.Module):
    """(B, 3, H, W) -> (B, H/2^D, W/2^D, widths[-1])."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, sizes.widths[0], 2, stride=2)
        self.first = nn.LayerNorm(sizes.widths[0])
        self.stages = merging_stages(sizes)
        self.norm = nn.LayerNorm(sizes.widths[-1])

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.patches(image).permute(0, 2, 3, 1))
        return self.norm(self.stages(x))  # type: ignore[no-any-return]


class ShuffleDivision(nn.Module):
    """(B, H, W, C) -> (B, 2 H, 2 W, C'): a quarter of the maps at each of four cells."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs // 4)
        self.increment = nn.Linear(inputs // 4, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.pixel_shuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        return self.increment(self.norm(maps))  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """(B, h, w, widths[0]) -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        outputs = [*sizes.widths[1:], sizes.widths[-1]]
        self.stages = nn.Sequential(
            *(
                stage(blocks=sizes.blocks(i), divide=ShuffleDivision(width, outputs[i]))
                for i, width in enumerate(sizes.widths)
            )
        )
        self.out = nn.Conv2d(sizes.widths[-1], 3, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        return self.out(self.stages(y).permute(0, 3, 1, 2))  # type: ignore[no-any-return]


class Hyperprior(nn.Module):
    """Likelihood of each value of y; z is not sent."""

    def __init__(self, width: int, hyper: int, rising: Sequence[int]) -> None:
        super().__init__()
        self.down = shrinking(width, hyper)
        first, second = rising
        self.up = nn.Sequential(
            nn.ConvTranspose2d(hyper, first, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(first, second, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(second, 2 * width, 3, padding=1),
        )
        self.medians = nn.Parameter(torch.zeros(hyper, 1, 1))

    def likelihoods(self, y: Tensor) -> Tensor:
        """(B, h, w, C) -> the same."""
        maps = y.permute(0, 3, 1, 2).float()
        height, width = maps.shape[-2:]
        whole = F.pad(maps, (0, -width % SHRINK, 0, -height % SHRINK), mode="replicate")
        z = (self.down(whole) - self.medians).round() + self.medians
        scale, mean = self.up(z)[..., :height, :width].chunk(2, dim=1)
        scale = scale.clamp_min(SMALLEST)
        p = below((maps + 0.5 - mean) / scale) - below((maps - 0.5 - mean) / scale)
        return p.clamp_min(SMALLEST).permute(0, 2, 3, 1)

    def forward(self, y: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Bits of each cell of y (B, h, w); none of z, which stays here."""
        bits = (-self.likelihoods(y).log2()).clamp_min(0).sum(dim=-1)
        return bits, bits.new_zeros(len(bits))


class JsccEncoder(nn.Module):
    """(B, h, w, C) y, its likelihoods, (B, h, w) number of each cell's rate -> (B, h, w, most);
    zeros behind the values of a cell."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, count, most = sizes.width, len(sizes.rates), max(sizes.rates)
        self.rates = tuple(sizes.rates)
        self.refine = nn.Sequential(
            nn.Linear(2 * width, 8 * width), nn.GELU(), nn.Linear(8 * width, width)
        )
        self.token = nn.Parameter(torch.zeros(count, width))
        self.stages = jscc_blocks(sizes.sent)
        self.norm = nn.LayerNorm(width)
        self.weight = nn.Parameter(torch.zeros(count, width, most))
        self.bias = nn.Parameter(torch.zeros(count, most))

    def forward(self, y: Tensor, likelihoods: Tensor, numbers: Tensor) -> Tensor:
        x = y + self.refine(torch.cat([1 - likelihoods, y], dim=-1)) + self.token[numbers]
        x = self.norm(self.stages(x))
        made: Tensor = x.new_zeros(*x.shape[:-1], self.weight.shape[-1])
        for number, rate in enumerate(self.rates):
            own = numbers == number
            values = x[own] @ self.weight[number] + self.bias[number]
            made[own] = F.pad(values[:, :rate], (0, made.shape[-1] - rate))
        return made


class JsccDecoder(nn.Module):
    """(B, h, w, most), (B, h, w) -> (B, h, w, C)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, count, most = sizes.width, len(sizes.rates), max(sizes.rates)
        self.weight = nn.Parameter(torch.zeros(count, most, width))
        self.bias = nn.Parameter(torch.zeros(count, width))
        self.token = nn.Parameter(torch.zeros(count, width))
        self.stages = jscc_blocks(sizes.heard)

    def forward(self, values: Tensor, numbers: Tensor) -> Tensor:
        x = self.token[numbers] + self.bias[numbers]
        for number, weight in enumerate(self.weight):
            own = numbers == number
            x[own] = x[own] + values[own] @ weight
        return self.stages(x)  # type: ignore[no-any-return]


def below(x: Tensor) -> Tensor:
    """The distribution function of a Gaussian as theirs computes it: what is lost of it in the
    tails makes a value cost more bits, up to ``SMALLEST``."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def jscc_blocks(sizes: SwinSizes) -> nn.Sequential:
    stages = nn.Sequential(*(stage(blocks=sizes.blocks(i)) for i in range(len(sizes.depths))))
    if sizes.window >= TRAINED_CELLS:
        for block in blocks_of(stages):
            block.shift = 0
    return stages


def blocks_of(network: nn.Module) -> list[SwinBlock]:
    return [module for module in network.modules() if isinstance(module, SwinBlock)]


class Transmitter(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.analysis = Analysis(sizes.analysis)
        self.prior = Hyperprior(sizes.width, sizes.hyper, sizes.rising)
        self.jscc = JsccEncoder(sizes)
        as_theirs(self)


class Receiver(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.jscc = JsccDecoder(sizes)
        self.synthesis = Synthesis(sizes.synthesis)
        as_theirs(self)


def as_theirs(network: nn.Module) -> None:
    for block in blocks_of(network):
        block.lone_shift = block.sees_padding = True
