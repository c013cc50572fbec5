"""The authors' Swin codec in their names and order of operations, written for these tests.

``DeepJSCC_SWIN``, AWGN, for images whose latent is a whole number of windows in every stage.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        place = torch.stack([rows.flatten(), columns.flatten()])
        apart = place[:, :, None] - place[:, None, :] + window - 1
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1])
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        count, n, dim = x.shape
        q, k, v = self.qkv(x).reshape(count, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attention = (q * self.scale) @ k.transpose(-2, -1)
        attention = attention + self.relative_position_bias_table[
            self.relative_position_index
        ].permute(2, 0, 1)
        if mask is not None:
            windows = mask.shape[0]
            attention = attention.view(count // windows, windows, self.heads, n, n)
            attention = (attention + mask[None, :, None]).view(-1, self.heads, n, n)
        return self.proj((attention.softmax(-1) @ v).transpose(1, 2).reshape(count, n, dim))


class Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


def windows_of(x: Tensor, window: int) -> Tensor:
    batch, height, width, dim = x.shape
    x = x.view(batch, height // window, window, width // window, window, dim)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, dim)


class Block(nn.Module):
    def __init__(self, dim: int, window: int, heads: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, window, heads), Mlp(dim)
        if shift:  # of the size at training; made anew for each image
            self.register_buffer("attn_mask", torch.zeros(1, window**2, window**2))

    def mask(self, height: int, width: int) -> Tensor | None:
        if not self.shift:
            return None
        regions, count = torch.zeros(1, height, width, 1), 0
        slices = (
            slice(0, -self.window),
            slice(-self.window, -self.shift),
            slice(-self.shift, None),
        )
        for rows in slices:
            for columns in slices:
                regions[:, rows, columns] = count
                count += 1
        cells = windows_of(regions, self.window)[..., 0]
        return ((cells[:, None] - cells[:, :, None]) != 0).float() * -100.0

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        y = self.attn(windows_of(y, self.window), self.mask(height, width))
        w = self.window
        y = y.view(batch, height // w, width // w, w, w, dim).permute(0, 1, 3, 2, 4, 5)
        x = x + torch.roll(y.reshape(x.shape), (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(four, -1)))


class ReverseMerging(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm, self.increment = nn.LayerNorm(dim), nn.Linear(dim, 4 * out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.increment(self.norm(x)).permute(0, 3, 1, 2)
        return nn.PixelShuffle(2)(x).permute(0, 2, 3, 1)


class Layer(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, window: int, **change: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, window, heads, window // 2 if i % 2 else 0) for i in range(depth)
        )
        for name, module in change.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x) if hasattr(self, "downsample") else x
        for block in self.blocks:
            x = block(x)
        return self.upsample(x) if hasattr(self, "upsample") else x


class Modulator(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.fc = nn.Sequential(*layers, nn.Linear(width, width), nn.Sigmoid())


class Half(nn.Module):
    """What both halves have: the modulation by SNR."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = int(dim * 1.5)
        widths = [dim, *[hidden] * 7, dim]
        pairs = itertools.pairwise(widths)
        self.sm_list = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.bm_list = nn.ModuleList(Modulator(hidden) for _ in range(7))

    def modulated(self, x: Tensor, snr: Tensor) -> Tensor:
        y = x
        for i in range(7):
            y = self.sm_list[i](y) * self.bm_list[i].fc(snr)[:, None, None]
        return x * torch.sigmoid(self.sm_list[-1](y))


class Encoder(Half):
    def __init__(self, p: dict[str, Any]) -> None:
        dims, window = p["embed_dims"], p["window_size"]
        super().__init__(dims[-1])
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dims[0], 2, 2)
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths"][i], p["num_heads"][i], window,
                **({"downsample": Merging(dims[i - 1], dim)} if i else {}),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dims[-1])
        self.head_list = nn.Linear(dims[-1], p["bottleneck_dim"])

    def forward(self, image: Tensor, snr: Tensor) -> Tensor:
        x = self.patch_embed.proj(image).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head_list(self.modulated(self.norm(x), snr)).flatten(1, 2)


class Decoder(Half):
    def __init__(self, p: dict[str, Any]) -> None:
        dims, window = p["embed_dims_d"], p["window_size"]
        super().__init__(dims[0])
        self.absolute_pos_embed = nn.Parameter(torch.randn(1, 16, dims[0]))  # never used
        outs = [*dims[1:], 3]
        self.layers = nn.ModuleList(
            Layer(
                dim, p["depths_d"][i], p["num_heads_d"][i], window,
                upsample=ReverseMerging(dim, outs[i]),
            )
            for i, dim in enumerate(dims)
        )  # fmt: skip
        self.head_list = nn.Linear(p["bottleneck_dim"], dims[0])

    def forward(self, latent: Tensor, snr: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.head_list(latent.view(len(latent), *size, -1))
        x = self.modulated(x, snr)
        for layer in self.layers:
            x = layer(x)
        return torch.sigmoid(x.permute(0, 3, 1, 2))


class OfficialSwin(nn.Module):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(p), Decoder(p)
        self.lpips_metric = nn.Linear(2, 2)  # stands for the metric that checkpoints carry

    def symbols(self, image: Tensor, snr: Tensor) -> Tensor:
        """(B, L, C / 2) complex of mean power 1."""
        latent = self.encoder(image, snr)
        half = latent.shape[-1] // 2
        z = latent[..., :half] + 1j * latent[..., half:]
        return z / (z.abs() ** 2).mean((-2, -1), keepdim=True).sqrt()

    def image(self, received: Tensor, snr: Tensor, size: tuple[int, int]) -> Tensor:
        return self.decoder(torch.cat([received.real, received.imag], -1), snr, size)
