"""Moments of the fading gains, with fixed seeds. Tolerances are five standard deviations."""

import numpy as np
import pytest

from simulator.phy.fading import KINDS, Fading, awgn, delayed, rayleigh, rician
from simulator.phy.streams import stream

N = 40_000
KEY = bytes(range(32))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("kind", list(KINDS))
def test_mean_power_is_one(kind: str, correlation: float) -> None:
    h = KINDS[kind](generator(), N, Fading(4.0, correlation))
    assert h.dtype == np.complex64 and h.shape == (N,)
    assert np.mean(np.abs(h) ** 2) == pytest.approx(1, abs=0.04)


def test_awgn_is_one() -> None:
    assert np.array_equal(awgn(generator(), 5, Fading()), np.ones(5))


def test_rayleigh_phase_is_uniform_and_power_exponential() -> None:
    """A real-valued gain, or one of fixed phase, is not Rayleigh fading."""
    h = rayleigh(generator(), N, Fading())
    counts, _ = np.histogram(np.angle(h), bins=16, range=(-np.pi, np.pi))
    expected = N / 16
    assert ((counts - expected) ** 2 / expected).sum() < 44  # chi-squared, 15 df: 1e-4
    power = np.sort(np.abs(h.astype(complex)) ** 2)
    steps = np.abs(1 - np.exp(-power) - np.arange(1, N + 1) / N).max()
    assert steps < 1.95 / N**0.5  # Kolmogorov-Smirnov, 0.001


@pytest.mark.parametrize("k_db", [-10, 0, 6, 20])
def test_rician_ratio_of_line_of_sight_to_scattering(k_db: float) -> None:
    k = 10 ** (k_db / 10)
    h = rician(generator(), N, Fading(rician_k=k))
    line, scattered = abs(h.mean()) ** 2, h.var()
    assert line == pytest.approx(k / (k + 1), abs=0.03)
    assert scattered == pytest.approx(1 / (k + 1), rel=0.04)
    assert abs(h.mean().imag) < 0.03


@pytest.mark.parametrize("kind", ["rayleigh", "rician"])
def test_blocks_are_a_gauss_markov_chain(kind: str) -> None:
    rho = 0.8
    h = KINDS[kind](generator(), N, Fading(2.0, rho))
    scattered = (h - h.mean()) / h.std()
    for lag in (1, 2, 5):
        measured = np.mean(scattered[lag:] * scattered[:-lag].conj())
        assert measured == pytest.approx(rho**lag, abs=0.06)
    # Only the last block matters: the partial correlation over two vanishes.
    innovation = scattered[2:] - rho * scattered[1:-1]
    assert abs(np.mean(innovation * scattered[:-2].conj())) < 0.03


def test_blocks_without_correlation_are_independent() -> None:
    h = rayleigh(generator(), N, Fading())
    assert abs(np.mean(h[1:] * h[:-1].conj())) < 0.025


def test_the_first_block_is_the_same_with_more_blocks() -> None:
    fading = Fading(4.0, 0.9)
    for kind in KINDS:
        few, many = (KINDS[kind](stream(KEY, "h", 2), n, fading) for n in (3, 50))
        assert np.array_equal(few, many[:3])


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("kind", ["rayleigh", "rician"])
def test_delayed_gain_is_correlated_and_keeps_the_distribution(kind: str, delay: int) -> None:
    fading = Fading(rician_k=2.0, correlation=0.9)
    now = KINDS[kind](generator(), 8000, Fading(rician_k=2.0))
    g = generator(1)
    old = np.array([delayed(kind, complex(h), g, fading, delay) for h in now])
    assert np.mean(np.abs(old) ** 2) == pytest.approx(1, abs=0.06)
    mean = 0 if kind == "rayleigh" else (2 / 3) ** 0.5
    assert old.mean() == pytest.approx(mean, abs=0.06)
    correlation = np.mean((old - mean) * (now - mean).conj()) / now.var()
    assert correlation == pytest.approx(0.9**delay, abs=0.06)


def test_there_is_nothing_to_delay_on_awgn() -> None:
    assert delayed("awgn", 1 + 0j, generator(), Fading(), 3) == 1
