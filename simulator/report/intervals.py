"""Means over images with 95 % intervals, for curves and tables.

    values of one image, over its repeats -> mean of each image -> mean, t * s / sqrt(n)

Repeats of an image are averaged first: they are not new images, and counting them as such
would make intervals too narrow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev


@dataclass(frozen=True)
class Mean:
    """``half``: half the 95 % interval, None where there is one image only; ``n``: images."""

    mean: float
    half: float | None
    n: int

    def told(self, digits: int) -> str:
        spread = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def mean_of(values: Iterable[tuple[str, float]]) -> Mean | None:
    """Of (image, value) pairs; None where there is none."""
    groups: dict[str, list[float]] = defaultdict(list)
    for image, value in values:
        groups[image].append(value)
    means = [fmean(group) for group in groups.values()]
    if not means:
        return None
    n = len(means)
    half = student_t(n - 1) * stdev(means) / math.sqrt(n) if n > 1 else None
    return Mean(fmean(means), half, n)


@lru_cache(maxsize=256)
def student_t(freedom: int, level: float = 0.95) -> float:
    """The two-sided quantile of Student's t for a whole number of degrees of freedom.

    By bisection over theta = atan(t / sqrt(freedom)), in which the distribution is a finite
    sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
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
