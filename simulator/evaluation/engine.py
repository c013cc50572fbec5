"""A worker does chunks; the local engine is one worker in this process.

Chunk, pixels -> draws -> Method.together -> scores -> Outcome (row, features, pixels)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from simulator.allocator import keep_memory
from simulator.chain import Draw, Partner
from simulator.errors import DiffJsccError, ImageError, MissingPackageError, SettingsError
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.jobs import Chunk, Source
from simulator.evaluation.scoring import Scores, Scoring
from simulator.evaluation.store import KEY
from simulator.images import Pixels, load_image
from simulator.link.clock import monotonic
from simulator.link.rows import Row
from simulator.methods.draws import Draws
from simulator.methods.method import Method, Point, Sent
from simulator.methods.registry import check_spec, make_method
from simulator.metrics.metric import Array
from simulator.plugins import load_plugins

HELD = 4  # images in memory: one, those on both sides of it, and the next


@dataclass(frozen=True)
class Outcome:
    """One result of a chunk. ``features`` None: the point was refused, and the row says why."""

    row: Row
    point: Point
    name: str
    features: dict[str, Array] | None
    pixels: Pixels | None


@dataclass(frozen=True)
class Done:
    """A chunk's outcomes, and the seconds that it took, scoring included."""

    chunk: Chunk
    outcomes: list[Outcome]
    seconds: float


class Engine(Protocol):
    """Does chunks, in any order; whatever it yields is complete. Closing it stops it."""

    def run(self, chunks: Sequence[Chunk]) -> Iterator[Done]: ...
    def close(self) -> None: ...


def make_methods(
    experiment: Experiment, device: str
) -> tuple[dict[str, Method], dict[str, DiffJsccError]]:
    """Methods by name, and why those that cannot be had here cannot.

    Raises ``SettingsError`` for a name or an option that there is not.
    """
    load_plugins(experiment.plugins)
    methods, lost = {}, {}
    for text in experiment.methods:
        with suppress(MissingPackageError):
            check_spec(text)
        try:
            methods[text] = make_method(text, experiment.context(device))
        except DiffJsccError as error:
            lost[text] = error
    return methods, lost


class SweepWorker:
    """Holds the methods, with their models, and the metrics."""

    def __init__(self, experiment: Experiment, device: str) -> None:
        if experiment.threads:
            import torch

            torch.set_num_threads(experiment.threads)
        if device == "cpu":  # features and encoders gain as much as a refiner, which asks for it
            keep_memory()
        self._experiment = experiment
        self._draws = Draws(experiment.channel)
        self.methods, self.lost = make_methods(experiment, device)
        self.scoring = Scoring(experiment.metrics, experiment.setup(device))

    def do(self, chunk: Chunk, pixels: Pixels | str, other: Pixels | str | None = None) -> Done:
        """All results of a chunk, of an image of (H, W, 3) uint8; a text: why there is none.
        ``other``: that of the chunk's partner."""
        began = monotonic()
        if isinstance(other, str):
            pixels = f"the image beside this one cannot be sent: {other}"
        sendings = [(point, self._draw(chunk, point, other)) for point in chunk.points]
        method = self.methods[chunk.method]
        results = sent_by(method, pixels, sendings)
        took_s = (monotonic() - began) / len(sendings)
        outcomes = [
            outcome
            for (point, draw), result in zip(sendings, results, strict=True)
            for outcome in self._outcomes(chunk, point, draw, result, pixels, took_s)
        ]
        return Done(chunk, outcomes, monotonic() - began)

    def _draw(self, chunk: Chunk, point: Point, other: Pixels | str | None) -> Draw:
        draw = self._draws.of(chunk.draw_key, point)
        if chunk.partner is None or other is None or isinstance(other, str):
            return draw
        partner = Partner(other, self._draws.of(chunk.partner.draw_key, point))
        return replace(draw, partner=partner)

    def _outcomes(
        self,
        chunk: Chunk,
        point: Point,
        draw: Draw,
        result: dict[str, Sent] | str,
        original: Pixels | str,
        took_s: float,
    ) -> Iterator[Outcome]:
        if isinstance(result, str) or isinstance(original, str):
            for name in chunk.names:
                refused = {"status": "refused", "reason": result}
                row = self._row(chunk, point, name) | refused
                yield Outcome(row, point, name, None, None)
            return
        wanted = [result[name] for name in chunk.names]
        scores = self.scoring.score(wanted, original, chunk.source.path)
        for name, sent, score in zip(chunk.names, wanted, scores, strict=True):
            row = self._row(chunk, point, name) | measured(sent, draw, score, took_s)
            yield Outcome(row, point, name, score.features, sent.pixels)

    def _row(self, chunk: Chunk, point: Point, name: str) -> dict[str, Any]:
        row: dict[str, Any] = dict(zip(KEY, chunk.key(name, point), strict=True))
        return row | {"label": self._label(name), "status": "delivered"}

    def _label(self, name: str) -> str:
        given = self._experiment.labels.get(name)
        return given or self.methods[name].label


def sent_by(
    method: Method, pixels: Pixels | str, sendings: Sequence[tuple[Point, Draw]]
) -> list[Any]:
    """What the method makes at each point; a text where it does not, or where there is no image."""
    if isinstance(pixels, str):
        return [pixels] * len(sendings)
    try:
        return list(method.together(pixels, sendings))
    except SettingsError:  # which of the points it is shows when each is alone
        return [alone(method, pixels, point, draw) for point, draw in sendings]


def alone(method: Method, pixels: Pixels, point: Point, draw: Draw) -> dict[str, Sent] | str:
    """The results of one point, or why the method was not made for it."""
    try:
        return method.several(pixels, point, draw)
    except SettingsError as error:
        return str(error)


def measured(sent: Sent, draw: Draw, score: Scores, took_s: float) -> dict[str, Any]:
    """``seconds``: the method's own, where it measured them; else those of the call."""
    details = dict(sent.details)
    seconds = float(details.pop("seconds", took_s))
    law, k = draw.law, sent.k // sent.rounds
    pilots, uses = sent.rounds * law.pilots(k), sent.rounds * law.uses(k)
    return {
        "k": sent.k,
        "pilots": pilots,
        "side_uses": sent.side_uses,
        "bandwidth_ratio": (uses + sent.side_uses) / sent.pixels.size,
        "h_abs2": draw.h_abs2(sent.k),
        "outage": sent.outage,
        **score.values,
        "seconds": seconds,
        "details": details,
    }


class LocalEngine:
    """One after the other, here."""

    def __init__(self, worker: SweepWorker) -> None:
        self._worker = worker

    def run(self, chunks: Sequence[Chunk]) -> Iterator[Done]:
        for chunk in chunks:
            yield self._worker.do(chunk, *map(load_pixels, chunk.sources))

    def close(self) -> None:
        """Nothing runs beside."""


@lru_cache(maxsize=HELD)
def load_pixels(source: Source) -> Pixels | str:
    """An image is sent many times in a row. A text: why this one cannot be sent."""
    try:
        return load_image(source.path, white=source.white).pixels
    except ImageError as error:
        return str(error)
