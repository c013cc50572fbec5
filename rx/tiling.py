"""Large images on small memory: overlapping tiles, blended where they meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simulator.errors import SettingsError

OVERLAP = 0.25  # of a tile's side, at least


def windows(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` cells start, so that they cover ``length`` and overlap evenly."""
    if length <= side:
        return [0]
    count = -(-(length - side) // max(1, int(side * (1 - OVERLAP)))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def ramp(length: int) -> Tensor:
    """Weights of a tile along one side: highest in the middle, positive at its edges."""
    position = torch.arange(length) + 0.5
    return torch.minimum(position, length - position)


def tiled(
    call: Callable[[Tensor, int, int], Tensor],
    x: Tensor,
    side: int | None,
    grain: tuple[int, int] = (1, 1),
) -> Tensor:
    """``call(tile, top, left)`` over tiles of ``x``, blended; ``top`` and ``left`` in cells.

    ``side``: of a tile in latent cells. ``grain``: what a cell measures in ``x`` and in the
    result, in their own units: (f, 1) encodes pixels, (1, f) decodes cells. Where one tile
    covers ``x``, or ``side`` is None, this is ``call`` itself.
    """
    before, after = grain
    height, width = (length // before for length in x.shape[-2:])
    if side is None or (height <= side and width <= side):
        return call(x, 0, 0)
    tall, wide = min(side, height), min(side, width)
    weight = (ramp(tall * after)[:, None] * ramp(wide * after)).to(x.device)
    total = weights = torch.zeros((), device=x.device)
    for top in windows(height, side):
        for left in windows(width, side):
            piece = call(x[area(top, left, tall, wide, before)], top, left)
            if total.ndim == 0:
                total = piece.new_zeros(*piece.shape[:2], height * after, width * after).float()
                weights = torch.zeros_like(total[:1, :1])
            total[area(top, left, tall, wide, after)] += weight * piece
            weights[area(top, left, tall, wide, after)] += weight
    return total / weights


def area(top: int, left: int, height: int, width: int, grain: int) -> tuple[Any, ...]:
    """The index of a tile given in cells, in an array whose cells measure ``grain``."""
    rows = slice(top * grain, (top + height) * grain)
    return (..., rows, slice(left * grain, (left + width) * grain))


def tile_cells(tile: int, factor: int, multiple: int) -> int:
    """Latent cells of a tile of ``tile`` pixels, rounded down to what the UNet takes.

    ``factor``: pixels a cell. ``multiple``: of cells, that the UNet needs. Raises
    ``SettingsError`` for a tile too small for the UNet.
    """
    side = tile // (factor * multiple) * multiple
    if side < 1:
        raise SettingsError(
            f"tiles of {tile} pixels are too small for this model; give at least "
            f"{factor * multiple}."
        )
    return side
