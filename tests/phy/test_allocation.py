"""Power over subcarriers, by the transmitter that knows their gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.phy.allocation import Allocated, Power, allocated
from simulator.phy.laws import Waveform
from simulator.phy.profile import profile_of
from simulator.phy.propagation import noise_variance
from simulator.phy.streams import complex_normal

N, K, SNR_DB = 64, 64 * 5 + 3, 3.0
LAW = Allocated(profile_of("exponential", 8, 0.0), N, 16)
KINDS: tuple[Power, ...] = ("water-filling", "least-error")


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def worth(power: Power, p: np.ndarray, g: np.ndarray) -> float:
    """What each is to make as large as it gets."""
    if power == "water-filling":
        return float(np.log2(1 + p * g).sum())
    return -float((1 / (1 + p * g)).sum())


@pytest.mark.parametrize("power", KINDS)
@pytest.mark.parametrize("snr", [0.03, 1.0, 300.0])
def test_no_other_sharing_is_better(power: Power, snr: float) -> None:
    source = generator(1)
    for _ in range(20):
        g = snr * source.exponential(size=24)
        p = allocated(power, g)
        assert (p >= 0).all() and p.mean() == pytest.approx(1)
        best = worth(power, p, g)
        assert best >= worth(power, np.ones(24), g)
        for _ in range(50):  # a little of it goes from one subcarrier to another
            a, b = source.choice(24, 2, replace=False)
            moved = p.copy()
            step = min(p[a], 0.01)
            moved[a], moved[b] = p[a] - step, p[b] + step
            assert worth(power, moved, g) <= best + 1e-12
    assert np.count_nonzero(allocated(power, 0.03 * np.arange(24.0))) < 24


def test_equal_gains_are_given_equal_power() -> None:
    for power in KINDS:
        np.testing.assert_allclose(allocated(power, np.full(7, 2.0)), 1)
        np.testing.assert_allclose(allocated(power, np.zeros(7)), 1)  # nothing arrives anyway
    np.testing.assert_array_equal(allocated("equal", np.arange(3.0)), 1)


@pytest.mark.parametrize("power", KINDS)
def test_the_receiver_undoes_it(power: Power) -> None:
    law = replace(LAW, power=power)
    source, n0 = generator(2), noise_variance(SNR_DB)
    sent, h = complex_normal(source, K), law.gains(source, K)
    on_air = law.shaped(sent, h, K, SNR_DB)
    whole = law.shaped(np.ones(N, np.complex64), h, N, SNR_DB)
    assert np.mean(np.abs(whole) ** 2) == pytest.approx(1, rel=1e-5)
    heard = law.hear(law.faded(on_air, h, K), h, K, SNR_DB)
    reaches = np.abs(heard.h) > 0
    assert 0 < np.count_nonzero(~reaches) < K
    np.testing.assert_allclose(heard.equalised("zero-forcing")[reaches], sent[reaches], atol=1e-4)
    np.testing.assert_array_equal(heard.state.h, law.effective(h, SNR_DB))
    assert law.capacity(h, N, 1 / n0) == pytest.approx(
        np.log2(1 + np.abs(law.effective(h, SNR_DB)) ** 2 / n0).mean(), rel=1e-5
    )


def test_water_brings_the_most_bits() -> None:
    source, snr = generator(3), 10 ** (SNR_DB / 10)
    drawn = [LAW.gains(source, N) for _ in range(200)]
    bits = {
        name: np.mean([replace(LAW, power=name).capacity(h, N, snr) for h in drawn])
        for name in ("equal", *KINDS)
    }
    assert bits["water-filling"] > 1.05 * bits["equal"]
    assert bits["water-filling"] > bits["least-error"]


def test_gains_that_move_or_are_estimated_are_refused() -> None:
    for fields in ({"doppler": 1e-4}, {"pilots": 1}):
        with pytest.raises(ValueError, match="power water-filling"):
            Waveform(power="water-filling", **fields)
