"""Figures as inline SVG: curves with intervals, constellations, bars of durations.

Colours are classes (``s0`` ... ``s5``) of the page's style, so that they follow dark mode; every
series has a marker of its own, so that colour is not needed to tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.metrics.interval import Estimate
from simulator.report.markup import Html, element

WIDTH, HEIGHT = 340.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 24.0, 36.0
LABEL_PX = 30.0
COLOURS = 6
BANDED = 4  # curves of one figure: bands of more hide one another
CLOUD_PX = 200.0
MAX_DOTS = 700


@dataclass(frozen=True)
class Curve:
    """``index`` chooses colour and marker; ``points``: (x, mean), in the order of x."""

    label: str
    index: int
    points: list[tuple[float, Estimate]]


def ticks_of(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(s * unit for s in (1, 2, 2.5, 5, 10) if s * unit >= raw * 0.999)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def marker(index: int, x: float, y: float, title: str = "") -> Html:
    """A circle, square, diamond or triangle about (x, y)."""
    r = 3.4
    corners = (
        [],
        [(-r, -r), (r, -r), (r, r), (-r, r)],
        [(0, -r * 1.4), (r * 1.4, 0), (0, r * 1.4), (-r * 1.4, 0)],
        [(0, -r * 1.3), (r * 1.3, r), (-r * 1.3, r)],
    )[index % 4]
    tip = element("title", title) if title else None
    name = f"mark s{index % COLOURS}"
    if not corners:
        return element("circle", tip, class_=name, cx=x, cy=y, r=r)
    text = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return element("polygon", tip, class_=name, points=text)


def legend(labels: Sequence[str]) -> Html:
    """Names of the series, with their markers, for all the curves of a page."""
    entries = [
        element(
            "li",
            element("svg", marker(index, 7, 7), viewBox="0 0 14 14", width=14, aria_hidden="true"),
            label,
        )
        for index, label in enumerate(labels)
    ]
    return element("ul", entries, class_="legend")


def hidden(series: Sequence[Sequence[tuple[float, float]]], reach: float) -> list[int]:
    """For each series of (x, y), how many later ones lie on it within 1.5 % of ``reach``: drawn
    as wide as this asks for, each shows below the next."""
    found = []
    for index, one in enumerate(series):
        own = dict(one)
        over = [
            all(abs(own[x] - y) <= 0.015 * reach for x, y in other if x in own)
            for other in series[index + 1 :]
            if any(x in own for x, _ in other)
        ]
        found.append(sum(over))
    return found


def curves(
    title: str, x_name: str, curves: Sequence[Curve], x_ticks: Sequence[tuple[float, str]],
    digits: int,
) -> Html:  # fmt: skip
    """One metric over one variable, with 95 % bands where there are several images and at most
    ``BANDED`` curves."""
    banded = len(curves) <= BANDED
    means = [mean for curve in curves for _, mean in curve.points]
    low, high = reach_of(means if banded else [replace(mean, margin=None) for mean in means])
    left, right = x_ticks[0][0], x_ticks[-1][0]
    pad = 0.04 * (right - left) or 1.0
    left, right = left - pad, right + pad

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    drawn = [element("text", title, class_="head", x=LEFT, y=14)]
    y_ticks = ticks_of(low, high)
    step = y_ticks[1] - y_ticks[0] if len(y_ticks) > 1 else 1.0
    places = max(0, -math.floor(math.log10(step) + 1e-9) + (f"{step:e}"[2] != "0"))
    for value in y_ticks:
        y = at(left, value)[1]
        drawn.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        drawn.append(element("text", f"{value:.{places}f}", class_="tick end", x=LEFT - 6, y=y + 4))
    last = -math.inf
    for value, label in x_ticks:
        x = at(value, low)[0]
        if x - last < LABEL_PX:  # many points: not each has room for its label
            continue
        last = x
        drawn.append(element("text", label, class_="tick middle", x=x, y=HEIGHT - BOTTOM + 16))
    drawn.append(
        element("text", x_name, class_="tick middle", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 4)
    )
    bands = []
    below = hidden([[(x, m.value) for x, m in curve.points] for curve in curves], high - low)
    for curve, count in zip(curves, below, strict=True):
        upper = [at(x, m.value + m.margin) for x, m in curve.points if m.margin is not None]
        lower = [at(x, m.value - m.margin) for x, m in curve.points if m.margin is not None]
        colour = f"s{curve.index % COLOURS}"
        if banded and len(upper) > 1:
            bands.append(
                element("polygon", class_=f"band {colour}", points=path_of(upper + lower[::-1]))
            )
        line = path_of([at(x, m.value) for x, m in curve.points])
        width = f"{1.8 + 1.4 * min(count, 3):.1f}"
        bands.append(element("polyline", class_=f"curve {colour}", points=line, stroke_width=width))
    # An inner svg cuts at its edge what is drawn in it.
    inner = {"x": LEFT, "y": TOP, "width": WIDTH - LEFT - RIGHT, "height": HEIGHT - TOP - BOTTOM}
    box = " ".join(f"{value:g}" for value in inner.values())
    drawn.append(element("svg", bands, viewBox=box, **inner))
    for curve in curves:
        for x, mean in curve.points:
            where = next((label for value, label in x_ticks if value == x), f"{x:g}")
            images = "1 image" if mean.images == 1 else f"{mean.images} images"
            tip = f"{curve.label}, {where}: {mean.text(digits)} ({images})"
            drawn.append(marker(curve.index, *at(x, mean.value), tip))
    return element(
        "svg", drawn, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img",
        aria_label=f"{title} against {x_name}: " + spoken(curves, digits),
    )  # fmt: skip


def reach_of(means: Sequence[Estimate]) -> tuple[float, float]:
    """The axis: all the means, and their bands as far as these leave room to see the means.

    Bands of two or three images are many times as wide as what the curves differ by.
    """
    lowest, highest = min(m.value for m in means), max(m.value for m in means)
    room = (highest - lowest) or max(abs(highest) * 0.05, 0.01)
    low = min(max(m.value - (m.margin or 0.0), lowest - room) for m in means)
    high = max(min(m.value + (m.margin or 0.0), highest + room) for m in means)
    pad = 0.06 * room if highest > lowest else 0.5 * room  # of a flat curve, for its labels
    return low - pad, high + pad


def spoken(curves: Sequence[Curve], digits: int) -> str:
    """What a figure shows, for those who do not see it."""
    told = [
        f"{c.label} from {c.points[0][1].value:.{digits}f} to {c.points[-1][1].value:.{digits}f}"
        for c in curves
        if c.points
    ]
    return "; ".join(told)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def cloud(symbols: np.ndarray, reach: float, label: str) -> Html:
    """A constellation: complex ``symbols`` within ``reach`` of the origin; evenly thinned.

    What lies beyond is drawn at the edge, so that nothing is hidden.
    """
    thinned = symbols[:: max(1, -(-len(symbols) // MAX_DOTS))]
    half = CLOUD_PX / 2
    scale = (half - 6) / reach
    x = half + np.clip(thinned.real * scale, 6 - half, half - 6)
    y = half - np.clip(thinned.imag * scale, 6 - half, half - 6)
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))
    size = f"{CLOUD_PX:g}"
    drawn = [
        element("rect", class_="frame", width=size, height=size),
        element("line", class_="grid", x1=half, x2=half, y1=0, y2=size),
        element("line", class_="grid", y1=half, y2=half, x1=0, x2=size),
        element("circle", class_="unit", cx=half, cy=half, r=scale),
        element("path", class_="dots", d=dots),
    ]
    view = f"0 0 {size} {size}"
    return element("svg", drawn, viewBox=view, role="img", aria_label=label)


def levels(values: np.ndarray, ticks: tuple[str, str, str], unit: str, label: str) -> Html:
    """Values in dB from left to right, with names for the two ends and the middle."""
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1.0)
    low, high = low - 0.05 * room, high + 0.05 * room
    left, bottom = 26.0, CLOUD_PX - 26.0
    x = np.linspace(left, CLOUD_PX, len(values))
    y = bottom - (values - low) / (high - low) * bottom
    size = f"{CLOUD_PX:g}"
    drawn = [element("rect", class_="frame", x=left, width=CLOUD_PX - left, height=bottom)]
    for value in ticks_of(low, high, 4):
        at = bottom - (value - low) / (high - low) * bottom
        drawn.append(element("line", class_="grid", x1=left, x2=size, y1=at, y2=at))
        if 8 < at < bottom - 2:
            drawn.append(element("text", f"{value:g}", class_="tick end", x=left - 3, y=at + 4))
    line = path_of(list(zip(x.tolist(), y.tolist(), strict=True)))
    drawn.append(element("polyline", class_="curve s0", points=line, stroke_width="1.6"))
    middle = (left + CLOUD_PX) / 2
    for text, at, side in zip(
        ticks, (left, middle, CLOUD_PX), ("start", "middle", "end"), strict=True
    ):
        drawn.append(element("text", text, class_=f"tick {side}", x=at, y=bottom + 12))
    drawn.append(element("text", unit, class_="tick middle", x=middle, y=CLOUD_PX - 2))
    view = f"0 0 {size} {size}"
    return element("svg", drawn, viewBox=view, role="img", aria_label=label)


def bar(start: float, median: float, p95: float, whole: float) -> Html:
    """A stage of the waterfall: its median from where the stages before it end, then its p95."""
    unit = 1000.0 / whole if whole else 0.0
    x, solid = start * unit, max(median * unit, 2.0)
    faint = max(min(p95 * unit, 1000.0 - x), 0.0)
    drawn = [
        element("rect", class_="p95", x=x, y=3, width=faint, height=4),
        element("rect", class_="median", x=x, y=0, width=solid, height=10),
    ]
    return element(
        "svg", drawn, viewBox="0 0 1000 10", preserveAspectRatio="none", aria_hidden="true"
    )
