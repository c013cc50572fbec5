"""Equations (1) and (2): bandwidth ratio, K, the complex packing and power normalisation."""

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
from simulator.phy.power import mean_power, normalize_power


def symbols(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


# Equation (1)


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


# Equation (2)


def test_power_is_one_for_each_image_not_over_the_batch() -> None:
    batch = symbols(4, 300) * np.array([[0.01], [1], [7], [1000]], dtype=np.float32)
    out = normalize_power(batch)
    assert out.dtype == np.complex64
    assert np.mean(np.abs(out) ** 2, axis=-1) == pytest.approx(np.ones(4), rel=1e-5)
    for image, alone in zip(batch, out, strict=True):
        np.testing.assert_allclose(normalize_power(image), alone, rtol=1e-6)
    assert mean_power(out[2]) == pytest.approx(1, rel=1e-5)


def test_it_is_equation_2() -> None:
    y = symbols(50)
    expected = np.sqrt(50 * 1.0) * y / np.sqrt(np.vdot(y, y).real)
    np.testing.assert_allclose(normalize_power(y), expected, rtol=1e-5)


def test_numpy_and_torch_agree() -> None:
    batch = 3 * symbols(3, 77)
    np.testing.assert_allclose(
        normalize_power(torch.from_numpy(batch)).numpy(), normalize_power(batch), rtol=1e-6
    )


def test_power_is_differentiable_and_blind_to_scale() -> None:
    y = torch.from_numpy(symbols(2, 9)).to(torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(normalize_power, (y,))
    weights = torch.from_numpy(symbols(2, 9, seed=1))
    (normalize_power(y) * weights).real.sum().backward()
    assert y.grad is not None
    # Moving along y changes nothing: the gradient is orthogonal to it.
    along = (y.grad.conj() * y).real.sum(-1)
    assert along.abs().max() < 1e-9 < y.grad.abs().max()


def test_an_image_of_zeros_stays_finite() -> None:
    zero = torch.zeros(1, 5, dtype=torch.complex64, requires_grad=True)
    out = normalize_power(zero)
    out.real.sum().backward()
    assert out.isfinite().all() and zero.grad is not None and zero.grad.isfinite().all()
    assert not normalize_power(np.zeros(5, np.complex64)).any()
