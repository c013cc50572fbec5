"""NTSCC without z in its authors' names and order of operations, written for these tests.

For images whose maps are whole windows in every stage.
"""

from __future__ import annotations

from typing import Any

import torch
from official_swin import Layer, Merging
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F


class Division(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.increment = nn.Linear(dim // 4, out, bias=False)
        self.norm = nn.LayerNorm(dim // 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.PixelShuffle(2)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.increment(self.norm(x))


class Analysis(nn.Module):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        dims = p["dims"]
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dims[0], 2, 2)
        self.patch_embed.norm = nn.LayerNorm(dims[0])
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths"][i], p["heads"], p["window"],
                **({"downsample": Merging(dims[i - 1], dim)} if i else {}),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dims[-1])

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed.norm(self.patch_embed.proj(image).permute(0, 2, 3, 1))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).permute(0, 3, 1, 2)


class Synthesis(nn.Module):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        dims = p["dims"][::-1]
        outs = [*dims[1:], dims[-1]]
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths"][::-1][i], p["heads"], p["window"],
                upsample=Division(dim, outs[i]),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        self.outconv = nn.Conv2d(dims[-1], 3, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        x = y.permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x)
        return self.outconv(x.permute(0, 3, 1, 2))


def blocks(dim: int, p: dict[str, Any]) -> nn.ModuleList:
    """Without a shift: their windows cover the maps of the training."""
    layer = Layer(dim, p["jscc"], p["heads"], p["jscc_window"])
    for block in layer.blocks:
        block.shift = 0
    return nn.ModuleList([layer])


class RateAdaption(nn.Module):
    def __init__(self, count: int, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, inside, outside) / inside**0.5)
        self.bias = nn.Parameter(0.1 * torch.randn(count, outside))


class JsccEncoder(nn.Module):
    def __init__(self, dim: int, p: dict[str, Any]) -> None:
        super().__init__()
        rates = p["rates"]
        self.layers = blocks(dim, p)
        self.rate_adaption = RateAdaption(len(rates), dim, max(rates))
        for part in (self, self.rate_adaption):
            part.register_buffer("rate_choice_tensor", torch.tensor(rates))
        self.rate_adaption.register_buffer("mask", torch.arange(max(rates)).repeat(256, 1))
        self.rate_token = nn.Parameter(torch.randn(len(rates), dim))
        self.refine = nn.Module()
        self.refine.fc1, self.refine.fc2 = nn.Linear(2 * dim, 8 * dim), nn.Linear(8 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, y: Tensor, px: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Values (most, cells), which of them are sent, and the rate of each cell. One image."""
        cells, p_cells = y[0].flatten(1).T, px[0].flatten(1).T
        wanted = (-p_cells.log2()).clamp_min(0).sum(dim=1) * eta
        rates = self.rate_choice_tensor
        numbers = torch.tensor(
            [next((n for n, r in enumerate(rates) if r >= w), len(rates) - 1) for w in wanted]
        )
        refined = self.refine.fc1(torch.cat([1 - p_cells, cells], dim=1))
        x = cells + self.refine.fc2(F.gelu(refined)) + self.rate_token[numbers]
        x = x.view(1, *y.shape[2:], -1)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).flatten(0, 2)
        adapt = self.rate_adaption
        made = torch.stack(
            [row @ adapt.weight[n] + adapt.bias[n] for row, n in zip(x, numbers, strict=True)]
        )
        sent = torch.arange(made.shape[1])[None] < rates[numbers][:, None]
        return (made * sent).T, sent.T, numbers


class JsccDecoder(nn.Module):
    def __init__(self, dim: int, p: dict[str, Any]) -> None:
        super().__init__()
        rates = p["rates"]
        self.layers = blocks(dim, p)
        self.rate_adaption = RateAdaption(len(rates), max(rates), dim)
        self.register_buffer("rate_choice_tensor", torch.tensor(rates))
        self.rate_token = nn.Parameter(torch.randn(len(rates), dim))

    def forward(self, values: Tensor, numbers: Tensor, size: tuple[int, int]) -> Tensor:
        adapt = self.rate_adaption
        x = torch.stack(
            [v @ adapt.weight[n] + adapt.bias[n] for v, n in zip(values.T, numbers, strict=True)]
        )
        x = (x + self.rate_token[numbers]).view(1, *size, -1)
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2)


class OfficialNtscc(nn.Module):
    """``p``: dims, depths, heads and window of the transforms; jscc, blocks of the JSCC, and
    jscc_window; hyper and rates."""

    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        dim, hyper = p["dims"][-1], p["hyper"]
        first, second = p["rising"]
        self.ga, self.gs = Analysis(p), Synthesis(p)
        self.ha = nn.Sequential(
            nn.Conv2d(dim, hyper, 3, padding=1), nn.LeakyReLU(),
            nn.Conv2d(hyper, hyper, 5, 2, 2), nn.LeakyReLU(), nn.Conv2d(hyper, hyper, 5, 2, 2),
        )  # fmt: skip
        self.hs = nn.Sequential(
            nn.ConvTranspose2d(hyper, first, 5, 2, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(first, second, 5, 2, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(second, 2 * dim, 3, padding=1),
        )  # fmt: skip
        self.entropy_bottleneck = nn.Module()
        self.entropy_bottleneck.quantiles = nn.Parameter(torch.randn(hyper, 1, 3))
        self.entropy_bottleneck._matrix0 = nn.Parameter(torch.randn(hyper, 3, 1))  # not used here
        self.gaussian_conditional = nn.Module()
        self.gaussian_conditional.register_buffer("scale_bound", torch.ones(1))
        self.fe, self.fd = JsccEncoder(dim, p), JsccDecoder(dim, p)

    def likelihoods(self, y: Tensor) -> Tensor:
        offset = self.entropy_bottleneck.quantiles[:, :, 1:2]
        z = torch.round(self.ha(y) - offset) + offset
        scales, means = self.hs(z).chunk(2, 1)
        normal = Normal(means, scales.clamp(1e-10, 1e10))
        return (normal.cdf(y + 0.5) - normal.cdf(y - 0.5)).clamp(1e-10, 1e10)

    def sent(self, image: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
        y = self.ga(image)
        return self.fe(y, self.likelihoods(y), eta)

    def received(self, values: Tensor, sent: Tensor, snr_db: float, noise: Tensor) -> Tensor:
        """Their channel; ``noise``: real, of deviation 1, for each value."""
        power = 2 * values[sent].square().mean()
        sigma = (1 / (2 * 10 ** (snr_db / 10))) ** 0.5
        return (values / power.sqrt() + sigma * noise) * power.sqrt() * sent

    def image(self, values: Tensor, numbers: Tensor, size: tuple[int, int]) -> Tensor:
        return self.gs(self.fd(values, numbers, size)).clip(0, 1)
