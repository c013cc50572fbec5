"""Sizes of a network, read from the tensors of a checkpoint that comes without a configuration."""

from __future__ import annotations

import math
from typing import Any

from simulator.errors import ModelError
from simulator.importer.source import Tensors

MOST_STAGES = 8  # each of them halves the image
TABLE = "attn.relative_position_bias_table"


def shape(state: Tensors, name: str, dims: int) -> tuple[int, ...]:
    """Of a tensor of ``dims`` dimensions. Raises ``ModelError`` where there is none."""
    if name not in state:
        raise ModelError(f"the checkpoint lacks {name}.")
    found = tuple(state[name].shape)
    if len(found) != dims or 0 in found:
        raise ModelError(f"{name} has the shape {found}, which no network has there.")
    return found


def count(state: Tensors, prefix: str) -> int:
    """How many parts there are below ``prefix``: they are numbered from 0."""
    numbers = {
        name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)
    }
    return next(n for n in range(len(numbers) + 1) if str(n) not in numbers)


def window(state: Tensors, name: str) -> tuple[int, int]:
    """(side of the window, heads), which a table of relative positions tells: it has a row for
    each offset, (2 side - 1)^2 of them, and a column for each head."""
    rows, heads = shape(state, name, 2)
    side = (math.isqrt(rows) + 1) // 2
    if (2 * side - 1) ** 2 != rows:
        raise ModelError(f"{name} has {rows} rows, which no window has.")
    return side, heads


def swin_sizes(state: Tensors, prefix: str) -> dict[str, Any]:
    """``widths``, ``depths``, ``heads`` and ``window`` of the stages ``prefix``0, 1, ... of blocks.

    Raises ``ModelError`` where there is no stage, or windows differ.
    """
    stages = count(state, prefix)
    if not stages:
        raise ModelError(f"the checkpoint lacks {prefix}0.")
    if stages > MOST_STAGES:
        raise ModelError(f"{prefix[:-1]} has {stages} stages, more than {MOST_STAGES}.")
    widths, depths, heads, windows = [], [], [], set()
    for stage in range(stages):
        blocks = f"{prefix}{stage}.blocks."
        widths.append(shape(state, f"{blocks}0.norm1.weight", 1)[0])
        depths.append(count(state, blocks))
        side, number = window(state, f"{blocks}0.{TABLE}")
        heads.append(number)
        windows.add(side)
    if len(windows) > 1:
        sides = ", ".join(map(str, sorted(windows)))
        raise ModelError(f"the stages of {prefix[:-1]} have windows of {sides}, not one for all.")
    return {"widths": widths, "depths": depths, "heads": heads, "window": windows.pop()}
