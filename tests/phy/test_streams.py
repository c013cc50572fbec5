"""Streams of a frame in each version of the draws: moments, independence, and the very values.

Tolerances are five standard deviations.
"""

from typing import get_args

import numpy as np
import pytest

from simulator.air import FIRST_DRAWS, NEWEST_DRAWS, AirSettings
from simulator.phy.streams import GENERATORS, complex_normal, stream

N = 40_000
KEY = bytes(range(32))
NAMES = ("h", "noise", "csit", "pilots")
versions = pytest.mark.parametrize("draws", GENERATORS)


def test_every_version_can_be_set() -> None:
    (literal, _) = get_args(AirSettings.model_fields["draws"].annotation)
    assert set(get_args(literal)) == set(GENERATORS)
    assert (min(GENERATORS), max(GENERATORS)) == (FIRST_DRAWS, NEWEST_DRAWS)
    assert AirSettings().draw_version == NEWEST_DRAWS


@versions
def test_complex_normal_has_half_its_variance_in_each_dimension(draws: int) -> None:
    z = complex_normal(stream(KEY, "noise", draws), N)
    assert z.dtype == np.complex64 and z.shape == (N,)
    assert z.real.var() == pytest.approx(0.5, abs=0.018)
    assert z.imag.var() == pytest.approx(0.5, abs=0.018)
    assert np.abs([z.real.mean(), z.imag.mean()]).max() < 5 * (0.5 / N) ** 0.5
    assert abs(np.mean(z.real * z.imag)) < 5 * 0.5 / N**0.5
    for part in (z.real, z.imag):
        kurtosis = np.mean(part.astype(float) ** 4) / np.mean(part.astype(float) ** 2) ** 2
        assert kurtosis == pytest.approx(3, abs=5 * (24 / N) ** 0.5)


@versions
def test_the_energy_of_a_symbol_is_exponential(draws: int) -> None:
    z = complex_normal(stream(KEY, "noise", draws), N).astype(complex)
    power = np.sort(np.abs(z) ** 2)
    steps = np.abs(1 - np.exp(-power) - np.arange(1, N + 1) / N).max()
    assert steps < 1.95 / N**0.5  # Kolmogorov-Smirnov, 0.001


def test_streams_are_separate_and_repeatable() -> None:
    draws = {
        (key, name, version): stream(key, name, version).random(4).tobytes()
        for key in (KEY, bytes(32))
        for name in NAMES
        for version in GENERATORS
    }
    assert len(set(draws.values())) == len(draws)
    for (key, name, version), drawn in draws.items():
        assert stream(key, name, version).random(4).tobytes() == drawn


def test_streams_of_names_keys_and_versions_are_uncorrelated() -> None:
    """Keys of one bit's difference, too, and streams that are shifted by a few symbols."""
    neighbour = bytes([KEY[0] ^ 1]) + KEY[1:]
    drawn = [
        complex_normal(stream(key, name, version), N)
        for key in (KEY, neighbour)
        for name in NAMES
        for version in GENERATORS
    ]
    for i, a in enumerate(drawn):
        for lag in (1, 2, 3, 64):
            assert abs(np.mean(a[lag:] * a[:-lag].conj())) < 5 / (N - lag) ** 0.5
        for b in drawn[:i]:
            for lag in (0, 1, 2):
                assert abs(np.mean(a[lag:] * b[: N - lag].conj())) < 5 / (N - lag) ** 0.5


@versions
def test_first_draws_of_frames_are_spread_as_all_are(draws: int) -> None:
    """A seed that is badly mixed shows in what is drawn first."""
    first = np.array(
        [complex_normal(stream(i.to_bytes(32, "big"), "noise", draws), 2) for i in range(4000)]
    )
    assert np.mean(np.abs(first.astype(complex)) ** 2, axis=0) == pytest.approx(1, abs=0.08)
    assert np.abs(first.mean(axis=0)).max() < 5 / 4000**0.5
    assert abs(np.mean(first[1:, 0] * first[:-1, 0].conj())) < 5 / 3999**0.5


@pytest.mark.parametrize(
    ("draws", "values"),
    [
        (1, [0.48880118, -0.7609989, 0.30375344, -0.14685838]),
        (2, [0.65751827, -1.7187876, -0.79781443, -0.12397192]),
    ],
)
def test_the_values_of_a_version_never_change(draws: int, values: list[float]) -> None:
    z = complex_normal(stream(KEY, "noise", draws), 2)
    assert z.view(np.float32).tolist() == pytest.approx(values, rel=1e-6)
