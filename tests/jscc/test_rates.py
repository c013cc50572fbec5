"""Equation (1): bandwidth ratio, K and the complex packing."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import SettingsError
from simulator.jscc.rates import (
    BANDWIDTH_RATIOS,
    channels_of,
    layout_of,
    pack,
    parse_ratio,
    ratio_of,
)


def symbols(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize(
    ("denominator", "channels"), [(768, 2), (384, 4), (192, 8), (96, 16), (48, 32)]
)
def test_ratio_and_channels_are_inverse(denominator: int, channels: int) -> None:
    ratio = Fraction(1, denominator)
    assert channels_of(ratio) == channels
    assert ratio_of(channels) == ratio
    assert ratio in BANDWIDTH_RATIOS


@given(st.integers(1, 64), st.integers(1, 6))
def test_ratio_and_channels_at_any_depth(half: int, depth: int) -> None:
    ratio = ratio_of(2 * half, depth)
    assert ratio == Fraction(2 * half, 3 * 2 ** (2 * depth + 1))
    assert channels_of(ratio, depth) == 2 * half


def test_k_of_the_papers_sizes() -> None:
    kodak = layout_of(Fraction(1, 384), (512, 768))
    assert (kodak.channels, kodak.height, kodak.width) == (4, 32, 48)
    assert kodak.k == 3072 == 3 * 512 * 768 // 384
    assert layout_of(Fraction(1, 768), (256, 256)).k == 256


@pytest.mark.parametrize(
    ("size", "cells"), [((1, 1), (1, 1)), ((17, 33), (2, 3)), ((451, 301), (29, 19))]
)
def test_odd_sizes_are_padded_up_to_whole_cells(
    size: tuple[int, int], cells: tuple[int, int]
) -> None:
    layout = layout_of(Fraction(1, 96), size)
    assert (layout.height, layout.width) == cells
    assert layout.k == 8 * cells[0] * cells[1]


@pytest.mark.parametrize("ratio", [Fraction(1, 100), Fraction(1, 1536), Fraction(3, 1536)])
def test_a_ratio_without_even_channels_is_refused(ratio: Fraction) -> None:
    with pytest.raises(SettingsError, match="even whole number"):
        channels_of(ratio)


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("1/384", (1, 384)),
        (Fraction(1, 48), (1, 48)),
        ("3/512", (3, 512)),
        (0.0026, (1, 384)),  # a rounded decimal means the rate of the paper next to it
        ("0.0013", (1, 768)),
        ("0.0208333", (1, 48)),
        (0.01, (1, 100)),
        (1, (1, 1)),
    ],
)
def test_ratios_are_read(text: Any, ratio: tuple[int, int]) -> None:
    assert parse_ratio(text) == Fraction(*ratio)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", "nan", "inf", "0", "-1/384", "2", "3/2", "1e-999999999", "1e999999999"]
)
def test_other_ratios_are_refused_at_once(text: str) -> None:
    with pytest.raises(SettingsError, match=r"1/384\.$"):
        parse_ratio(text)


# Packing


def test_packing_order() -> None:
    """Channels [0, C/2) are real parts; row-major from (C/2, h, w)."""
    channels, height, width = 6, 2, 3
    latent = np.arange(2 * channels * height * width, dtype=np.float32)
    latent = latent.reshape(2, channels, height, width)
    packed = pack(latent)
    assert packed.shape == (2, 18) and packed.dtype == np.complex64
    i = 0
    for c in range(channels // 2):
        for y in range(height):
            for x in range(width):
                assert packed[1, i] == latent[1, c, y, x] + 1j * latent[1, c + 3, y, x]
                i += 1
    ours = pack(torch.from_numpy(latent))
    assert ours.dtype == torch.complex64
    assert np.array_equal(ours.numpy(), packed)
