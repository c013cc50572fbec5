"""95 % intervals, with the image as the unit.

    values of each image -mean over repeats-> one value an image -mean, t-> PSNR, LPIPS, ...
    how often each image counts -statistic, 100 resamples-> standard error, t -> FID, mIoU, ...

Repeats of an image share its content, so they are no further sample: only more images narrow an
interval. It says how far the figure would move with other photographs of the kind, not how
exactly it was measured on these.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 100
MANY = 1000  # degrees of freedom beyond which the expansion is exact to 1e-9


@dataclass(frozen=True)
class Estimate:
    """``value`` over ``images``, and half the width of its interval: None where there is none,
    as one image has no spread."""

    value: float
    margin: float | None = None
    images: int = 1

    @property
    def low(self) -> float | None:
        return None if self.margin is None else self.value - self.margin

    @property
    def high(self) -> float | None:
        return None if self.margin is None else self.value + self.margin

    def text(self, digits: int, of: int = 0) -> str:
        """``of``: the images that there were; where the mean is over fewer, it says so."""
        spread = "" if self.margin is None else f" ± {self.margin:.{digits}f}"
        return f"{self.value:.{digits}f}{spread}{of_all(self.images, of)}"


def of_all(count: int, total: int) -> str:
    """`` (1 of 3)`` where something is missing, else nothing."""
    return f" ({count} of {total})" if count < total else ""


@lru_cache(maxsize=256)
def t_quantile(images: int, level: float = LEVEL) -> float:
    """Student's t with ``images`` - 1 degrees of freedom, two-sided: 2.069 for 24 images.

    By bisection over theta = atan(t / sqrt(freedom)), in which the distribution is a finite sum
    (Abramowitz and Stegun, 26.7.3 and 26.7.4); for many, from the normal quantile (26.7.5). Our
    own, because a report is also written on a board that has no scipy.
    """
    freedom = images - 1
    if freedom > MANY:
        z = NormalDist().inv_cdf((1 + level) / 2)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def within(theta: float, freedom: int) -> float:
    """P(abs(T) < sqrt(freedom) tan(theta))."""
    cosine, total = math.cos(theta), 0.0
    odd = freedom % 2
    term = cosine if odd else 1.0
    for j in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * j / (j + 1)
    total *= math.sin(theta)
    return (theta + total) * 2 / math.pi if odd else total


def mean_interval(images: Iterable[Sequence[float]], level: float = LEVEL) -> Estimate | None:
    """The mean over images of each one's mean, mean +- t s / sqrt(n).

    ``images``: for each image its values, one a repeat; images without one do not count. None
    where there is no value at all.
    """
    means = [math.fsum(values) / len(values) for values in images if len(values)]
    if not means:
        return None
    value = math.fsum(means) / len(means)
    n = len(means)
    if n == 1:
        return Estimate(value)
    margin = t_quantile(n, level) * float(np.std(means, ddof=1)) / math.sqrt(n)
    return Estimate(value, margin, n)


def mean_of(pairs: Iterable[tuple[str, float]]) -> Estimate | None:
    """``mean_interval`` of (image, value) pairs, one a repeat."""
    groups: dict[str, list[float]] = defaultdict(list)
    for image, value in pairs:
        groups[image].append(value)
    return mean_interval(groups.values())


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    images: int,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Of a figure of the whole set, value +- t s* sqrt(n / (n - 1)).

    ``statistic``: the figure where image i counts ``counts[i]`` times, their sum being
    ``images``. s* is the standard deviation over resamples of the images with replacement.
    Percentiles of the resamples would be wrong here: a set in which images occur twice is less
    various, and a Frechet distance grows by that. n / (n - 1) and t widen what a bootstrap of
    few images makes too narrow: Hesterberg, "What Teachers Should Know About the Bootstrap", The
    American Statistician 69(4), 2015.
    """
    value = statistic(np.ones(images, np.int64))
    if images == 1:
        return Estimate(value)
    draws = [
        statistic(rng.multinomial(images, np.full(images, 1 / images))) for _ in range(resamples)
    ]
    spread = float(np.std(draws, ddof=1)) * math.sqrt(images / (images - 1))
    return Estimate(value, t_quantile(images, level) * spread, images)
