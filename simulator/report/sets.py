"""Figures that no row has: distances of whole sets, and what ``evaluate`` has measured.

    summary.json of a run, after ``diffjscc evaluate``   KEY_preview, KEY_refined, and their _ci95
    means.csv of a sweep, one line per method and point  KEY, KEY_ci95 of set metrics

A set is one folder's: a point that two folders have values of is left out, because the two sets
together are a third one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.errors import SettingsError, StorageError
from simulator.metrics.interval import Estimate
from simulator.metrics.known import KNOWN
from simulator.metrics.metric import SetMetric
from simulator.report.records import STAGES, Point
from simulator.report.sources import Folder, number_of, text_of

Sets = dict[tuple[str, Point], dict[str, Estimate]]  # by method and point


def sets_of(folders: Sequence[Folder]) -> Sets:
    """Raises SettingsError for a damaged file, and StorageError for one that cannot be read."""
    found: Sets = {}
    twice: set[tuple[str, Point]] = set()
    for folder in folders:
        own: Sets = {}
        for method, point, values in (*of_run(folder), *of_sweep(folder)):
            numbers = {key: each for key, each in values.items() if each is not None}
            if numbers:
                own[method, point] = numbers
        twice |= own.keys() & found.keys()
        found |= own
    return {key: values for key, values in found.items() if key not in twice}


Line = tuple[str, Point, dict[str, Estimate | None]]


def of_run(folder: Folder) -> Iterator[Line]:
    path = folder.path / "summary.json"
    if not path.is_file():
        return
    try:
        points = json.loads(read(path))["points"]
        for entry in points:
            for stage in STAGES:
                found = {m.key: estimate(entry, f"{m.key}_{stage}") for m in KNOWN}
                yield stage, point_of(entry), found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is damaged ({error}); --resume writes it again.") from None


def of_sweep(folder: Folder) -> Iterator[Line]:
    path = folder.path / "means.csv"
    if not (folder.sweep and path.is_file()):
        return
    metrics = (*KNOWN, *folder.metrics)
    for line in csv.DictReader(read(path).splitlines()):
        numbers = {key: decimal(value) for key, value in line.items()}
        values = {m.key: estimate(numbers, m.key) for m in metrics if isinstance(m, SetMetric)}
        point = point_of(line | {"snr_db": decimal(line.get("snr_db"))})
        yield line.get("method") or "", point, values


def estimate(entry: Mapping[str, Any], key: str) -> Estimate | None:
    """None where there is no number: the scores of rows stand in ``summary.json``, too, as
    objects."""
    value, margin = number_of(entry.get(key)), number_of(entry.get(f"{key}_ci95"))
    if value is None:
        return None
    return Estimate(float(value), None if margin is None else float(margin))


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
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
