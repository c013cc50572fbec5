"""OFDM over multipath against theory: statistics of gains, estimators, error rates."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.phy.multipath import Multipath
from simulator.phy.ofdm import zadoff_chu
from simulator.phy.profile import exponential, tapped
from simulator.phy.streams import complex_normal, stream
from simulator.phy.waves import clarke

N, CP, TAPS = 64, 16, 8
STILL = Multipath(exponential(TAPS), N, CP)


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "h", 2)


def many(law: Multipath, count: int = 4000, k: int = N) -> np.ndarray:
    """(count, gains)."""
    source = generator()
    return np.stack([law.gains(source, k) for _ in range(count)])


def test_layout_of_pilots_and_symbols() -> None:
    """150 symbols in three OFDM symbols, behind pilots each two of them."""
    law = replace(STILL, estimated=True, spacing=2)
    assert (law.grid.count(150), law.pilots(150)) == (5, 128)
    assert law.uses(150) == 5 * (N + CP)
    assert law.grid.with_pilots(150).tolist() == [0, 3]
    assert law.grid.order(150).tolist() == [0, 3, 1, 2, 4]
    assert STILL.uses(1) == N + CP and STILL.pilots(1) == 0
    moving = replace(law, doppler=1e-5)
    assert moving.count(150) == 5 * N and law.count(150) == N
    assert moving.of_symbols(150)[[0, 64, 149]].tolist() == [N, 2 * N, 4 * N + 21]


def test_a_frequency_gain_is_what_the_samples_see() -> None:
    """Prefix, convolution with the taps and a Fourier transform, sample by sample."""
    k = 3 * N
    h = STILL.gains(generator(), k)
    sent = complex_normal(generator(1), k)
    taps = np.fft.ifft(h)
    assert np.abs(taps[TAPS:]).max() < 1e-6
    symbols = np.fft.ifft(sent.reshape(3, N), norm="ortho")
    air = np.concatenate([symbols[:, -CP:], symbols], axis=1).reshape(-1)
    heard = np.convolve(air, taps[:TAPS])[: len(air)].reshape(3, N + CP)[:, CP:]
    got = np.fft.fft(heard, norm="ortho").reshape(-1)
    np.testing.assert_allclose(got, STILL.faded(sent, h, k), atol=1e-5)


@pytest.mark.parametrize("profile", [exponential(TAPS), tapped("tdl-a", 1.5), tapped("tdl-d", 1.0)])
def test_gains_are_correlated_as_the_profile_says(profile) -> None:
    """Four standard errors of an average over 4,000 draws."""
    h = many(Multipath(profile, N, CP))
    measured = h.T @ h.conj() / len(h)
    assert np.abs(measured - profile.correlation(N)).max() < 4 / np.sqrt(len(h)) * 1.5


def test_the_power_of_the_taps_is_the_profile() -> None:
    taps = np.fft.ifft(many(STILL), axis=1)[:, :TAPS]
    measured = (np.abs(taps) ** 2).mean(axis=0)
    expected = exponential(TAPS).powers
    assert np.abs(measured / expected - 1).max() < 4 / np.sqrt(4000)


def test_gains_turn_with_clarkes_spectrum() -> None:
    """E h(t) conj(h(t + d)) = J0(2 pi f d)."""
    law = replace(STILL, doppler=2e-4)
    k = 40 * N
    h = many(law, 600, k).reshape(600, 40, N)
    lags = np.arange(40)
    measured = np.array([(h[:, 0] * h[:, lag].conj()).mean() for lag in lags])
    expected = clarke(2 * np.pi * 2e-4 * (N + CP) * lags)
    assert np.abs(measured - expected).max() < 0.08
    assert (np.abs(h) ** 2).mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("x", "value"), [(0, 1), (2.404825557695773, 0), (3.8317, -0.40276), (50, 0.05581233)]
)
def test_bessel(x: float, value: float) -> None:
    assert clarke(np.array([x]))[0] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("n", [63, 64, 100])
def test_pilots_have_one_amplitude_in_both_domains(n: int) -> None:
    pilots = zadoff_chu(n)
    assert np.allclose(np.abs(pilots), 1, atol=1e-5)
    assert np.allclose(np.abs(np.fft.ifft(pilots, norm="ortho")), 1, atol=1e-4)


def heard(law: Multipath, snr_db: float, k: int, count: int, rounds: int = 1):
    """Frames without information, as they are heard: (gains, what the receiver takes for them)."""
    sigma = np.float32(10 ** (-snr_db / 20))
    truth, got = [], []
    source, noise = generator(3), generator(4)
    for _ in range(count):
        h = law.gains(source, k)
        sent = np.concatenate([law.pilot_symbols(k), np.ones(k, np.complex64)])
        parts = [
            law.faded(sent, h, k) + sigma * complex_normal(noise, len(sent)) for _ in range(rounds)
        ]
        each = law.hear(np.concatenate(parts), h[:0], k, snr_db, rounds)
        truth.append(np.tile(h[law.of_symbols(k)], rounds))
        got.append(each)
    return np.stack(truth), got


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    "fields",
    [
        {"estimator": "ls"},
        {"estimator": "lmmse"},
        {"estimator": "ls", "spacing": 4, "doppler": 1e-4},
        {"estimator": "lmmse", "spacing": 4, "doppler": 1e-4},
    ],
)
def test_estimates_are_as_wrong_as_the_receiver_reckons(fields, rounds: int) -> None:
    law = replace(STILL, estimated=True, **fields)
    truth, got = heard(law, 5.0, 8 * N, 150, rounds)
    wrong = np.mean([np.abs(a - b.h) ** 2 for a, b in zip(truth, got, strict=True)])
    assert got[0].error == pytest.approx(wrong, rel=0.12)


def test_what_is_known_of_the_channel_helps_the_estimate() -> None:
    """Least squares has the noise of one pilot; LMMSE knows that 8 taps make 64 subcarriers."""
    n0 = 10**-0.5
    simple, known = (
        heard(replace(STILL, estimated=True, estimator=each), 5.0, N, 1)[1][0].error
        for each in ("ls", "lmmse")
    )
    assert simple == pytest.approx(n0)
    assert known < n0 * TAPS / N


def qpsk(source: np.random.Generator, n: int) -> np.ndarray:
    bits = source.integers(0, 2, (n, 2))
    return ((1 - 2 * bits) @ np.array([1, 1j]) / np.sqrt(2)).astype(np.complex64)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_bit_error_rate_of_qpsk_is_that_of_rayleigh_fading(snr_db: float) -> None:
    """Each subcarrier fades like Rayleigh: (1 - sqrt(g / (1 + g))) / 2, g = Eb/N0."""
    k, frames = 40 * N, 300
    source, noise = generator(5), generator(6)
    rates = []
    for _ in range(frames):
        h = STILL.gains(source, k)
        sent = qpsk(source, k)
        sigma = np.float32(10 ** (-snr_db / 20))
        received = STILL.faded(sent, h, k) + sigma * complex_normal(noise, k)
        got = STILL.hear(received, h, k, snr_db).equalised("zero-forcing")
        wrong = (got.real * sent.real < 0).mean() + (got.imag * sent.imag < 0).mean()
        rates.append(wrong / 2)
    g = 10 ** (snr_db / 10) / 2
    expected = (1 - np.sqrt(g / (1 + g))) / 2
    spread = np.std(rates) / np.sqrt(frames)
    assert abs(np.mean(rates) - expected) < 4 * spread
    assert 4 * spread < 0.2 * expected  # the test can fail


def test_bit_error_rate_under_estimated_gains() -> None:
    """Least squares, one pilot: noise N0 in the estimate, too. The correlation of estimate and
    truth decides (Proakis, appendix C): (1 - mu) / 2, mu = rho / sqrt(2 - rho^2) for QPSK."""
    law = replace(STILL, estimated=True, estimator="ls")
    k, frames, snr_db = 40 * N, 300, 10.0
    source, noise = generator(5), generator(6)
    sigma = np.float32(10 ** (-snr_db / 20))
    rates = []
    for _ in range(frames):
        h = law.gains(source, k)
        sent = qpsk(source, k)
        whole = np.concatenate([law.pilot_symbols(k), sent])
        received = law.faded(whole, h, k) + sigma * complex_normal(noise, len(whole))
        got = law.hear(received, h[:0], k, snr_db).equalised("zero-forcing")
        wrong = (got.real * sent.real < 0).mean() + (got.imag * sent.imag < 0).mean()
        rates.append(wrong / 2)
    n0 = 10 ** (-snr_db / 10)
    rho = 1 / (1 + n0)  # of estimate and received symbol, both with noise n0
    expected = (1 - rho / np.sqrt(2 - rho**2)) / 2
    assert abs(np.mean(rates) - expected) < 4 * np.std(rates) / np.sqrt(frames)


def rician_qpsk(k_factor: float, snr_db: float) -> float:
    """Bit error rate of QPSK over a Rician gain, by its moment generating function (Simon and
    Alouini, 8.2)."""
    g = 10 ** (snr_db / 10) / 2
    theta = (np.arange(2000) + 0.5) * np.pi / 4000
    below = 1 + k_factor + g / np.sin(theta) ** 2
    values = (1 + k_factor) / below * np.exp(-k_factor * g / np.sin(theta) ** 2 / below)
    return float(values.mean() / 2)


@pytest.mark.parametrize("name", ["tdl-d", "tdl-e"])
def test_bit_error_rate_with_a_line_of_sight(name: str) -> None:
    profile = tapped(name, 0.5)
    law = Multipath(profile, N, CP)
    k, snr_db = 20 * N, 6.0
    source, noise = generator(5), generator(6)
    sigma, rates = np.float32(10 ** (-snr_db / 20)), []
    for _ in range(600):
        h = law.gains(source, k)
        sent = qpsk(source, k)
        received = law.faded(sent, h, k) + sigma * complex_normal(noise, k)
        got = law.hear(received, h, k, snr_db).equalised("zero-forcing")
        rates.append(((got.real * sent.real < 0).mean() + (got.imag * sent.imag < 0).mean()) / 2)
    expected = rician_qpsk(profile.line_of_sight / profile.powers.sum(), snr_db)
    assert abs(np.mean(rates) - expected) < 4 * np.std(rates) / np.sqrt(len(rates))


def test_gains_of_an_earlier_frame() -> None:
    law = replace(STILL, correlation=0.9)
    source, other = generator(1), generator(2)
    now = np.stack([law.gains(source, N) for _ in range(4000)])
    before = np.stack([law.before(h, other, 2) for h in now])
    assert (before * now.conj()).mean() == pytest.approx(0.81, abs=0.03)
    assert (np.abs(before) ** 2).mean() == pytest.approx(1, abs=0.03)


def test_wrong_numbers_of_gains() -> None:
    with pytest.raises(ValueError, match="3 gains for 64 subcarriers"):
        STILL.hear(np.ones(N, np.complex64), np.ones(3, np.complex64), N, 10.0)
