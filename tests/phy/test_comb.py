"""Combs of pilots: where they are, and estimates from them against theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.phy import estimate
from simulator.phy.multipath import Multipath
from simulator.phy.ofdm import Comb
from simulator.phy.profile import exponential, tapped
from simulator.phy.streams import complex_normal, stream

N, CP, TAPS = 64, 16, 8
STILL = Multipath(exponential(TAPS), N, CP, estimated=True, comb=4, estimator="lmmse")
MOVING = replace(STILL, doppler=4e-4, spacing=2)


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "h", 2)


def test_every_fourth_subcarrier_of_every_second_ofdm_symbol() -> None:
    """16 pilots and 48 symbols, then 64 symbols: 112 in two OFDM symbols, 150 need a third."""
    grid = Comb(N, 2, every=4)
    assert [grid.count(k) for k in (1, 48, 49, 112, 113, 160, 161)] == [1, 1, 2, 2, 3, 3, 4]
    assert grid.with_pilots(150).tolist() == [0, 2] and grid.pilots(150) == 32
    of_frequency = np.sort(np.fft.fftfreq(N)[grid.teeth] * N)
    assert np.all(np.diff(of_frequency) == 4)
    assert of_frequency[0] - -32 <= 2 and 31 - of_frequency[-1] <= 2  # ends alike
    assert MOVING.uses(150) == 3 * (N + CP) and MOVING.count(150) == 3 * N


@pytest.mark.parametrize("spacing", [0, 1, 3])
@pytest.mark.parametrize("k", [1, 47, 200])
@pytest.mark.parametrize(("n", "every"), [(64, 4), (50, 7), (2, 2)])
def test_every_cell_is_taken_once(spacing: int, k: int, n: int, every: int) -> None:
    law = Multipath(exponential(1), n, 0, 0.0, True, spacing, comb=every)
    sent = np.arange(1, k + law.pilots(k) + 1).astype(np.complex64)
    rows = law.grid.rows(sent, k)
    assert rows.size == n * law.grid.count(k) == law.uses(k)
    assert np.count_nonzero(rows) == len(sent) and (rows[-1] != 0).any()
    assert np.array_equal(law.grid.flat(rows, k), sent)
    np.testing.assert_allclose(law.symbols(law.samples(sent, k), k), sent, atol=1e-4)
    subcarriers = np.tile(np.arange(n), len(rows)).astype(np.complex64)
    assert np.array_equal(law.of_each_symbol(subcarriers, k), law.of_symbols(k))


def heard(law: Multipath, snr_db: float, k: int, count: int):
    """Mean square errors of the gains of each frame, and what the receiver takes them to be."""
    source, noise, sigma = generator(3), generator(4), np.float32(10 ** (-snr_db / 20))
    wrong, reckoned = [], 0.0
    for _ in range(count):
        h = law.gains(source, k)
        sent = np.concatenate([law.pilot_symbols(k), np.ones(k, np.complex64)])
        received = law.faded(sent, h, k) + sigma * complex_normal(noise, len(sent))
        got = law.hear(received, h[:0], k, snr_db)
        wrong.append(np.mean(np.abs(got.h - h[law.of_symbols(k)]) ** 2))
        reckoned = got.error
    return np.array(wrong), reckoned


def least(law: Multipath, n0: float, k: int) -> float:
    """What no linear estimate is below: of each symbol, from all pilots of the frame at once."""
    cells = law.grid.cells(k)
    pilots = (law.grid.with_pilots(k)[:, None] * N + law.grid.teeth).reshape(-1)
    if not law.doppler:
        cells, pilots, n0 = cells % N, law.grid.teeth, n0 / len(law.grid.with_pilots(k))

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        over = law.statistics.over(a[:, None] // N - b // N)
        return over * law.profile.correlation(N)[np.ix_(a % N, b % N)]

    towards = covariance(cells, pilots)
    among = covariance(pilots, pilots) + n0 * np.eye(len(pilots))
    kept = (towards * np.linalg.solve(among, towards.conj().T).T).sum(axis=1).real
    return float(1 - kept.mean())


@pytest.mark.parametrize("snr_db", [1.0, 13.0])
@pytest.mark.parametrize(
    "law",
    [STILL, replace(STILL, spacing=2), MOVING, replace(MOVING, profile=tapped("tdl-a", 1.5))],
    ids=["one comb", "several combs", "moving", "tdl-a"],
)
def test_the_error_of_lmmse_is_the_least_there_is(law: Multipath, snr_db: float) -> None:
    k = 300
    wrong, reckoned = heard(law, snr_db, k, 120)
    assert reckoned == pytest.approx(least(law, 10 ** (-snr_db / 10), k), rel=1e-6)
    spread = wrong.std() / len(wrong) ** 0.5
    assert abs(wrong.mean() - reckoned) < 4 * spread < 0.4 * reckoned


@pytest.mark.parametrize("law", [STILL, MOVING], ids=["still", "moving"])
def test_least_squares_is_as_wrong_as_the_receiver_reckons(law: Multipath) -> None:
    k, simple = 300, replace(law, estimator="ls")
    wrong, reckoned = heard(simple, 10.0, k, 120)
    spread = wrong.std() / len(wrong) ** 0.5
    assert abs(wrong.mean() - reckoned) < 4 * spread < 0.4 * reckoned
    assert reckoned > least(law, 0.1, k)


def test_a_long_frame_is_estimated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 combs in three parts that know their neighbours are little worse than 40 at once."""
    law, k = replace(MOVING, spacing=1), 40 * 48
    monkeypatch.setattr(estimate, "PART", 16)
    monkeypatch.setattr(estimate, "BESIDE", 8)
    wrong, reckoned = heard(law, 10.0, k, 40)
    spread = wrong.std() / len(wrong) ** 0.5
    assert abs(wrong.mean() - reckoned) < 4 * spread < 0.2 * reckoned
    assert 1 < reckoned / least(law, 0.1, k) < 1.1


