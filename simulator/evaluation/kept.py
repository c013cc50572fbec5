"""The images that a run folder keeps: originals, and what arrived of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.link.rows import POINT, Row
from simulator.runfolder import find_original, is_kept

STAGES = ("preview", "refined")

#: (channel, cbr, snr_db)
Point = tuple[Any, ...]


@dataclass(frozen=True)
class Result:
    """One image that arrived, at one stage; ``image`` is the name that its original has in rows."""

    point: Point
    stage: str
    image: str
    path: Path
    row: Row


@dataclass(frozen=True)
class Kept:
    """``originals``: their files by image. ``results``: those whose original is kept, too."""

    folder: Path
    rows: Sequence[Row]
    originals: dict[str, Path]
    results: list[Result]

    def files(self) -> dict[Path, str]:
        """Every file once, the originals that arrived first, with its image."""
        arrived = dict.fromkeys(result.image for result in self.results)
        found = {self.originals[image]: image for image in arrived}
        return found | {result.path: result.image for result in self.results}

    def groups(self) -> dict[tuple[Point, str], dict[str, list[Result]]]:
        """By point and stage, then by image: its repeats."""
        found: dict[tuple[Point, str], dict[str, list[Result]]] = {}
        for result in self.results:
            group = found.setdefault((result.point, result.stage), {})
            group.setdefault(result.image, []).append(result)
        return found


def kept_images(folder: Path, rows: Sequence[Row]) -> Kept:
    """``rows``: of delivered images."""
    originals = {}
    for image, row in {row["image"]: row for row in rows}.items():
        if path := find_original(folder, row):
            originals[image] = path
    results = [
        Result(tuple(row.get(key) for key in POINT), stage, row["image"], folder / file, row)
        for row in rows
        for stage in STAGES
        if row["image"] in originals and (file := row.get(f"{stage}_file"))
        if is_kept(folder, row, stage)
    ]
    return Kept(folder, rows, originals, results)
