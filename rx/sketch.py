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
NO_SKETCH = "sketch of the transmitter not used: the model takes none"
OTHER_SKETCH = "sketch of the transmitter not used: the model takes one of {} px a cell"


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


def sketches_for(
    sketches: Sequence[np.ndarray | None], size: Shape, cell: int
) -> tuple[Tensor | None, list[str]]:
    """Sketches of images of ``size`` for a control module that takes cells of ``cell`` pixels, as
    ``as_sketch`` has them, None where there is none that it takes; and why each is not used."""
    shape = shape_of(size, cell) if cell else None
    fits = [each is not None and each.shape == shape for each in sketches]
    notes = [
        "" if fit or each is None else OTHER_SKETCH.format(cell) if cell else NO_SKETCH
        for each, fit in zip(sketches, fits, strict=True)
    ]
    if shape is None or not any(fits):
        return None, notes
    used = [each if fit else None for each, fit in zip(sketches, fits, strict=True)]
    return as_sketch(used, shape), notes


def check_sketch(sketch: Tensor | None, cell: int, batch: int, size: Shape) -> None:
    """Raises ``SettingsError`` for a sketch that the control module cannot be given."""
    if sketch is None:
        return
    if not cell:
        raise SettingsError("this model takes no sketch; leave it out, or train one that does.")
    wanted = (batch, *shape_of(size, cell))
    if tuple(sketch.shape) != wanted:
        raise SettingsError(f"a sketch of shape {tuple(sketch.shape)}: this model takes {wanted}.")
