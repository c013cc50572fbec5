"""Everything that is measured on a result: figures of one image, and features of a set.

original, Sent -> psnr, ssim, ms_ssim, lpips (one scorer), plugins' metrics   a row's values
               -> arrays                                                     a set's, for FD
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from simulator.errors import DiffJsccError, SettingsError
from simulator.evaluation.known_metrics import KNOWN
from simulator.evaluation.metric import METRICS, Metric, SetMetric, Setup
from simulator.images import Pixels
from simulator.link.rows import for_row
from simulator.methods.method import Sent

Array = NDArray[Any]
SCORED = {
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "ms_ssim": ("MS-SSIM", 3),
    "lpips": ("LPIPS", 3),
}


def metric_of(key: str) -> Metric | SetMetric | None:
    """None for those of the scorer. Raises ``SettingsError`` for a name that is unknown."""
    if key in METRICS:
        return METRICS[key]
    if key in KNOWN:
        return KNOWN[key]
    if key in SCORED:
        return None
    names = ", ".join((*SCORED, *KNOWN, *METRICS))
    raise SettingsError(f"there is no metric {key!r}; there are {names}.")


def label_of(key: str) -> tuple[str, int]:
    """A metric's name on an axis, and its decimals."""
    metric = metric_of(key)
    if metric is not None:
        return metric.label, metric.digits
    return SCORED[key]


@dataclass(frozen=True)
class Scores:
    """``values`` of a row, None where a metric is undefined; ``features`` by set metric."""

    values: dict[str, float | None]
    features: dict[str, Array]


class Scoring:
    """The metrics of an experiment. ``unavailable``: a sentence for each that is not here."""

    def __init__(self, metrics: Sequence[str], setup: Setup) -> None:
        from simulator.metrics.scorer import Scorer

        self.unavailable: dict[str, str] = {}
        self._scorer = Scorer(setup.device, lpips="lpips" in metrics)
        self._scored = [key for key in SCORED if key in metrics]
        if "lpips" in metrics:
            self.unavailable |= self._scorer.unavailable
        self._of_image: dict[str, Callable[[Sent, Pixels], float | None]] = {}
        self._of_set: dict[str, Callable[[Pixels, Path], Array]] = {}
        for key in metrics:
            metric = metric_of(key)
            try:
                if isinstance(metric, Metric):
                    self._of_image[key] = metric.load(setup)
                elif metric is not None:
                    self._of_set[key] = metric.load(setup)
            except DiffJsccError as error:
                self.unavailable[key] = str(error)

    @property
    def sets(self) -> list[str]:
        return list(self._of_set)

    def features(self, pixels: Pixels, path: Path) -> dict[str, Array]:
        return {key: function(pixels, path) for key, function in self._of_set.items()}

    def score(self, results: Sequence[Sent], original: Pixels, path: Path) -> list[Scores]:
        """Of several results of one original, whose part is computed once."""
        scored = self._scorer.score_many([sent.pixels for sent in results], original)
        found = []
        for sent, values in zip(results, scored, strict=True):
            row = {key: values[key] for key in self._scored}
            row |= {key: function(sent, original) for key, function in self._of_image.items()}
            rounded = {key: for_row(value) for key, value in row.items()}
            found.append(Scores(rounded, self.features(sent.pixels, path)))
        return found
