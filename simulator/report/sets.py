"""Metrics of a whole set of images, which no row has: FD-EffNet, FID.

    summary.json of a run, after ``diffjscc evaluate``   fd_effnet_preview, fd_effnet_refined
    means.csv of a sweep, a line a method and point      fd_effnet, fid

A set is one folder's: a point that two folders have values of is left out, because the two sets
together are a third one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simulator.errors import SettingsError, StorageError
from simulator.report.records import STAGES, Metric, Point
from simulator.report.sources import Folder, number_of, text_of

SET_METRICS: tuple[Metric, ...] = (("fd_effnet", "FD-EffNet", 1), ("fid", "FID", 1))

Sets = dict[tuple[str, Point], dict[str, float]]  # by method and point


def sets_of(folders: Sequence[Folder]) -> Sets:
    """Raises SettingsError for a damaged file, and StorageError for one that cannot be read."""
    found: Sets = {}
    twice: set[tuple[str, Point]] = set()
    for folder in folders:
        own: Sets = {}
        for method, point, values in (*of_run(folder), *of_sweep(folder)):
            told = {key: number_of(value) for key, value in values.items()}
            numbers = {key: float(value) for key, value in told.items() if value is not None}
            if numbers:
                own[method, point] = numbers
        twice |= own.keys() & found.keys()
        found |= own
    return {key: values for key, values in found.items() if key not in twice}


Line = tuple[str, Point, dict[str, Any]]


def of_run(folder: Folder) -> Iterator[Line]:
    path = folder.path / "summary.json"
    if not path.is_file():
        return
    try:
        points = json.loads(read(path))["points"]
        for entry in points:
            for stage in STAGES:
                yield stage, point_of(entry), {"fd_effnet": entry.get(f"fd_effnet_{stage}")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is damaged ({error}); --resume writes it again.") from None


def of_sweep(folder: Folder) -> Iterator[Line]:
    path = folder.path / "means.csv"
    if not (folder.sweep and path.is_file()):
        return
    for line in csv.DictReader(read(path).splitlines()):
        values = {key: decimal(line.get(key)) for key, _, _ in SET_METRICS}
        point = point_of(line | {"snr_db": decimal(line.get("snr_db"))})
        yield line.get("method") or "", point, values


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from None


def point_of(entry: dict[str, Any]) -> Point:
    snr_db = number_of(entry.get("snr_db"))
    return text_of(entry.get("channel")) or "", text_of(entry.get("cbr")) or "", snr_db


def decimal(text: str | None) -> float | None:
    """A number from a CSV cell; None where there is none."""
    try:
        return float(text or "")
    except ValueError:
        return None
