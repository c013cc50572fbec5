"""A metric of a comparison, declared once, and the list of those that plugins add.

A plugin calls ``register_metric`` or ``register_set_metric`` when it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from simulator.images import Pixels
from simulator.methods.method import Sent


@dataclass(frozen=True)
class Setup:
    """What a sweep has for its metrics; empty where a metric decides."""

    device: str = "cpu"
    masks: str = ""  # folder of ground truth for mIoU
    segmenter: str = ""  # hub id or folder
    clip: str = ""


@dataclass(frozen=True)
class Metric:
    """A figure of one image: ``load(setup)`` gives ``score(sent, original)``.

    ``sent`` is what ``Method.send`` returned, with pixels and details; ``original`` (H, W, 3)
    uint8. None: undefined for this image. ``load`` raises ``DiffJsccError`` where something that
    it needs is not on this machine.
    """

    key: str
    label: str
    load: Callable[[Setup], Callable[[Sent, Pixels], float | None]]
    digits: int = 3


@dataclass(frozen=True)
class SetMetric:
    """A figure of all images of a point, from arrays that each image contributes.

    ``load(setup)`` gives ``features(pixels, path)`` -> array, of originals and results alike
    (``path``: of the original's file). ``value(originals, results)`` compares the lists of them;
    an original counts once, however often it was sent.
    """

    key: str
    label: str
    load: Callable[[Setup], Callable[[Pixels, Path], NDArray[Any]]]
    value: Callable[[Sequence[NDArray[Any]], Sequence[NDArray[Any]]], float]
    digits: int = 1


METRICS: dict[str, Metric | SetMetric] = {}


def register_metric(
    key: str, label: str, score: Callable[[Sent, Pixels], float | None], digits: int = 3
) -> None:
    """A figure of one image; see ``Metric``."""
    METRICS[key] = Metric(key, label, lambda setup: score, digits)


def register_set_metric(metric: SetMetric) -> None:
    METRICS[metric.key] = metric
