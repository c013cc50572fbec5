"""Methods beside one another: means at each operating point, and curves through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from simulator.link.rows import snr_text
from simulator.metrics.interval import Estimate
from simulator.metrics.metric import Declared
from simulator.report import figures
from simulator.report.counts import perfect_of, perfect_text
from simulator.report.markup import Html, cells, element, note, section, table
from simulator.report.records import (
    Point,
    Record,
    by_method,
    by_point,
    labels_of,
    mean_at,
    ratio_of,
)
from simulator.report.sets import Sets

OUTAGE = Declared("outage", "outage", digits=2, better="lower")
BLOCKS = 4  # lines of curves that are open when the page is

Grouped = dict[str, dict[Point, list[Record]]]  # by the method's label, in the order of colours


def metrics_of(
    records: Sequence[Record], sets: Sets, declared: Sequence[Declared]
) -> list[Declared]:
    """The metrics that there are, and outages where one happened."""
    of_sets = {key for values in sets.values() for key in values}
    found = [
        metric
        for metric in declared
        if metric.key in of_sets or any(r.value(metric.key) is not None for r in records)
    ]
    return [*found, OUTAGE] if any(record.outage for record in records) else found


def value_of(records: Sequence[Record], metric: str, sets: Sets) -> Estimate | None:
    """Of the records of one method at one point, or of their set."""
    of_set = sets.get((records[0].method, records[0].point), {}).get(metric)
    if of_set is None:
        return mean_at(records, metric)
    return replace(of_set, images=len({record.image for record in records}))


def points_table(records: Sequence[Record], sets: Sets, declared: Sequence[Declared]) -> Html:
    """Means with 95 % intervals, one line an operating point and method."""
    metrics = metrics_of(records, sets, declared)
    timed = any(record.after_s is not None for record in records)  # a sweep has no latency
    heads = ["channel", "CBR", "SNR", "method", "images", *(metric.head for metric in metrics)]
    heads += ["median ms"] if timed else []
    labels = labels_of(records)
    lines = [
        cells(
            [channel, cbr, snr_text(snr_db), labels[method], *figures_of(own, metrics, sets, timed)]
        )
        for (channel, cbr, snr_db), group in by_point(records).items()
        for method, own in by_method(group).items()
    ]
    text = (
        "Mean ± half of the 95 % interval, with the image as the unit: Student's t over images "
        "(repeats of an image are averaged first), resamples of the images for figures of whole "
        "sets. One image has no interval, nor has the share of outages. Where a mean is over fewer "
        "images, it says so, as (1 of 3): a small image has no MS-SSIM."
    )
    perfect = perfect_of(record.value("psnr") for record in records)
    text += f" {perfect_text(perfect)}." if perfect else ""
    drawn = table(heads, lines, "Means at each operating point")
    return section("Operating points", drawn, note(text))


def figures_of(
    records: Sequence[Record], metrics: Sequence[Declared], sets: Sets, timed: bool
) -> Iterable[str]:
    """Cells of one line: images, the mean of each metric and, where ``timed``, the median time."""
    images = len({record.image for record in records})
    yield str(images)
    for metric in metrics:
        mean = value_of(records, metric.key, sets)
        yield mean.text(metric.digits, images) if mean else "-"
    if timed:
        times = [record.after_s for record in records if record.after_s is not None]
        yield f"{median(times) * 1e3:.0f}" if times else "-"


def curves(records: Sequence[Record], sets: Sets, declared: Sequence[Declared]) -> Html:
    """Against SNR at each ratio, and against the ratio at each SNR, where there are two."""
    metrics = metrics_of(records, sets, declared)
    labels = labels_of(records)
    grouped = {labels[method]: by_point(own) for method, own in by_method(records).items()}
    over_snr, over_rate = panels(by_point(records))
    blocks = [
        block(f"{channel}, CBR {cbr}", "SNR, dB", points, snr_axis, grouped, metrics, sets)
        for (channel, cbr), points in over_snr.items()
    ]
    blocks += [
        block(f"{channel}, {snr_text(snr_db)}", "CBR", points, ratio_axis, grouped, metrics, sets)
        for (channel, snr_db), points in over_rate.items()
    ]
    if not blocks or not metrics:
        text = "No curve: each needs two SNRs at one ratio, or two ratios at one SNR, and a metric."
        return section("Curves", note(text))
    rest = blocks[BLOCKS:]
    more = element("details", element("summary", f"{len(rest)} more"), rest) if rest else None
    text = (
        "Bands are 95 % intervals of the mean over images, cut where they leave the figure; the "
        "table above has them whole. Without a band there is one image, or no interval to draw."
    )
    if len(grouped) > figures.BANDED:
        text += f" Figures of more than {figures.BANDED} methods have no bands."
    legend = figures.legend(list(grouped))
    return section("Curves", legend, blocks[:BLOCKS], more, note(text))


def snr_axis(point: Point) -> tuple[float, str]:
    """Where a point is on the axis, and what stands there."""
    snr_db = point[2] or 0.0
    return snr_db, f"{snr_db:g}"


def ratio_axis(point: Point) -> tuple[float, str]:
    """Ratios double from one to the next: the axis is their logarithm."""
    return float(np.log2(ratio_of(point[1]))), point[1]


def panels(
    points: Iterable[Point],
) -> tuple[dict[tuple[str, str], list[Point]], dict[tuple[str, float], list[Point]]]:
    """Points that make a curve over SNR, by (channel, cbr), and over the ratio, by
    (channel, snr_db)."""
    over_snr: dict[tuple[str, str], list[Point]] = {}
    over_rate: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        channel, cbr, snr_db = point
        if snr_db is not None:
            over_snr.setdefault((channel, cbr), []).append(point)
            if ratio_of(cbr) > 0:
                over_rate.setdefault((channel, snr_db), []).append(point)
    return (
        {key: found for key, found in over_snr.items() if len(found) > 1},
        {key: found for key, found in over_rate.items() if len(found) > 1},
    )


def block(
    head: str,
    x_name: str,
    points: Sequence[Point],
    x_of: Callable[[Point], tuple[float, str]],
    grouped: Grouped,
    metrics: Sequence[Declared],
    sets: Sets,
) -> Html:
    """One line of small figures, a metric each."""
    ticks = sorted({x_of(point) for point in points})
    drawn = []
    for metric in metrics:
        lines = []
        for index, own in enumerate(grouped.values()):
            means = [(x_of(p)[0], value_of(own[p], metric.key, sets)) for p in points if p in own]
            found = [(x, mean) for x, mean in means if mean is not None]
            if found:
                found.sort(key=lambda pair: pair[0])
                lines.append(figures.Curve(list(grouped)[index], index, found))
        if lines:
            drawn.append(figures.curves(metric.head, x_name, lines, ticks, metric.digits))
    return element("figure", element("figcaption", head), element("div", drawn, class_="panels"))
