"""The sketch that came with an image, as the control module takes it: beside f_v, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.errors import SettingsError
from simulator.jscc.codec import pad_to

Shape = tuple[int, int]


def cell_of(channels: int, factor: int) -> int:
    """The side in pixels of a cell of the sketch, of which a cell of the latent, ``factor`` pixels
    wide, has ``channels``; 0 for no channels."""
    return factor // math.isqrt(channels) if channels else 0


def shape_of(size: Shape, cell: int) -> Shape:
    """Of the sketch of an image of ``size``."""
    return -(-size[0] // cell), -(-size[1] // cell)


def as_sketch(edges: Sequence[np.ndarray | None], shape: Shape) -> Tensor:
    """(B, h, w) float32: 1 on an edge, -1 elsewhere, 0 all over where there is no sketch."""
    known = [np.zeros(shape) if each is None else 2.0 * each - 1 for each in edges]
    return torch.from_numpy(np.stack(known).astype(np.float32))


def hints_of(sketch: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    """(B, h, w) -> (B, side^2, H_l, W_l) of ``shape``: the ``side`` x ``side`` cells of the sketch
    that lie in a cell of the latent, in rows."""
    whole = pad_to(sketch[:, None], (shape[0] * side, shape[1] * side))
    return F.pixel_unshuffle(whole, side)


def check_sketch(sketch: Tensor | None, cell: int, batch: int, size: Shape) -> None:
    """Raises ``SettingsError`` for a sketch that the control module cannot be given."""
    if sketch is None:
        return
    if not cell:
        raise SettingsError("this model takes no sketch; leave it out, or train one that does.")
    wanted = (batch, *shape_of(size, cell))
    if tuple(sketch.shape) != wanted:
        raise SettingsError(f"a sketch of shape {tuple(sketch.shape)}: this model takes {wanted}.")
