"""WITT and SwinJSCC in their authors' names and order of operations, written for these tests.

Encoder, channel and decoder of one image; the channel with noise that is given. The sort of the
authors' torch is a bitonic network, here number by number.
"""

from __future__ import annotations

from typing import Any

import torch
from official_swin import Half, Layer, Merging, ReverseMerging
from torch import Tensor, nn


def network_sort(keys: list[float], size: int) -> list[int]:
    """Places from the largest key on, as a network of ``size`` threads by two sorts them."""
    count = len(keys)
    rows = [[key, n, True] for n, key in enumerate(keys)] + [[0.0, 0, False]] * (size - count)

    def compare(thread: int, stride: int, turned: bool) -> None:
        a = 2 * thread - (thread & (stride - 1))
        b = a + stride
        above = (rows[a][0] > rows[b][0] and rows[a][2]) or not rows[b][2]
        if above == turned:
            rows[a], rows[b] = rows[b], rows[a]

    length = 2
    while length <= size:
        stride = length // 2
        while stride:
            for thread in range(size // 2):
                compare(thread, stride, length < size and bool(thread & (length // 2)))
            stride //= 2
        length *= 2
    return [row[1] for row in rows[:count]]


def gate(net: Any, x: Tensor, value: float, second: str = "") -> Tensor:
    linear, factors = getattr(net, f"sm_list{second}"), getattr(net, f"bm_list{second}")
    y = x
    for i in range(7):
        y = linear[i](y) * factors[i].fc(torch.tensor([[value]]))
    return torch.sigmoid(linear[-1](y))


class Encoder(Half):
    def __init__(self, p: dict[str, Any], channels: int | None, second: bool) -> None:
        dims = p["dims"]
        super().__init__(dims[-1])
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dims[0], 2, 2)
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths"][i], p["heads"][i], p["window"],
                **({"downsample": Merging(dims[i - 1], dim)} if i else {}),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dims[-1])
        if channels:
            self.head_list = nn.Linear(dims[-1], channels)
        if second:
            other = Half(dims[-1])
            self.sm_list1, self.bm_list1 = other.sm_list, other.bm_list

    def features(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) -> (L, dim)."""
        x = self.patch_embed.proj(image).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).flatten(0, 2)


class Decoder(Half):
    def __init__(self, p: dict[str, Any], channels: int | None, modulated: bool) -> None:
        dims = p["dims"][::-1]
        super().__init__(dims[0])
        outs = [*dims[1:], 3]
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths_d"][i], p["heads"][::-1][i], p["window"],
                upsample=ReverseMerging(dim, outs[i]),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        if channels:
            self.head_list = nn.Linear(channels, dims[0])
        if not modulated:
            del self.sm_list, self.bm_list

    def image(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x.view(1, *size, -1)
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2)


class OfficialSwinJscc(nn.Module):
    """``variant``: "w/o", "SA", "RA" or "SA&RA". ``channels``: of the linear layers, None for none.
    ``older``: as an earlier version of the code, with ModNets that its variant never uses."""

    def __init__(
        self, p: dict[str, Any], variant: str, channels: int | None, older: bool = False
    ) -> None:
        super().__init__()
        self.p, self.variant = p, variant
        self.encoder = Encoder(p, channels, older or variant == "SA&RA")
        self.decoder = Decoder(p, channels, older or variant != "RA")
        self.distortion_loss = nn.Module()  # stands for the metric that checkpoints carry
        self.distortion_loss.register_buffer("window", torch.ones(3, 1, 11))

    def trained(self, spread: float = 1.0) -> OfficialSwinJscc:
        """As if trained: the ModNets that the variant uses leave the bounds of their start."""
        nets = {
            "w/o": [], "SA": ["encoder.sm_list.", "decoder.sm_list."], "RA": ["encoder.sm_list."],
            "SA&RA": ["encoder.sm_list.", "encoder.sm_list1.", "decoder.sm_list."],
        }[self.variant]  # fmt: skip
        for name, tensor in self.named_parameters():
            if name.startswith(tuple(nets)):
                tensor.data *= 1.5 * spread
        return self.eval()

    def sent(self, image: Tensor, snr: float, rate: int) -> tuple[Tensor, Tensor]:
        """(L, C) of any power, and which of the C maps are sent, (C,) of 0 and 1."""
        x = self.encoder.features(image)
        if self.variant in ("w/o", "SA"):
            if self.variant == "SA":
                x = x * gate(self.encoder, x, snr)
            x = self.encoder.head_list(x)
            return x, torch.ones(x.shape[1])
        if self.variant == "SA&RA":
            x = x * gate(self.encoder, x, snr, "1")
        by_rate = gate(self.encoder, x, float(rate))
        width = x.shape[1]
        threads = 32 if width <= 32 else 128 if width <= 128 else 1024
        order = network_sort(by_rate.sum(dim=0).tolist(), threads)
        mask = torch.zeros(width)
        mask[order[:rate]] = 1
        return x * by_rate * mask, mask

    def received(self, x: Tensor, mask: Tensor, snr: float, noise: Tensor) -> Tensor:
        """Their channel, AWGN, real noise of deviation 1 for each value given."""
        power = 2 * (x**2).sum() / (mask.sum() * len(x))
        sigma = (1 / (2 * 10 ** (snr / 10))) ** 0.5
        return (x / power.sqrt() + sigma * noise) * power.sqrt() * mask

    def image(self, x: Tensor, snr: float, size: tuple[int, int]) -> Tensor:
        """(L, C) -> (1, 3, H, W). ``size``: of the latent."""
        if self.variant in ("w/o", "SA"):
            x = self.decoder.head_list(x)
        if self.variant in ("SA", "SA&RA"):
            x = x * gate(self.decoder, x, snr)
        return self.decoder.image(x, size).clamp(0, 1)
