"""Equation (4): zero forcing and MMSE, numpy and torch alike."""

import numpy as np
import pytest
import torch

from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.propagation import apply_channel


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ((rng.normal(size=shape) + 1j * rng.normal(size=shape)) / 2**0.5).astype(np.complex64)


def test_zero_forcing_undoes_the_channel() -> None:
    y, h = draw(5, 40), draw(5, 1, seed=1)
    out = equalize(apply_channel(y, h, np.complex64(0)), h)
    assert out.dtype == np.complex64
    np.testing.assert_allclose(out, y, atol=1e-5)


def test_it_is_equation_4() -> None:
    received, h = draw(40), draw(1, seed=1)
    np.testing.assert_allclose(equalize(received, h), h.conj() / abs(h) ** 2 * received, rtol=1e-5)


def test_a_gain_for_each_symbol() -> None:
    y, h = draw(40), draw(40, seed=1)
    np.testing.assert_allclose(equalize(h * y, h), y, rtol=1e-4)


def test_mmse_is_the_formula_and_tends_to_zero_forcing() -> None:
    received, h = draw(40), draw(1, seed=1)
    expected = h.conj() / (abs(h) ** 2 + 0.3) * received
    np.testing.assert_allclose(equalize_mmse(received, h, 0.3), expected, rtol=1e-5)
    np.testing.assert_allclose(equalize_mmse(received, h, 1e-9), equalize(received, h), rtol=1e-5)


def test_mmse_has_the_smaller_error_and_zero_forcing_amplifies_noise() -> None:
    n0, n = 0.5, 40_000
    y, h, noise = draw(n), np.complex64(0.4 + 0.3j), np.float32(n0**0.5) * draw(n, seed=2)
    received = apply_channel(y, h, noise)
    forced = np.mean(np.abs(equalize(received, h) - y) ** 2)
    mmse = np.mean(np.abs(equalize_mmse(received, h, n0) - y) ** 2)
    assert forced == pytest.approx(n0 / abs(h) ** 2, rel=0.03)
    assert mmse == pytest.approx(n0 / (abs(h) ** 2 + n0), rel=0.03)


def test_numpy_and_torch_agree() -> None:
    y, h, noise = draw(3, 50), draw(3, 1, seed=1), draw(3, 50, seed=2)
    received = apply_channel(y, h, noise)
    ours = apply_channel(*map(torch.from_numpy, (y, h, noise)))
    np.testing.assert_allclose(ours.numpy(), received, rtol=1e-5, atol=1e-6)
    gain = torch.from_numpy(h)
    np.testing.assert_allclose(equalize(ours, gain).numpy(), equalize(received, h), rtol=1e-4)
    np.testing.assert_allclose(
        equalize_mmse(ours, gain, 0.1).numpy(), equalize_mmse(received, h, 0.1), rtol=1e-4
    )


def test_gradient_flows_to_symbols_and_gain() -> None:
    y, h, noise = (
        torch.from_numpy(draw(*shape, seed=i)).to(torch.complex128).requires_grad_()
        for i, shape in enumerate([(2, 6), (2, 1), (2, 6)])
    )
    assert torch.autograd.gradcheck(lambda *a: equalize(apply_channel(*a), a[1]), (y, h, noise))
    assert torch.autograd.gradcheck(lambda r, g: equalize_mmse(r, g, 0.2), (y, h))


@pytest.mark.parametrize("gain", [0, 1e-30, 1e-20j, 1e-10, -1e-6j])
def test_deep_fades_stay_finite(gain: complex) -> None:
    received = draw(10)
    h = np.array([gain], dtype=np.complex64)
    for n0 in (None, 0.1):
        out = equalize(received, h) if n0 is None else equalize_mmse(received, h, n0)
        assert np.isfinite(out).all()
    x = torch.from_numpy(received).requires_grad_()
    equalize(x, torch.from_numpy(h)).abs().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
