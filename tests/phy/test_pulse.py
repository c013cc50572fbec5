"""Root raised cosine: Nyquist at any phase of the samples."""

import numpy as np
import pytest

from simulator.phy.pulse import matched, reach, root_raised_cosine, shaped


def symbols(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2)) @ [1, 1j] / 2**0.5


def test_its_limits_are_those_of_its_neighbours() -> None:
    for t in (0, 1 / 1.4, -1 / 1.4):
        beside = root_raised_cosine(np.array([t - 1e-5, t + 1e-5])).mean()
        assert root_raised_cosine(np.array([t]))[0] == pytest.approx(beside, abs=1e-6)


def test_its_square_has_the_integral_one() -> None:
    t = np.arange(-400, 400, 0.01)
    assert np.sum(root_raised_cosine(t) ** 2) * 0.01 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("sps", [1, 2, 3, 4, 8])
def test_symbols_come_back_as_they_were(sps: int) -> None:
    sent = symbols(500)
    samples = np.pad(shaped(sent, sps), 2 * reach(sps))
    got = matched(samples, 3 * reach(sps), len(sent), sps)
    assert np.mean(np.abs(got - sent) ** 2) < 10**-5.8


@pytest.mark.parametrize("sps", [2, 4])
def test_symbols_between_samples_come_back_too(sps: int) -> None:
    sent = symbols(500)
    samples = np.pad(shaped(sent, sps), 2 * reach(sps))
    late = np.exp(-2j * np.pi * np.fft.fftfreq(len(samples)) * 0.43)
    got = matched(np.fft.ifft(np.fft.fft(samples) * late), 3 * reach(sps) + 0.43, 500, sps)
    assert 10 * np.log10(np.mean(np.abs(got - sent) ** 2)) < -55


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="of 10 samples"):
        matched(np.zeros(10, complex), 0, 4, 4)
