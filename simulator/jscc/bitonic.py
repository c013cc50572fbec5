"""The order in which torch up to 1.12 sorted a row on a GPU, equal numbers included.

It sorted rows of up to 2,048 numbers by a bitonic network, which exchanges equal numbers on its
way, the same ones every time; torch 1.13 has a radix sort there, which leaves them as they were.
A network that was trained with the first picks other ones of equal numbers under the second.

Batcher, "Sorting Networks and Their Applications", AFIPS 1968.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = (32, 128, 1024, 2048)  # of its networks; a row is filled up with places behind all others


def bitonic_order(keys: Tensor) -> Tensor:
    """(B, n) -> (B, n) int64: places from the largest key to the smallest. Raises ``ValueError``
    for longer rows, which were sorted by other means."""
    count = keys.shape[1]
    if count > SIZES[-1]:
        raise ValueError(f"a row of {count} numbers, more than {SIZES[-1]}")
    size = next(size for size in SIZES if count <= size)
    row = F.pad(keys, (0, size - count))
    place = torch.arange(size, device=keys.device).expand(row.shape)
    length = 2
    while length <= size:
        # Sorted runs of half the length, rising and falling in turn, become runs of it.
        rising = (torch.arange(size // 2, device=keys.device) & (length // 2)) != 0
        if length == size:
            rising = torch.zeros_like(rising)
        stride = length // 2
        while stride:
            row, place = _compared(row, place, count, stride, rising)
            stride //= 2
        length *= 2
    return place[:, :count]


def _compared(
    row: Tensor, place: Tensor, count: int, stride: int, rising: Tensor
) -> tuple[Tensor, Tensor]:
    """One step: each number with the one ``stride`` behind it. Equal ones change places where
    numbers fall."""
    shape = (len(row), -1, 2, stride)
    pairs = row.reshape(shape), place.reshape(shape)
    (key_a, key_b), (place_a, place_b) = (each.unbind(2) for each in pairs)
    in_order = ((key_a > key_b) & (place_a < count)) | (place_b >= count)
    exchanged = (in_order == rising.view(-1, stride))[:, :, None]
    made = (torch.where(exchanged, each.flip(2), each).flatten(1) for each in pairs)
    return next(made), next(made)
