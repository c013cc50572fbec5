"""The work of a sweep, cut into chunks that a worker does at one go.

    images x repeats x methods x points -> chunks: one image, one method, some points

A chunk is the same whenever it is made: how many points a batch holds depends on settings, never
on what was done before, so that a resumed sweep computes what an undisturbed one does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simulator.errors import path_from
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.store import Key, point_text, slug
from simulator.images import file_sha256, find_images, sample_photographs
from simulator.link.ids import draw_key
from simulator.link.text import name_in_sweep, readable
from simulator.methods.method import Point
from simulator.settings import White

GPU_BATCH = 8
NOBODY: Mapping[str, int] = {}


@dataclass(frozen=True)
class Source:
    """An image file of the sweep. ``index`` tells files of one name apart."""

    index: int
    path: Path
    sha256: bytes
    white: White = "full"

    @property
    def name(self) -> str:
        """In rows; not every name on a disk is UTF-8."""
        return readable(str(self.path))

    @property
    def stem(self) -> str:
        return slug(self.path.stem)

    @property
    def kept_stem(self) -> str:
        """Of the picture as it was sent; the report finds it by ``name`` alone."""
        return name_in_sweep(self.name).removesuffix(".png")


@dataclass(frozen=True)
class Partner:
    """The image that another user sends at the same time."""

    source: Source
    draw_key: bytes


@dataclass(frozen=True)
class Chunk:
    """``repeat`` is the draw's, as in ``tx.source``: equal images are repeats of one another.
    ``names``: of the results that are wanted, the method's and those that it gives beside.
    ``partner``: for a method that sends two images at once; None where there is but one image."""

    source: Source
    repeat: int
    method: str
    names: tuple[str, ...]
    points: tuple[Point, ...]
    draw_key: bytes
    partner: Partner | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """The images that it takes, its own first."""
        return (self.source,) if self.partner is None else (self.source, self.partner.source)

    def key(self, name: str, point: Point) -> Key:
        return (name, *point.place, self.source.name, self.repeat)

    @property
    def keys(self) -> list[Key]:
        return [self.key(name, point) for point in self.points for name in self.names]

    def file_name(self, point: Point) -> str:
        """Of what is kept of a result, in a folder of its method."""
        return f"{self.source.index:04d}_{self.source.stem}_{point_text(point)}_{self.repeat}"


def find_sources(experiment: Experiment) -> list[Source]:
    """Raises ``ImageError`` for a path without an image, ``MissingPackageError``."""
    # Absolute: rows are found again from any working directory.
    given = [path_from(name).absolute() for name in experiment.images]
    paths = find_images(given) if given else sample_photographs()
    chosen = paths[: experiment.limit_images or None]
    return [
        Source(index, path, file_sha256(path), experiment.white)
        for index, path in enumerate(chosen)
    ]


def digest(sources: Sequence[Source]) -> str:
    """Names the images of a sweep by their content and order."""
    return hashlib.sha256(b"".join(source.sha256 for source in sources)).hexdigest()[:16]


def suppliers(methods: Sequence[str], also: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Which results each method is asked for: its own, and what comes along with it, once.

    A method whose result comes along with another's is not asked itself.
    """
    owners: dict[str, str] = {}
    for method in methods:
        for name in also.get(method, ()):
            if name in methods:
                owners.setdefault(name, method)
    asked = {method: [method] for method in methods if method not in owners}
    for name, method in owners.items():
        asked[method].append(name)
    return asked


def chunks_of(
    experiment: Experiment,
    sources: Sequence[Source],
    asked: Mapping[str, Sequence[str]],
    batch: int,
    beside: Mapping[str, int] = NOBODY,
) -> list[Chunk]:
    """Repeats outermost, then images: curves over all points are there early, from few images.

    The place of a frame in an SNR trace is its place in the manifest of a run (``tx.source``).
    ``beside``: of methods that send two images at once, as ``Method`` has it.
    """
    points = experiment.points
    per_point = experiment.repeats * len(sources)
    chunks = []
    seen: Counter[bytes] = Counter()
    for round_ in range(experiment.repeats):
        drawn = []
        for source in sources:
            repeat = seen[source.sha256]
            seen[source.sha256] += 1
            drawn.append((repeat, draw_key(experiment.seed, source.sha256, repeat)))
        for place, (source, (repeat, key)) in enumerate(zip(sources, drawn, strict=True)):
            frame = round_ * len(sources) + source.index
            here = [
                replace(point, trace_index=rank * per_point + frame) if experiment.traced else point
                for rank, point in enumerate(points)
            ]
            groups = [tuple(here[i : i + batch]) for i in range(0, len(here), batch)]
            partners = {}
            for method, places in beside.items():
                other = (place + places) % len(sources)
                if other != place:
                    partners[method] = Partner(sources[other], drawn[other][1])
            chunks += [
                Chunk(source, repeat, method, tuple(names), group, key, partners.get(method))
                for method, names in asked.items()
                for group in groups
            ]
    return chunks


def undone(chunks: Iterable[Chunk], rows: Mapping[Key, object]) -> list[Chunk]:
    return [chunk for chunk in chunks if not all(key in rows for key in chunk.keys)]
