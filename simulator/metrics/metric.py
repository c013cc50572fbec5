"""What a metric is, declared once, and the metrics that plugins add.

Rows, tables, plots, ``evaluate``, sweeps and reports read key, label, unit and digits here; who
measures calls what ``load`` gives:

    image metric   score(result, original) -> a figure of one image; the mean over images is shown
    set metric     features(pixels, path) -> an array of each image -> compare -> a figure of all

A plugin calls ``register_metric`` or ``register_set_metric`` when it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.metrics.interval import Estimate, bootstrap_interval

Array = NDArray[Any]
Pixels = NDArray[np.uint8]
Better = Literal["higher", "lower"]


class Arrived(Protocol):
    """What a metric sees of a result: (H, W, 3) uint8, and values such as its caption."""

    @property
    def pixels(self) -> Pixels: ...
    @property
    def details(self) -> dict[str, Any]: ...


Score = Callable[[Arrived, Pixels], float | None]
Features = Callable[[Pixels, Path], Array]
#: An array of each original; the arrays of all its results; a generator for resamples.
Compare = Callable[[Sequence[Array], Sequence[Sequence[Array]], np.random.Generator], Estimate]


@dataclass(frozen=True)
class Setup:
    """What a comparison has for its metrics; empty where a metric decides."""

    device: str = "cpu"
    masks: str = ""  # folder of ground truth for mIoU
    segmenter: str = ""  # hub id or folder
    clip: str = ""


@dataclass(frozen=True)
class Declared:
    """How a metric is named and written: all that tables, plots and reports need of it."""

    key: str
    label: str
    unit: str = ""
    digits: int = 3
    better: Better = "higher"

    @property
    def head(self) -> str:
        """Of a column or an axis."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def record(self) -> dict[str, Any]:
        """For a file that is read where the plugin is not."""
        fields = asdict(Declared(self.key, self.label, self.unit, self.digits, self.better))
        return {**fields, "of_set": isinstance(self, SetMetric)}


@dataclass(frozen=True)
class Metric(Declared):
    """A figure of one image. ``load(setup)`` gives ``score(result, original)``, which is None where
    the metric is undefined; it raises ``DiffJsccError`` where something is not on this machine.
    None: measured by the scorer of rows, or by ``evaluate`` alone."""

    load: Callable[[Setup], Score] | None = None


@dataclass(frozen=True)
class SetMetric(Declared):
    """A figure of all images of a point. ``load(setup)`` gives ``features(pixels, path)`` of
    originals and results alike (``path``: named as the original is); ``compare`` makes an estimate
    of them, in which an original counts once, however often it was sent.

    ``shared``: the key under which features are kept, where another metric has the same.
    """

    load: Callable[[Setup], Features] | None = None
    compare: Compare | None = None
    shared: str = ""

    @property
    def features(self) -> str:
        return self.shared or self.key


#: Of plugins.
METRICS: dict[str, Metric | SetMetric] = {}


def register_metric(
    key: str,
    label: str,
    score: Score,
    unit: str = "",
    digits: int = 3,
    better: Better = "higher",
) -> None:
    """A figure of one image; ``score`` as in ``Metric``."""
    METRICS[key] = Metric(key, label, unit, digits, better, lambda setup: score)


def register_set_metric(
    key: str,
    label: str,
    features: Features,
    value: Callable[[Sequence[Array], Sequence[Array]], float],
    unit: str = "",
    digits: int = 3,
    better: Better = "higher",
) -> None:
    """A figure of all images; ``value(originals, results)`` of the lists of their features."""
    METRICS[key] = SetMetric(
        key, label, unit, digits, better, lambda setup: features, resampled(value)
    )


def resampled(value: Callable[[Sequence[Array], Sequence[Array]], float]) -> Compare:
    """A comparison whose interval comes from resamples of the images."""

    def compare(
        sent: Sequence[Array], arrived: Sequence[Sequence[Array]], rng: np.random.Generator
    ) -> Estimate:
        def statistic(counts: NDArray[np.int64]) -> float:
            drawn = [i for i, n in enumerate(counts) for _ in range(n)]
            return value([sent[i] for i in drawn], [each for i in drawn for each in arrived[i]])

        return bootstrap_interval(statistic, len(sent), rng)

    return compare
