"""MambaJSCC in its authors' names and order of operations, written for these tests.

One image; the channel with noise that is given; scans cell by cell.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from typing import Any

import torch
from official_swin import Half, Merging, ReverseMerging
from torch import Tensor, nn

PIECE = 2048  # cells that a block of their kernel reads


class Permute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Scan(nn.Module):
    """Their ``op``: weights of K directions in a row."""

    def __init__(self, width: int, p: dict[str, Any], activation: nn.Module) -> None:
        super().__init__()
        k, n, inner, rank = p["scans"], p["states"], 2 * width, math.ceil(width / 16)
        self.told, self.sizes = p["adaptive"] == "ssm", (k, inner, rank, n)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.act = activation
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.out_norm = nn.LayerNorm(inner)
        self.x_proj_weight = nn.Parameter(torch.randn(k, rank + 2 * n, inner) * inner**-0.5)
        self.dt_projs_weight = nn.Parameter(torch.randn(k, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.randn(k, inner) - 2)
        self.A_logs = nn.Parameter(torch.randn(k * inner, n) * 0.3)
        self.A_logs._no_weight_decay = True  # so that a file has it as theirs does
        self.Ds = nn.Parameter(torch.randn(k * inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, snr: float) -> Tensor:
        """(1, H, W, C) -> the same."""
        x, z = self.in_proj(x).chunk(2, -1)
        x = self.act(self.conv2d(x.permute(0, 3, 1, 2)))[0]
        k, inner, rank, n = self.sizes
        ahead = [x.flatten(1), x.transpose(1, 2).flatten(1)][: k // 2]
        u = torch.stack([*ahead, *(each.flip(1) for each in ahead)])  # (K, D, L)
        both = torch.einsum("kdl,kcd->kcl", u, self.x_proj_weight)
        low, b, c = both.split([rank, n, n], 1)
        step = torch.einsum("krl,kdr->kdl", low, self.dt_projs_weight)
        step = nn.functional.softplus(step + self.dt_projs_bias[:, :, None])
        a = -self.A_logs.exp().view(k, inner, n)
        state, y = torch.zeros(k, inner, n), []
        for i in range(u.shape[2]):
            if self.told and i and i % PIECE == 0:
                state[:, :, 0] = snr
            moved = (step[:, :, i, None] * a).exp() * state
            state = moved + (step[:, :, i] * u[:, :, i])[..., None] * b[:, None, :, i]
            y.append((state * c[:, None, :, i]).sum(-1))
        y = torch.stack(y, -1) + self.Ds.view(k, inner, 1) * u
        merged = (y[: k // 2] + y[k // 2 :].flip(2)).view(k // 2, inner, -1)
        image = merged[0].view(x.shape)
        if k == 4:
            image = image + merged[1].view(inner, x.shape[2], x.shape[1]).transpose(1, 2)
        y = self.out_norm(image.permute(1, 2, 0)) * self.act(z[0])
        return self.out_proj(y)[None]


class Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, p: dict[str, Any]) -> None:
        super().__init__()
        self.norm, self.norm_extent = nn.LayerNorm(width), nn.LayerNorm(width)
        self.op = Scan(width, p, p.get("act", nn.GELU)())
        self.extent = Perceptron(width)

    def forward(self, y: tuple[Tensor, float]) -> tuple[Tensor, float]:
        x, snr = y
        x = x + self.op(self.norm(x), snr)
        return x + self.extent(self.norm_extent(x)), snr


class Network(Half):
    """What both halves have: stages of a width and a depth each, and what follows each."""

    def __init__(
        self, p: dict[str, Any], stages: list[tuple[int, int]], name: str, change: list[nn.Module]
    ) -> None:
        super().__init__(p["dims"][-1])
        self.channel_adaptive = p["adaptive"]
        if self.channel_adaptive != "attn":
            del self.sm_list, self.bm_list
        self.layers = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    [
                        ("blocks", nn.Sequential(*(Block(width, p) for _ in range(depth)))),
                        (name, last),
                    ]
                )
            )
            for (width, depth), last in zip(stages, change, strict=True)
        )
        self.choice = self.through  # a bound method, as their scans have one

    def through(self, x: Tensor, snr: float) -> Tensor:
        for layer in self.layers:
            x = layer.blocks((x, snr))[0]
            x = layer[1](x)
        return x


class Encoder(Network):
    def __init__(self, p: dict[str, Any]) -> None:
        dims = p["dims"]
        change = [Merging(a, b) for a, b in itertools.pairwise(dims)]
        stages = list(zip(dims, p["depths"], strict=True))
        super().__init__(p, stages, "downsample", [*change, nn.Identity()])
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, dims[0], 2, 2), Permute(), nn.LayerNorm(dims[0])
        )
        self.head = nn.Conv2d(dims[-1], p["channels"], 1)

    def forward(self, image: Tensor, snr: float) -> Tensor:
        x = self.through(self.patch_embed(image), snr)
        if self.channel_adaptive == "attn":
            x = self.modulated(x, torch.tensor([[snr]]))
        return self.head(x.permute(0, 3, 1, 2))


class Decoder(Network):
    def __init__(self, p: dict[str, Any]) -> None:
        dims, depths = p["dims"][::-1], p["depths"][::-1]
        change = [ReverseMerging(a, b) for a, b in itertools.pairwise([*dims, 3])]
        super().__init__(p, list(zip(dims, depths, strict=True)), "upsample", change)
        self.head = nn.Conv2d(p["channels"], dims[0], 1)

    def forward(self, maps: Tensor, snr: float) -> Tensor:
        x = self.head(maps).permute(0, 2, 3, 1)
        if self.channel_adaptive == "attn":
            x = self.modulated(x, torch.tensor([[snr]]))
        return self.through(x, snr).permute(0, 3, 1, 2)


class EncoderFile(nn.Module):
    """What is saved whole."""

    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.encoder = p, Encoder(p)


class DecoderFile(nn.Module):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.decoder = p, Decoder(p)


def sent(maps: Tensor, snr: float, noise: Tensor) -> Tensor:
    """Their channel, AWGN; ``noise``: complex, of deviation 1 in each part, (1, C, h / 2, w)."""
    power = 2 * (maps**2).mean()
    x = maps / power.sqrt()
    upper, lower = x.chunk(2, dim=2)
    received = torch.complex(upper, lower) + (1 / (2 * 10 ** (snr / 10))) ** 0.5 * noise
    return torch.cat([received.real, received.imag], dim=2) * power.sqrt()
