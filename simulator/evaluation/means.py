"""From rows to what a figure shows: means with intervals, distances of sets, gains.

rows of a method and point -> Means -> means.csv, gains.csv, table
refined against its preview -> Gain
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from simulator.link.rows import Row, mean_over_images
from simulator.methods.method import Place
from simulator.methods.registry import parse_spec
from simulator.metrics.interval import Estimate, mean_of
from simulator.metrics.known import metric_of
from simulator.report.counts import perfect_of, refused_of, repeats_of


@dataclass(frozen=True)
class Means:
    """A method at an operating point. ``means`` by metric.

    An image that was lost counts with what the method shows then, and in ``outage``. ``asked``:
    the images that were to be sent, ``images`` those of them that the method did not refuse;
    ``repeats``: how often each was to be sent; ``perfect``: frames without any error, whose PSNR
    counts as ``PERFECT_DB``.
    """

    method: str
    label: str
    channel: str
    cbr: str
    snr_db: float | None
    asked: int
    images: int
    repeats: int
    sent: int
    outage: float
    refused: int
    perfect: int
    seconds: float | None
    means: Mapping[str, Estimate] = field(default_factory=dict)
    bandwidth_ratio: float | None = None  # the mean of what was used, pilots included

    @property
    def place(self) -> Place:
        return (self.channel, self.cbr, self.snr_db)

    @property
    def sent_ratio(self) -> float | None:
        """``bandwidth_ratio`` of a method that controls its rate, whose ``cbr`` is a budget."""
        controlled = "target_psnr" in parse_spec(self.method).options
        return self.bandwidth_ratio if controlled else None


@dataclass(frozen=True)
class Gain:
    """Of a refined image against its preview, of the metrics of which less is better: percent of
    the preview's figure, a mean over SNR."""

    method: str
    label: str
    channel: str
    cbr: str
    percent: Mapping[str, float]
    snrs: int


def group_rows(rows: Iterable[Row]) -> dict[tuple[str, Place], list[Row]]:
    """By method and point, in the order of the rows."""
    groups: dict[tuple[str, Place], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["method"], (row["channel"], row["cbr"], row["snr_db"])].append(row)
    return groups


def lines_of(
    rows: Iterable[Row],
    metrics: Sequence[str],
    sets: Mapping[tuple[str, Place], Mapping[str, Estimate]],
) -> list[Means]:
    """``sets``: values of set metrics by method and point."""
    return [
        line_of(method, place, group, metrics, sets.get((method, place), {}))
        for (method, place), group in group_rows(rows).items()
    ]


def line_of(
    method: str,
    place: Place,
    rows: Sequence[Row],
    metrics: Sequence[str],
    sets: Mapping[str, Estimate],
) -> Means:
    got = [row for row in rows if row["status"] == "delivered"]
    images = len({row["image"] for row in got})
    means = {}
    for key in metrics:
        if key in sets:
            means[key] = sets[key]
        elif mean := mean_of((r["image"], r[key]) for r in got if r.get(key) is not None):
            means[key] = mean
    channel, cbr, snr_db = place
    return Means(
        method=method,
        label=rows[0]["label"],
        channel=channel,
        cbr=cbr,
        snr_db=snr_db,
        asked=len({row["image"] for row in rows}),
        images=images,
        repeats=repeats_of(rows),
        sent=len(got),
        outage=fmean(row["outage"] for row in got) if got else 0.0,
        refused=refused_of(rows),
        perfect=perfect_of(row.get("psnr") for row in got),
        seconds=median(row["seconds"] for row in got) if got else None,
        bandwidth_ratio=mean_over_images(got, "bandwidth_ratio"),
        means=means,
    )


def gains_of(lines: Sequence[Means], previews: Mapping[str, str]) -> list[Gain]:
    """``previews``: the name of the preview by the refined method's. Points that both have."""
    at = {(line.method, line.place): line for line in lines}
    changes: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    labels = {line.method: line.label for line in lines}
    for line in lines:
        before = at.get((previews.get(line.method, ""), line.place))
        if before is None:
            continue
        group = changes.setdefault((line.method, line.channel, line.cbr), defaultdict(list))
        for key, mean in line.means.items():
            was = before.means[key].value if key in before.means else 0.0
            if was and metric_of(key).better == "lower":
                group[key].append(100 * (mean.value - was) / was)
    return [
        Gain(
            method,
            labels[method],
            channel,
            cbr,
            {key: fmean(values) for key, values in group.items()},
            max(map(len, group.values())),
        )
        for (method, channel, cbr), group in changes.items()
        if group
    ]


def gain_text(gain: Gain) -> str:
    """One line for a screen."""
    figures = ", ".join(
        f"{metric_of(key).label} {percent:+.1f} %" for key, percent in gain.percent.items()
    )
    snrs = "at one SNR" if gain.snrs == 1 else f"mean over {gain.snrs} SNRs"
    return f"{gain.channel} {gain.cbr}: {gain.label} against its preview: {figures} ({snrs})"


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """``rows.csv``: details in columns of their own."""
    flat = [
        {k: v for k, v in row.items() if k != "details"}
        | {f"details.{k}": v for k, v in row.get("details", {}).items()}
        for row in rows
    ]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    write_csv(path, columns, flat)


def write_means(lines: Sequence[Means], metrics: Sequence[str], path: Path) -> None:
    """``KEY_ci95`` is half of the 95 % interval, with the image as the unit (see
    ``simulator.metrics.interval``), empty for one image. ``KEY_images``: how many it is over."""
    head = ["method", "label", "channel", "cbr", "snr_db", "asked", "images", "repeats", "sent"]
    head += ["refused", "outage", "perfect", "bandwidth_ratio"]
    figures = [name for key in metrics for name in (key, f"{key}_ci95", f"{key}_images")]
    rows = []
    for line in lines:
        row: dict[str, Any] = {name: getattr(line, name) for name in (*head, "seconds")}
        for key, mean in line.means.items():
            row |= {key: mean.value, f"{key}_ci95": mean.margin, f"{key}_images": mean.images}
        rows.append(row)
    write_csv(path, [*head, *figures, "seconds"], rows)


def write_gains(gains: Sequence[Gain], path: Path) -> None:
    rows = [
        {"method": g.method, "label": g.label, "channel": g.channel, "cbr": g.cbr, "snrs": g.snrs}
        | {f"{key}_percent": value for key, value in g.percent.items()}
        for g in gains
    ]
    keys = dict.fromkeys(key for gain in gains for key in gain.percent)
    columns = ["method", "label", "channel", "cbr", "snrs", *(f"{key}_percent" for key in keys)]
    write_csv(path, columns, rows)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