def test_combs_follow_what_moves_fast() -> None:
    """A quarter of all subcarriers are pilots in both cases: the gains of whole OFDM symbols of
    pilots are old before the next one comes."""
    k = 900
    comb = replace(STILL, doppler=1.5e-3, spacing=1)
    whole = replace(comb, comb=0, spacing=3)
    assert abs(comb.pilots(k) - whole.pilots(k)) <= N
    (of_comb, _), (of_whole, _) = heard(comb, 10.0, k, 20), heard(whole, 10.0, k, 20)
    assert of_comb.mean() < 0.5 * of_whole.mean()


@pytest.mark.parametrize("law", [STILL, replace(MOVING, doppler=1e-4)], ids=["still", "moving"])
def test_bit_errors_behind_an_lmmse_estimate(law: Multipath) -> None:
    """The error is independent of the estimate, so each subcarrier fades like Rayleigh at
    g = Eb/N0 of (1 - e) / (N0 + e): (1 - sqrt(g / (1 + g))) / 2."""
    k, snr_db, frames = 20 * N, 6.0, 150
    source, noise, sigma = generator(5), generator(6), np.float32(10 ** (-snr_db / 20))
    rates, error = [], 0.0
    for _ in range(frames):
        h = law.gains(source, k)
        bits = source.integers(0, 2, (k, 2))
        data = ((1 - 2 * bits) @ np.array([1, 1j]) / np.sqrt(2)).astype(np.complex64)
        sent = np.concatenate([law.pilot_symbols(k), data])
        received = law.faded(sent, h, k) + sigma * complex_normal(noise, len(sent))
        got = law.hear(received, h[:0], k, snr_db)
        symbols, error = got.equalised("zero-forcing"), got.error
        wrong = np.stack([symbols.real, symbols.imag], axis=1) * (1 - 2 * bits) < 0
        rates.append(wrong.mean())
    g = (1 - error) / (10 ** (-snr_db / 10) + error) / 2
    expected = (1 - np.sqrt(g / (1 + g))) / 2
    spread = np.std(rates) / np.sqrt(frames)
    assert abs(np.mean(rates) - expected) < 4 * spread < 0.2 * expected
