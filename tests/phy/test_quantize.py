"""Gains in a few bits."""

import numpy as np
import pytest

from simulator.phy.quantize import FULL_SCALE, quantized
from simulator.phy.streams import complex_normal, stream

H = complex_normal(stream(bytes(32), "h", 2), 50_000)


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_each_part_has_as_many_levels(bits: int) -> None:
    got = quantized(H, bits)
    for part in (got.real, got.imag):
        assert 0.95 * 2**bits < len(np.unique(part)) <= 2**bits
        assert np.abs(part).max() < FULL_SCALE


@pytest.mark.parametrize("bits", [4, 6])
def test_the_error_is_that_of_even_steps(bits: int) -> None:
    inside = H[(np.abs(H.real) < FULL_SCALE) & (np.abs(H.imag) < FULL_SCALE)]
    step = 2 * FULL_SCALE / 2**bits
    error = np.mean(np.abs(quantized(inside, bits) - inside) ** 2)
    assert error == pytest.approx(2 * step**2 / 12, rel=0.03)
