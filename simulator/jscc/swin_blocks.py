"""Swin Transformer blocks on maps of any size, channels last.

    x -norm-> pad -> shift -> windows -> attention -> windows back -> shift back -> crop -+-> ...
    +------------------------------------------------------------------------------------^

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021:
attention within windows of 8x8 cells, shifted by half a window in every second block. A map that
is no whole number of windows is padded for the attention alone; cells of the padding, and cells
that only the cyclic shift brought together, do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError

EXPANSION = 4  # of the perceptron of a block


def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B, H W / window^2, window^2, C); sides are whole windows."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(batch, -1, window * window, channels)


def departition(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of ``partition``."""
    batch, _, _, channels = windows.shape
    x = windows.reshape(batch, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(batch, height, width, channels)


@lru_cache(maxsize=64)
def attention_mask(height: int, width: int, window: int, shift: int) -> Tensor | None:
    """(windows, 1, window^2, window^2): which cells see each other; None where all do.

    ``height`` and ``width`` of the map before padding. Cells carry the number of their region:
    on either side of the seam of the cyclic shift, or of the padding.
    """
    regions = []
    for side in (height, width):
        padded = side + -side % window
        place = (torch.arange(padded) + shift) % padded  # where a shifted cell came from
        regions.append(torch.where(place < side, (place < shift).long(), 2))
    rows, columns = regions
    region = rows[:, None] * 3 + columns[None, :]
    cells = partition(region[None, :, :, None], window)[0, :, :, 0]
    seen = cells[:, :, None] == cells[:, None, :]
    return None if seen.all() else seen[:, None]


def relative_index(window: int) -> Tensor:
    """(window^2, window^2): the row of the bias table for each pair of cells."""
    place = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij")).flatten(1)
    offset = place[:, :, None] - place[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position."""

    index: Tensor

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.register_buffer("index", relative_index(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, windows, cells, C) -> the same; ``seen``: see ``attention_mask``."""
        batch, count, cells, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, cells, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        bias = self.bias[self.index].permute(2, 0, 1)
        if seen is not None:
            bias = bias.masked_fill(~seen.to(x.device), float("-inf"))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(y.transpose(2, 3).reshape(x.shape))  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """Attention in windows and a perceptron, each on normalised input and added to it.

    Two things that some public code does, for weights of theirs. ``lone_shift``: a map of one
    window is shifted, too, so that its quarters do not see each other. ``sees_padding``: cells of
    the padding are seen, as zeros.
    """

    lone_shift: bool = False
    sees_padding: bool = False

    def __init__(self, width: int, heads: int, window: int, shifted: bool, expansion: int) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, window, heads)
        self.norm2 = nn.LayerNorm(width)
        hidden = expansion * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        window = self.window
        # In a map of one window all cells see each other already.
        shift = self.shift if max(height, width) > window or self.lone_shift else 0
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        padded = x.shape[1:3]
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        seen = attention_mask(*(padded if self.sees_padding else (height, width)), window, shift)
        x = departition(self.attention(partition(x, window), seen), window, *padded)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]


def swin_blocks(width: int, depth: int, heads: int, window: int) -> nn.Sequential:
    """``depth`` blocks, every second one shifted."""
    return nn.Sequential(
        *(SwinBlock(width, heads, window, bool(i % 2), EXPANSION) for i in range(depth))
    )


class PatchMerging(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, C'): four cells become one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * inputs)
        self.reduction = nn.Linear(4 * inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        four = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1)
        return self.reduction(self.norm(four))  # type: ignore[no-any-return]


class PatchDivision(nn.Module):
    """(B, H, W, C) -> (B, 2 H, 2 W, C'): one cell becomes four."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.increment = nn.Linear(inputs, 4 * outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.increment(self.norm(x)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(maps, 2).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class SwinSizes:
    """Of a backbone: width, number of blocks and heads of each stage; side of a window in cells."""

    widths: Sequence[int]
    depths: Sequence[int]
    heads: Sequence[int]
    window: int

    def check(self, codec: str) -> None:
        """Raises ``ModelError`` where no network has these sizes."""
        if not len(self.widths) == len(self.depths) == len(self.heads) > 0:
            raise ModelError(f"codec {codec!r} needs a width, a depth and heads for every stage.")
        if any(h < 1 or w % h for w, h in zip(self.widths, self.heads, strict=True)):
            raise ModelError(f"the widths of codec {codec!r} are multiples of its heads.")

    @property
    def config(self) -> dict[str, Any]:
        """As JSON has it."""
        lists = {name: list(getattr(self, name)) for name in ("widths", "depths", "heads")}
        return {**lists, "window": self.window}

    def blocks(self, stage: int) -> nn.Sequential:
        return swin_blocks(self.widths[stage], self.depths[stage], self.heads[stage], self.window)

    def down(self) -> list[nn.Module]:
        """(B, H, W, widths[0]) -> (B, H/2^(D-1), W/2^(D-1), widths[-1]), D stages."""
        modules: list[nn.Module] = [self.blocks(0)]
        for i in range(1, len(self.widths)):
            modules += [PatchMerging(self.widths[i - 1], self.widths[i]), self.blocks(i)]
        return modules

    def up(self) -> list[nn.Module]:
        """(B, h, w, widths[-1]) -> (B, h 2^D, w 2^D, 3)."""
        modules: list[nn.Module] = []
        for i in reversed(range(len(self.widths))):
            output = self.widths[i - 1] if i else 3
            modules += [self.blocks(i), PatchDivision(self.widths[i], output)]
        return modules
