"""Everything that is measured on a result: figures of one image, and features of a set.

original, Sent -> psnr, ssim, ms_ssim, lpips (one scorer), plugins' metrics   a row's values
               -> arrays                                                     a set's, for FD
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.errors import DiffJsccError, SettingsError
from simulator.images import Pixels
from simulator.link.rows import for_row
from simulator.methods.method import Sent
from simulator.metrics.known import SCORED, metric_of
from simulator.metrics.metric import Array, Features, Metric, Score, SetMetric, Setup


@dataclass(frozen=True)
class Scores:
    """``values`` of a row, None where a metric is undefined; ``features`` of set metrics."""

    values: dict[str, float | None]
    features: dict[str, Array]


class Scoring:
    """The metrics of an experiment. ``unavailable``: a sentence for each that is not here."""

    def __init__(self, metrics: Sequence[str], setup: Setup) -> None:
        from simulator.metrics.scorer import Scorer

        self.unavailable: dict[str, str] = {}
        self._scorer = Scorer(setup.device, metrics)
        self._scored = [key for key in SCORED if key in metrics]
        if "lpips" in metrics:
            self.unavailable |= self._scorer.unavailable
        self._of_image: dict[str, Score] = {}
        self._of_set: dict[str, Features] = {}
        for key in metrics:
            try:
                self._load(metric_of(key), setup)
            except DiffJsccError as error:
                self.unavailable[key] = str(error)

    def _load(self, metric: Metric | SetMetric, setup: Setup) -> None:
        if metric.key in SCORED:
            return
        if metric.load is None:
            raise SettingsError(f"{metric.key} is measured on runs alone: diffjscc evaluate.")
        if isinstance(metric, Metric):
            self._of_image[metric.key] = metric.load(setup)
        elif metric.features not in self._of_set:
            self._of_set[metric.features] = metric.load(setup)

    def features(self, pixels: Pixels, path: Path) -> dict[str, Array]:
        """Of set metrics, by the key under which they are kept."""
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
