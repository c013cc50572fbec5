"""Several antennas against theory: error rates, diversity, capacity."""

from math import comb

import numpy as np
import pytest

from simulator.phy.antennas import Antennas
from simulator.phy.detection import bits_per_use, linear
from simulator.phy.mimo import Mimo
from simulator.phy.streams import complex_normal, stream

ZF = Antennas(2, 2, scheme="multiplexing", detector="zero-forcing")
MMSE = Antennas(2, 2, scheme="multiplexing")
SVD = Antennas(2, 2, scheme="svd")


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "h", 2)


def qpsk(source: np.random.Generator, n: int) -> np.ndarray:
    bits = source.integers(0, 2, (n, 2))
    return ((1 - 2 * bits) @ np.array([1, 1j]) / np.sqrt(2)).astype(np.complex64)


def bpsk(source: np.random.Generator, n: int) -> np.ndarray:
    return (1 - 2 * source.integers(0, 2, n)).astype(np.complex64)


def with_diversity(order: int, g: float) -> float:
    """Bit error rate of maximum ratio combining, ``g``: mean Eb/N0 of a branch (Proakis, 14.4-15,
    coherent BPSK)."""
    mu = np.sqrt(g / (1 + g))
    ways = (comb(order - 1 + m, m) * ((1 + mu) / 2) ** m for m in range(order))
    return float(((1 - mu) / 2) ** order * sum(ways))


def measured(
    antennas: Antennas, snr_db: float, frames: int, k: int = 60, each: int = 0, kind: str = "qpsk"
) -> tuple[np.ndarray, np.ndarray]:
    """Bit error rates of all streams, (M,), and their standard errors."""
    law = Mimo(antennas, each)
    source, noise = generator(5), generator(6)
    sigma, make = np.float32(10 ** (-snr_db / 20)), qpsk if kind == "qpsk" else bpsk
    errors = np.empty((frames, k))
    for wrong in errors:
        h, sent = law.gains(source, k), make(source, k)
        clean = law.faded(np.concatenate([law.pilot_symbols(k), sent]), h, k)
        received = clean + sigma * complex_normal(noise, len(clean))
        got = law.hear(received, h, k, snr_db).equalised("zero-forcing")
        wrong[:] = got.real * sent.real < 0
        if kind == "qpsk":
            wrong[:] = (wrong + (got.imag * sent.imag < 0)) / 2
    of, streams = law.of_symbols(k), len(law.effective(h, snr_db))
    rates = [errors[:, of == i].mean(axis=1) for i in range(streams)]
    return np.mean(rates, axis=1), np.std(rates, axis=1) / np.sqrt(frames)


CLOSED = {  # antennas, diversity order, power of a branch
    "mrc 1x2": (Antennas(1, 2, scheme="mrc"), 2, 1),
    "mrc 1x4": (Antennas(1, 4, scheme="mrc"), 4, 1),
    "alamouti 2x1": (Antennas(2, 1), 2, 1 / 2),
    "alamouti 2x2": (Antennas(2, 2), 4, 1 / 2),
    "zero forcing 2x2": (ZF, 1, 1 / 2),
    "zero forcing 2x3": (Antennas(2, 3, 0, 0, "multiplexing", "zero-forcing"), 2, 1 / 2),
}


@pytest.mark.parametrize(("snr_db", "kind"), [(0.0, "bpsk"), (4.0, "qpsk")])
@pytest.mark.parametrize("name", CLOSED)
def test_bit_error_rates_are_the_closed_forms(name: str, snr_db: float, kind: str) -> None:
    """Orthogonal codes and combining have all branches, zero forcing N_r - N_t + 1 of them."""
    antennas, order, power = CLOSED[name]
    rate, spread = measured(antennas, snr_db, 3000, kind=kind)
    bits = 2 if kind == "qpsk" else 1
    expected = with_diversity(order, power * 10 ** (snr_db / 10) / bits)
    streams = np.sqrt(len(rate))
    assert abs(rate.mean() - expected) < 4 * np.sqrt((spread**2).mean()) / streams + 1e-9
    assert 4 * spread.max() < 0.5 * expected  # the test can fail


