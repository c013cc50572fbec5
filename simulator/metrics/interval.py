"""95 % intervals, with the image as the unit.

    values of each image -mean over repeats-> one value an image -mean, t-> PSNR, LPIPS, ...
    how often each image counts -statistic, 100 resamples-> standard error, t -> FID, mIoU, ...

Repeats of an image share its content, so they are no further sample: only more images narrow an
interval. It says how far the figure would move with other photographs of the kind, not how
exactly it was measured on these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.errors import MissingPackageError

LEVEL = 0.95
RESAMPLES = 100


@dataclass(frozen=True)
class Estimate:
    """``low`` and ``high`` are None where there is no interval: one image has no spread."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def margin(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def t_quantile(images: int, level: float = LEVEL) -> float:
    """Student's t with ``images`` - 1 degrees of freedom, two-sided: 2.069 for 24 images.

    Raises MissingPackageError where scipy is missing.
    """
    try:
        from scipy.special import stdtrit
    except ImportError:
        raise MissingPackageError(
            'intervals need scipy: pip install ".[eval]" in the project folder.'
        ) from None
    return float(stdtrit(images - 1, (1 + level) / 2))


def mean_interval(images: Iterable[Sequence[float]], level: float = LEVEL) -> Estimate | None:
    """The mean over images of each one's mean, mean +- t s / sqrt(n).

    ``images``: for each image its values, one a repeat; images without one do not count. None
    where there is no value at all.
    """
    means = [math.fsum(values) / len(values) for values in images if len(values)]
    if not means:
        return None
    value = math.fsum(means) / len(means)
    if len(means) == 1:
        return Estimate(value)
    margin = t_quantile(len(means), level) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return Estimate(value, value - margin, value + margin)


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
    margin = t_quantile(images, level) * spread
    return Estimate(value, value - margin, value + margin)
