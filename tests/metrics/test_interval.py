"""Intervals: known values, and how often they hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.metrics.frechet import FrechetOfImages, frechet_of_features
from simulator.metrics.interval import (
    MANY,
    Estimate,
    bootstrap_interval,
    mean_interval,
    mean_of,
    t_quantile,
)


def test_quantiles_of_the_tables() -> None:
    """Student's t, two-sided 95 % and 99 %, as printed in any table."""
    for images, printed in ((2, 12.706), (11, 2.228), (24, 2.069), (31, 2.042)):
        assert t_quantile(images) == pytest.approx(printed, abs=5e-4)
    assert t_quantile(11, 0.99) == pytest.approx(3.169, abs=5e-4)
    assert t_quantile(10**6) == pytest.approx(1.95996, abs=1e-4)
    # The sum and the expansion meet.
    assert t_quantile(MANY + 2) == pytest.approx(t_quantile(MANY + 1), abs=1e-5)


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (10, 2.22814), (11, 2.20099),
     (30, 2.04227), (100, 1.98397), (1000, 1.96234)],
)  # fmt: skip
def test_quantiles_have_five_digits_of_the_tables(freedom: int, t: float) -> None:
    assert t_quantile(freedom + 1) == pytest.approx(t, rel=1e-5)


def test_a_mean_by_hand() -> None:
    """Means 1, 2, 3, 4, 5: s = sqrt(2.5), margin 2.776 sqrt(2.5 / 5)."""
    found = mean_interval([[1.0], [2.0], [2.0, 4.0], [4.0], [3.0, 7.0]])
    assert found is not None
    margin = 2.776445 * math.sqrt(0.5)
    assert (found.value, found.margin) == (pytest.approx(3), pytest.approx(margin, abs=1e-5))
    assert (found.low, found.high) == (pytest.approx(3 - margin), pytest.approx(3 + margin))


def test_one_image_has_no_spread_and_none_no_mean() -> None:
    assert mean_interval([[1.0, 3.0]]) == Estimate(2.0)
    assert mean_interval([[], [4.0]]) == Estimate(4.0)
    assert mean_interval([[], []]) is None
    assert Estimate(2.0).margin is None
    assert bootstrap_interval(lambda counts: 7.0, 1, np.random.default_rng(0)) == Estimate(7.0)


def test_repeats_of_an_image_are_no_new_images() -> None:
    once = mean_of([("a", 1.0), ("b", 3.0)])
    assert once == mean_of([("a", 0.5), ("a", 1.5), ("b", 3.0), ("b", 3.0)])
    assert once is not None and once.margin == pytest.approx(12.7062, rel=1e-5)
    assert once.text(1) == "2.0 ± 12.7" and mean_of([]) is None
    assert mean_of([("a", 2.0)]) == Estimate(2.0, None, 1)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for sample in rng.normal(5.0, 2.0, size=(2000, 4)):
        mean = mean_of((str(i), float(value)) for i, value in enumerate(sample))
        assert mean is not None and mean.margin is not None
        inside += abs(mean.value - 5.0) < mean.margin
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_means_are_held_19_times_of_20() -> None:
    """Eight images, three repeats that share their image's content."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        values = rng.normal(30, 3, size=(8, 1)) + rng.normal(0, 1, size=(8, 3))
        found = mean_interval(list(values))
        assert found is not None and found.low is not None and found.high is not None
        hits += found.low <= 30 <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


def test_the_bootstrap_of_a_mean_agrees_with_t() -> None:
    values = np.random.default_rng(2).normal(size=20)
    by_t = mean_interval([[v] for v in values])
    rng = np.random.default_rng(3)
    found = bootstrap_interval(lambda counts: float(counts @ values / 20), 20, rng, 4000)
    assert by_t is not None and by_t.margin is not None
    assert found.value == pytest.approx(by_t.value)
    assert found.margin == pytest.approx(by_t.margin, rel=0.05)


def test_a_seed_gives_the_same_interval() -> None:
    def statistic(counts: np.ndarray) -> float:
        return float(counts[0])

    first, again, other = (
        bootstrap_interval(statistic, 9, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


# The Frechet distance of a set of images


def some_images(
    rng: np.random.Generator, count: int, size: int = 12
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Patches of an image are alike, and what arrives is like what was sent."""
    sent, arrived = [], []
    for _ in range(count):
        patches = rng.normal(size=size) * 0.8 + 0.7 * rng.normal(size=(6, size))
        sent.append(patches)
        arrived.append(0.8 * patches + 0.3 + 0.3 * rng.normal(size=(6, size)))
    return sent, arrived


def test_an_image_that_counts_twice_is_there_twice() -> None:
    sent, arrived = some_images(np.random.default_rng(4), 5)
    arrived[1] = np.concatenate([arrived[1], arrived[1] + 0.1])  # two repeats
    counts = np.array([2, 1, 0, 0, 2])
    chosen = np.repeat(np.arange(5), counts)
    for weights, indices in ((counts, chosen), (np.ones(5, int), np.arange(5))):
        expected = frechet_of_features(
            np.concatenate([sent[i] for i in indices]),
            np.concatenate([arrived[i] for i in indices]),
        )
        assert FrechetOfImages(sent, arrived)(weights) == pytest.approx(expected, rel=1e-5)


def test_distances_are_held_as_often_as_promised() -> None:
    """What is held is the mean of the estimate over sets of as many images: its bias stays."""
    rng = np.random.default_rng(5)
    ones = np.ones(8, int)
    truth = np.mean([FrechetOfImages(*some_images(rng, 8, 6))(ones) for _ in range(400)])
    hits = 0
    for seed in range(80):
        statistic = FrechetOfImages(*some_images(rng, 8, 6))
        found = bootstrap_interval(statistic, 8, np.random.default_rng(seed), 40)
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert hits / 80 >= 0.9