@pytest.mark.parametrize("name", CLOSED)
def test_the_slope_is_the_diversity_order(name: str) -> None:
    """The mean of Q(sqrt(SINR)) over gains, over 6 dB: deep fades of four branches are too rare
    to be met at a higher SNR."""
    antennas, order, power = CLOSED[name]
    law, source, count = Mimo(antennas), generator(7), 30_000
    h = [law.gains(source, 2) for _ in range(count)]
    start_db = 3.0 if order == 4 else 8.0
    rates = []
    for branch_db in (start_db, start_db + 6):
        snr_db = branch_db - 10 * np.log10(power)
        snr = 10 ** (snr_db / 10)
        sinr = np.array([np.abs(law.effective(each, snr_db)[0]) ** 2 * snr for each in h])
        rates.append(tail(np.sqrt(sinr)).mean())

    def slope(orders: int) -> float:
        exact = [with_diversity(orders, 10 ** (db / 10) / 2) for db in (start_db, start_db + 6)]
        return float(-np.log10(exact[1] / exact[0]) / 0.6)

    found, expected = -np.log10(rates[1] / rates[0]) / 0.6, slope(order)
    assert found == pytest.approx(expected, rel=0.07)
    assert 0.07 * expected < (slope(order + 1) - expected) / 2  # another order is another slope


def tail(x: np.ndarray) -> np.ndarray:
    """Q(x) for x >= 0, by Craig's integral."""
    theta = (np.arange(200) + 0.5) * np.pi / 400
    return np.concatenate(
        [
            np.exp(-(part[:, None] ** 2) / (2 * np.sin(theta) ** 2)).mean(axis=1) / 2
            for part in np.array_split(x, 40)
        ]
    )


def test_alamouti_is_combining_with_half_the_power() -> None:
    """3 dB, exactly: the same gains at both ends have the same sum of powers."""
    h = Mimo(Antennas(2, 1)).gains(generator(), 2)
    coded = Mimo(Antennas(2, 1)).effective(h, 7.0)
    both = Mimo(Antennas(1, 2, scheme="mrc")).effective(h, 7.0)
    assert abs(both[0]) ** 2 / abs(coded[0]) ** 2 == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("snr_db", [3.0, 12.0])
def test_bit_error_rate_of_mmse_is_that_of_its_interference(snr_db: float) -> None:
    """Given H, an error is as likely as noise beside the four symbols of the other stream says;
    weights here come from solving (A A^H + n0 I) w = a."""
    source, law, beside = generator(5), Mimo(MMSE), []
    n0 = 10 ** (-snr_db / 10)
    points = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / np.sqrt(2)
    for _ in range(3000):
        a = law.gains(source, 60).reshape(2, 2).astype(complex) / np.sqrt(2)
        qpsk(source, 60)  # the same gains as below
        weights = np.linalg.solve(a @ a.conj().T + n0 * np.eye(2), a[:, 0]).conj()
        wanted, other = weights @ a
        means = np.real(wanted / np.sqrt(2) + other * points)
        deviation = np.sqrt(np.sum(np.abs(weights) ** 2) * n0 / 2)
        beside.append(means / deviation)
    x = np.concatenate(beside)
    expected = np.where(x >= 0, tail(np.abs(x)), 1 - tail(np.abs(x))).mean()
    rate, spread = measured(MMSE, snr_db, 3000)
    assert abs(rate[0] - expected) < 4 * spread[0]
    assert rate.mean() < measured(ZF, snr_db, 3000)[0].mean()


@pytest.mark.parametrize("snr_db", [4.0, 10.0])
def test_bit_error_rate_of_the_weaker_singular_vector(snr_db: float) -> None:
    """The smaller eigenvalue of 2x2 is exponential of mean 1/2, so it fades like Rayleigh; the
    larger one has the density e^-x (x^2 - 2 x + 2) - 2 e^-2x."""
    rate, spread = measured(SVD, snr_db, 5000)
    g = 10 ** (snr_db / 10) / 4  # Eb/N0 of a unit eigenvalue: half the power, half a symbol
    weak = with_diversity(1, g / 2)
    x = (np.arange(6000) + 0.5) / 200
    density = np.exp(-x) * (x * x - 2 * x + 2) - 2 * np.exp(-2 * x)
    strong = float(np.sum(tail(np.sqrt(2 * g * x)) * density) / 200)
    assert (np.abs(rate - [strong, weak]) < 4 * spread).all()
    assert 4 * spread[1] < 0.2 * weak


