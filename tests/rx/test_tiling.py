"""Tiles cover an image, overlap, and blend to what they were cut from."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pipeline_world import csi_of

from rx.conditions import Conditions
from rx.tiling import tiled, windows


def test_windows_cover_and_overlap():
    for length in (8, 9, 16, 31, 200):
        starts = windows(length, 8)
        assert starts[0] == 0
        assert starts[-1] + 8 == length if length > 8 else starts == [0]
        assert all(1 <= after - before <= 6 for before, after in pairwise(starts))


@pytest.mark.parametrize("grain", [(1, 1), (4, 1), (1, 4)])
def test_tiles_of_a_field_are_the_field(grain):
    """Where tiles agree, blending them gives back what they were cut from."""
    before, after = grain
    field = torch.randn(2, 3, 17 * after, 11 * after)
    x = torch.randn(2, 5, 17 * before, 11 * before)

    def call(piece, top, left):
        assert torch.equal(
            piece,
            x[
                ...,
                top * before : top * before + piece.shape[-2],
                left * before : left * before + piece.shape[-1],
            ],
        )
        height, width = (side // before * after for side in piece.shape[-2:])
        return field[..., top * after :, left * after :][..., :height, :width]

    torch.testing.assert_close(tiled(call, x, 6, grain), field)


def test_conditions_of_a_tile():
    conditions = Conditions(torch.randn(2, 4, 8, 12), torch.randn(2, 7, 5), csi_of(2))
    tile = conditions.crop(2, 3, 4, 5)
    assert torch.equal(tile.spatial_features, conditions.spatial_features[:, :, 2:6, 3:8])
    row = conditions.rows(slice(1, 2))
    assert torch.equal(row.text_features, conditions.text_features[1:])
    assert torch.equal(row.csi.h, conditions.csi.h[1:])
    half = conditions.to("cpu", torch.bfloat16)
    assert half.spatial_features.dtype == half.text_features.dtype == torch.bfloat16
    assert half.csi.snr_db.dtype == torch.float32
