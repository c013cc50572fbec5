"""One picture that one method made of one image: what curves, tables and strips compare.

row of a run   -> a record of its preview, and one of its refined image
row of a sweep -> a record of its method
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from simulator.link.rows import Row, snr_text
from simulator.metrics.interval import Estimate, mean_of
from simulator.report.sources import Sources

STAGES = ("preview", "refined")

Point = tuple[str, str, float | None]  # channel, cbr, snr_db


@dataclass(frozen=True, slots=True)
class Record:
    """A row, and which of its pictures is meant: ``stage`` is "preview" or "refined", and empty in
    a row of a sweep. All else is looked up where it is asked for: a run may have a hundred thousand
    of these."""

    row: Row
    point: Point
    sources: Sources
    stage: str = ""

    @property
    def method(self) -> str:
        """Tells methods apart; ``label`` is what people read."""
        return self.stage or self.row["method"] or ""

    @property
    def label(self) -> str:
        return self.stage or self.row["label"] or ""

    @property
    def image(self) -> str:
        return self.row["image"] or ""

    @property
    def repeat(self) -> int:
        return int(self.row["repeat"] or 0)

    @property
    def outage(self) -> bool:
        """A frame of a run that did not arrive has no record."""
        return not self.stage and bool(self.row["outage"])

    @property
    def caption(self) -> str:
        return (self.row["caption"] or "") if self.stage == "refined" else ""

    @property
    def after_s(self) -> float | None:
        """The latency. The seconds of a sweep are none: part of the work was done before, for
        another point."""
        return self.row[f"time_to_{self.stage}_s"] if self.stage else None

    def value(self, metric: str) -> float | None:
        found = self.row.get(f"{metric}_{self.stage}" if self.stage else metric)
        return None if found is None else float(found)

    @property
    def file(self) -> Path | None:
        """The picture, if it is here."""
        return self.sources.file(self.row.get(f"{self.stage}_file" if self.stage else "file"))


def records_of(sources: Sources) -> list[Record]:
    points: dict[Point, Point] = {}  # each once: many thousand rows have the same
    runs = [record for row in sources.rows for record in of_run(row, sources, points)]
    return runs + [Record(row, point_of(row), sources) for row in sources.sweep]


def point_of(row: Row) -> Point:
    return (row["channel"] or "", row["cbr"] or "", row["snr_db"])


def of_run(row: Row, sources: Sources, points: dict[Point, Point]) -> Iterator[Record]:
    """None for a frame that did not arrive: its status says why."""
    if row["status"] != "delivered":
        return
    point = points.setdefault(point_of(row), point_of(row))
    for stage in STAGES:
        seen = row[f"time_to_{stage}_s"] is not None or row[f"{stage}_file"]
        if stage == "preview" or seen or has_metric(row, sources, f"_{stage}"):
            yield Record(row, point, sources, stage)


def has_metric(row: Row, sources: Sources, suffix: str) -> bool:
    return any(row.get(f"{metric.key}{suffix}") is not None for metric in sources.metrics)


def mean_at(records: Sequence[Record], metric: str) -> Estimate | None:
    """``metric`` "outage" is the share of transmissions of which nothing arrived: no mean of
    measurements, and so without an interval."""
    if metric == "outage":
        share = mean_of((record.image, float(record.outage)) for record in records)
        return share and replace(share, margin=None)
    values = ((record.image, record.value(metric)) for record in records)
    return mean_of((image, value) for image, value in values if value is not None)


def point_text(point: Point) -> str:
    channel, cbr, snr_db = point
    return f"{channel}, {cbr}, {snr_text(snr_db)}"


def ratio_of(cbr: str) -> float:
    """For sorting and for the axis; 0 where it is no number."""
    try:
        return float(Fraction(cbr))
    except (ValueError, ZeroDivisionError, OverflowError):
        return 0.0


def by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
    """In the order of first appearance, which is that of colours and legends."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.method, []).append(record)
    return groups


def labels_of(records: Sequence[Record]) -> dict[str, str]:
    """What each method is called; methods with one label have their names behind it."""
    labels = {record.method: record.label for record in records}
    counts = Counter(labels.values())
    return {
        method: label if counts[label] == 1 else f"{label} ({method})"
        for method, label in labels.items()
    }


def by_point(records: Sequence[Record]) -> dict[Point, list[Record]]:
    """Sorted by channel, ratio and SNR."""
    groups: dict[Point, list[Record]] = {}
    for record in records:
        groups.setdefault(record.point, []).append(record)
    return {point: groups[point] for point in sorted(groups, key=order)}


def order(point: Point) -> tuple[Any, ...]:
    channel, cbr, snr_db = point
    return channel, ratio_of(cbr), cbr, snr_db is None, snr_db or 0.0


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of them, evenly, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