def test_cancelling_a_soft_estimate_gains_nothing() -> None:
    """Mean square errors of the second stream, over 500 channels at 10 dB: all of them as good as
    without cancellation at most, whichever share of the estimate is taken away."""
    law, source, n0 = Mimo(MMSE), generator(), 0.1
    once, after = [], {share: [] for share in (0.5, 1.0)}
    for _ in range(500):
        a = law.gains(source, 2).reshape(2, 2).astype(complex) / np.sqrt(2)
        order = np.argsort(-linear(a, n0, "mmse")[1])
        a = a[:, order]
        covariance = a @ a.conj().T + n0 * np.eye(2)
        first = np.linalg.solve(covariance, a[:, 0]).conj()
        once.append(1 - np.real(a[:, 1].conj() @ np.linalg.solve(covariance, a[:, 1])))
        for share, errors in after.items():
            left = np.eye(2) - share * np.outer(a[:, 0], first)  # what it does to y
            cross = left @ a[:, 1]
            whole = left @ covariance @ left.conj().T
            errors.append(1 - np.real(cross.conj() @ np.linalg.solve(whole, cross)))
    for errors in after.values():
        assert (np.array(errors) > np.array(once) - 1e-9).all()
    assert np.mean(after[1.0]) == pytest.approx(np.mean(once), rel=1e-6)


# Capacity


def telatar(snr: float, receive: int) -> float:
    """Ergodic capacity of N x N by the density of one eigenvalue, with Laguerre polynomials
    (Telatar, 1999, theorem 2)."""
    n = receive
    x = (np.arange(60_000) + 0.5) / 1000
    below, now = np.zeros_like(x), np.ones_like(x)
    density = np.zeros_like(x)
    for k in range(n):
        density += now**2 * np.exp(-x)
        below, now = now, ((2 * k + 1 - x) * now - k * below) / (k + 1)
    return float(np.sum(np.log2(1 + snr * x / n) * density) / 1000)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_ergodic_capacity_is_telatars(snr_db: float, n: int) -> None:
    law, source = Mimo(Antennas(n, n, scheme="multiplexing")), generator()
    snr, k = 10 ** (snr_db / 10), 40
    rates = [law.capacity(law.gains(source, k), k, snr) * n for _ in range(10_000)]
    spread = np.std(rates) / 100
    assert abs(np.mean(rates) - telatar(snr, n)) < 4 * spread < 0.02 * np.mean(rates)


def test_outage_capacity() -> None:
    """The rates that shares of 20,000 channels do not have, by 1 + tr + det of channels drawn and
    computed elsewhere: as many of ours are below them, within four standard errors."""
    count, snr = 20_000, 10.0
    rng = np.random.default_rng(1)
    h = (rng.normal(size=(100_000, 4)) + 1j * rng.normal(size=(100_000, 4))) / np.sqrt(2)
    power = (np.abs(h) ** 2).sum(axis=1) * snr / 2
    area = np.abs(h[:, 0] * h[:, 3] - h[:, 1] * h[:, 2]) ** 2 * (snr / 2) ** 2
    elsewhere = np.log2(1 + power + area)
    law, source = Mimo(MMSE), generator()
    ours = np.array([2 * law.capacity(law.gains(source, 2), 2, snr) for _ in range(count)])
    for outage in (0.01, 0.1, 0.5):
        below = (ours < np.quantile(elsewhere, outage)).mean()
        assert abs(below - outage) < 4 * np.sqrt(outage * (1 - outage) * (1 / count + 1e-5))


def test_capacity_counts_uses() -> None:
    """Two streams carry two symbols in a use, of which each has half; a use is filled up."""
    h = Mimo(MMSE).gains(generator(), 2)
    whole = bits_per_use(h.reshape(2, 2).astype(complex) / np.sqrt(2), 10.0)
    assert Mimo(MMSE).capacity(h, 4, 10.0) == pytest.approx(whole / 2)
    assert Mimo(MMSE).capacity(h, 3, 10.0) == pytest.approx(whole * 2 / 3)
    assert Mimo(Antennas(2, 2)).capacity(h, 4, 10.0) == pytest.approx(whole)
    values = np.linalg.svd(h.reshape(2, 2))[1]
    sums = np.log2(1 + 10 * values**2 / 2).sum()
    assert Mimo(SVD).capacity(h, 4, 10.0) == pytest.approx(sums / 2)


def test_no_scheme_has_more_than_the_capacity() -> None:
    source, snr_db, k = generator(), 10.0, 4
    for antennas in (Antennas(2, 2), MMSE, ZF, SVD, Antennas(1, 3, scheme="mrc")):
        law = Mimo(antennas)
        for _ in range(200):
            h = law.gains(source, k)
            g = np.abs(law.effective(h, snr_db)[law.of_symbols(k)]) ** 2
            assert np.log2(1 + 10 * g).mean() <= law.capacity(h, k, 10.0) * (1 + 1e-6)
