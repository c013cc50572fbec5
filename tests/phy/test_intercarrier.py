"""Gains that move within an OFDM symbol: samples, and the power of the interference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.phy.intercarrier import Intercarrier
from simulator.phy.law import Law
from simulator.phy.laws import Laws, Waveform
from simulator.phy.multipath import Multipath
from simulator.phy.profile import exponential, tapped
from simulator.phy.streams import complex_normal, stream
from simulator.phy.waves import Waves, clarke

N, CP, TAPS = 64, 16, 8
K = 10 * N
LAW = Intercarrier(exponential(TAPS), N, CP, doppler=2e-3)


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "h", 2)


def qpsk(source: np.random.Generator, k: int) -> np.ndarray:
    return np.exp(1j * np.pi * (source.integers(0, 4, k) / 2 + 0.25)).astype(np.complex64)


def test_a_setting_makes_it() -> None:
    still, moving = ({"within_symbol": True}, {"within_symbol": True, "doppler": 1e-3})
    assert type(Laws(Waveform(**still)).of("multipath")) is Multipath
    assert type(Laws(Waveform(**moving)).of("multipath")) is Intercarrier


def test_what_arrives_is_a_convolution_with_taps_that_move() -> None:
    """Sample by sample, prefixes included, in three OFDM symbols; pilots are on the air where they
    belong, between the symbols."""
    law = replace(LAW, estimated=True, spacing=1)
    k = 3 * N
    h = law.gains(generator(), k)
    sent = np.concatenate([law.pilot_symbols(k), qpsk(generator(1), k)])
    order = law.grid.order(k)
    rows = np.empty((6, N), complex)
    rows[order] = sent.reshape(6, N)
    symbols = np.fft.ifft(rows, norm="ortho")
    air = np.concatenate([symbols[:, -CP:], symbols], axis=1).reshape(-1)
    waves = Waves.of(h[-Waves.count(law.profile) :], law.profile)
    times = np.arange(len(air))
    taps = waves.gains(law.profile, law.doppler, np.zeros(1), times)[:, 0]
    heard = sum(taps[i] * np.concatenate([np.zeros(i), air[: len(air) - i]]) for i in range(TAPS))
    got = np.fft.fft(heard.reshape(6, N + CP)[:, CP:], norm="ortho")[order].reshape(-1)
    np.testing.assert_allclose(law.faded(sent, h, k), got, atol=2e-4)


def test_gains_that_hardly_move_are_those_that_stand_still() -> None:
    law = replace(LAW, doppler=1e-7)
    h, sent = law.gains(generator(), K), qpsk(generator(1), K)
    same = Multipath(law.profile, N, CP, law.doppler)
    assert law.interference == pytest.approx(0, abs=1e-8)
    np.testing.assert_allclose(
        law.faded(sent, h, K), same.faded(sent, law.effective(h, 0.0), K), atol=1e-3
    )
    np.testing.assert_allclose(law.effective(h, 0.0), same.gains(generator(), K), atol=1e-3)


def test_scrambled_symbols_disturb_as_what_is_on_the_air() -> None:
    """The same gains; subcarriers hear of the others what those carry, in their own turn."""
    law = replace(LAW, scramble=True)
    h, sent = law.gains(generator(), K), qpsk(generator(1), K)
    on_air = LAW.faded(law.scrambled(sent, K), h, K)
    np.testing.assert_allclose(law.faded(sent, h, K), law.descrambled(on_air, K), atol=1e-5)
    assert np.abs(law.faded(sent, h, K) - LAW.faded(sent, h, K)).max() > 1e-2


def interference(law: Intercarrier, frames: int) -> tuple[float, float, float]:
    """Measured power, its standard error, and the power of the gains."""
    source, powers, gains = generator(2), [], []
    for _ in range(frames):
        h, sent = law.gains(source, K), qpsk(source, K)
        own = h[: law.grid.count(K) * N]
        powers.append(np.mean(np.abs(law.faded(sent, h, K) - own * sent) ** 2))
        gains.append(np.mean(np.abs(own) ** 2))
    return float(np.mean(powers)), float(np.std(powers) / frames**0.5), float(np.mean(gains))


def of_theory(turn: float) -> float:
    """1 - the integral of (1 - abs(x)) J0(2 pi turn x) from -1 to 1; ``turn``: f T, T without the
    prefix (Li and Cimini 2001)."""
    x = (np.arange(2000) + 0.5) / 2000
    return float(1 - 2 * np.mean((1 - x) * clarke(2 * np.pi * turn * x)))


@pytest.mark.parametrize("turn", [0.03, 0.1, 0.3])
def test_interference_is_what_theory_says(turn: float) -> None:
    law = replace(LAW, doppler=turn / N)
    measured, spread, gains = interference(law, 60)
    assert law.interference == pytest.approx(of_theory(turn), rel=2e-3)
    assert abs(measured - law.interference) < 4 * spread < 0.2 * measured
    assert gains + measured == pytest.approx(1, abs=0.1)
    if turn < 0.05:
        assert law.interference == pytest.approx((2 * np.pi * turn) ** 2 / 24, rel=0.01)


def test_a_line_of_sight_has_one_shift() -> None:
    """Its power leaks as that of a carrier offset of 0.7 of the largest shift does."""
    law = replace(LAW, profile=tapped("tdl-d", 1.0), doppler=0.2 / N)
    measured, spread, _ = interference(law, 60)
    assert abs(measured - law.interference) < 4 * spread < 0.2 * measured


def normalised(law: Law, snr_db: float, known: bool) -> np.ndarray:
    """Of each frame, the mean of abs(error)^2 / what the receiver takes it to be."""
    source, noise, sigma = generator(3), generator(4), np.float32(10 ** (-snr_db / 20))
    ratios = []
    for _ in range(40):
        h, data = law.gains(source, K), qpsk(source, K)
        sent = np.concatenate([law.pilot_symbols(K), data])
        received = law.faded(sent, h, K) + sigma * complex_normal(noise, len(sent))
        heard = law.hear(received, h if known else h[:0], K, snr_db)
        variance = heard.noise_variance("zero-forcing")
        assert variance is not None
        wrong = np.abs(heard.equalised("zero-forcing") - data) ** 2
        ratios.append(np.mean(wrong / variance))
        if known:
            np.testing.assert_array_equal(heard.state.h, law.effective(h, snr_db))
    return np.array(ratios)


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, True),
        ({"estimated": True, "comb": 4, "spacing": 1, "estimator": "lmmse"}, False),
        ({"estimated": True, "spacing": 2, "estimator": "lmmse"}, False),
    ],
    ids=["known", "combs", "whole OFDM symbols"],
)
def test_the_receiver_reckons_with_it(fields: dict, known: bool) -> None:
    """30 dB: there is more interference than noise."""
    law = replace(LAW, doppler=0.03 / N, **fields)
    assert law.interference > 1e-3
    ratios = normalised(law, 30.0, known)
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / len(ratios) ** 0.5 < 0.2


def test_waves_are_what_their_values_say() -> None:
    profile = tapped("tdl-e", 1.0)
    waves = Waves.draw(generator(), profile)
    values = waves.values()
    assert len(values) == Waves.count(profile) and np.allclose(np.abs(values), 1)
    again = Waves.of(values, profile)
    at = (profile, 1e-3, np.arange(0, 640, 80), np.arange(64))
    np.testing.assert_allclose(again.gains(*at), waves.gains(*at), atol=1e-4)
    whole = again.gains(*at).mean(axis=2, keepdims=True)
    np.testing.assert_allclose(again.gains(*at, mean=True), whole, atol=1e-5)
    np.testing.assert_allclose(again.gains(*at, slice(3, 4))[0], again.gains(*at)[3], atol=1e-5)


@pytest.mark.parametrize("x", [899.0, 901.0, 5000.0])
def test_far_from_zero(x: float) -> None:
    theta = (np.arange(200_000) + 0.5) * np.pi / 200_000
    assert clarke(np.array([x]))[0] == pytest.approx(np.cos(x * np.cos(theta)).mean(), abs=1e-6)
