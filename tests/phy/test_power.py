"""Equation (2): power normalisation per image."""

import numpy as np
import pytest
import torch

from simulator.phy.power import mean_power, normalize_power


def symbols(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


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
