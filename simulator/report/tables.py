"""Closing tables: one line an image, or one an operating point where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from simulator.link.rows import (
    Row,
    by_point,
    mean_over_images,
    ratio_text,
    sent_less,
    values_of,
)
from simulator.metrics.interval import of_all
from simulator.metrics.known import SCORED, metric_of
from simulator.report.counts import counts_text, images_of, perfect_of, perfect_text, refused_of

MANY_ROWS = 16
# A table should be read: SSIM is in the files.
METRICS = [metric_of(key) for key in SCORED if key != "ssim"]
STAGES = ("preview", "refined")


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.0f}"


def stages_of(rows: Sequence[Row]) -> Sequence[str]:
    """``preview``, and ``refined`` where an image was."""
    refined = any(row.get("time_to_refined_s") or row.get("refined_file") for row in rows)
    return STAGES if refined else STAGES[:1]


def closing_table(rows: Sequence[Row]) -> Table:
    return table_of_images(rows) if len(rows) <= MANY_ROWS else table_of_points(rows)


def table_of_images(rows: Sequence[Row]) -> Table:
    """One line an image; what all of them share stands in the title."""
    what = {"channel": lambda r: r["channel"], "CBR": lambda r: r["cbr"], "SNR dB": snr_text}
    shared = {name: get for name, get in what.items() if len({get(r) for r in rows}) == 1}
    own = {name: get for name, get in what.items() if name not in shared}
    own |= {"sent": lambda r: ratio_text(r["bandwidth_ratio"])} if any(map(sent_less, rows)) else {}
    title = ", ".join(f"{name} {get(rows[0])}" for name, get in shared.items())
    stages = stages_of(rows)
    title += "; preview / refined" if len(stages) > 1 else ""
    table = Table(title=f"{title}; times in ms", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", no_wrap=True, max_width=16)
    for name in own:
        table.add_column(name, no_wrap=True, min_width=len(name))
    heads, cells_of = (
        (REFINED_HEADS, refined_cells) if len(stages) > 1 else (PREVIEW_HEADS, preview_cells)
    )
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    captioned = len(stages) > 1 and any(row["caption"] for row in rows)
    if captioned:
        table.add_column("caption", overflow="fold")
    for row in rows:
        cells = [escape(Path(row["image"]).name), *(get(row) for get in own.values())]
        delivered = row["status"] == "delivered"
        cells += cells_of(row) if delivered else [f"[red]{row['status']}[/red]"]
        cells += [escape(row["caption"] or "")] if captioned and delivered else []
        table.add_row(*cells)
    return table


PREVIEW_HEADS = [*(metric.label for metric in METRICS), "encode", "link", "decode", "preview"]


def preview_cells(row: Row) -> list[str]:
    cells = [number(row[f"{m.key}_preview"], m.digits) for m in METRICS]
    times = ("encode_s", "wire_s", "decode_s", "time_to_preview_s")
    return [*cells, *(milliseconds(row[key]) for key in times)]


REFINED_HEADS = ["PSNR", "LPIPS", "time to"]


def refined_cells(row: Row) -> list[str]:
    """Both stages in each cell, so that a line fits on a screen."""
    pairs = [
        [number(row[f"{metric.key}_{stage}"], metric.digits) for stage in STAGES]
        for metric in METRICS
        if metric.label in REFINED_HEADS
    ]
    pairs.append([milliseconds(row[f"time_to_{stage}_s"]) for stage in STAGES])
    return [" / ".join(pair) for pair in pairs]


def snr_text(row: Row) -> str:
    return "trace" if row["snr_db"] is None else f"{row['snr_db']:g}"


HEADS_OF_POINT = 7  # before the figures


def perfect_in(rows: Sequence[Row]) -> int:
    """Frames whose image, the refined one where there is one, has no error."""
    stage = stages_of(rows)[-1]
    return perfect_of(row.get(f"psnr_{stage}") for row in rows)


def point_heads(stages: Sequence[str]) -> list[str]:
    heads = ["channel", "CBR", "SNR dB", "sent", "images", "frames", "refused"]
    if len(stages) == 1:
        return [*heads, *(metric.label for metric in METRICS), "median ms to preview"]
    heads += [f"{metric.label} {stage}" for metric in METRICS for stage in stages]
    return heads + [f"median ms to {stage}" for stage in stages]


def point_cells(point: tuple[Any, ...], rows: Sequence[Row], stages: Sequence[str]) -> list[str]:
    """The cells of one operating point: means of quality, medians of time."""
    channel, ratio, snr_db = point
    cells = [channel, ratio, "trace" if snr_db is None else f"{snr_db:g}"]
    cells.append(ratio_text(mean_over_images(rows, "bandwidth_ratio")))
    asked = images_of(row for row in rows if row["status"] != "dropped")
    cells += map(str, (asked, len(rows), refused_of(rows)))
    for metric in METRICS:
        for stage in stages:
            key = f"{metric.key}_{stage}"
            mean = mean_over_images(rows, key)
            seen = images_of(row for row in rows if row.get(key) is not None)
            cells.append(number(mean, metric.digits) + (of_all(seen, asked) if seen else ""))
    for stage in stages:
        times = values_of(rows, f"time_to_{stage}_s")
        cells.append(milliseconds(median(times) if times else None))
    return cells


def table_of_points(rows: Sequence[Row]) -> Table:
    """One line an operating point; both stages in a cell, so that a line fits on a screen."""
    stages = stages_of(rows)
    points = by_point(rows)
    told = counts_text(list(points.values()))
    title = f"means over {told}, median time in ms; {'/'.join(stages)}"
    perfect = perfect_text(perfect_in(rows)) or None
    table = Table(title=title, caption=perfect, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    first = ["channel", "CBR", "SNR dB", *(["sent"] if any(map(sent_less, rows)) else [])]
    heads = [*first, *(metric.label for metric in METRICS), "time to"]
    for index, name in enumerate(heads):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    width = len(stages)
    for point, group in points.items():
        cells = point_cells(point, group, stages)
        pairs = [cells[i : i + width] for i in range(HEADS_OF_POINT, len(cells), width)]
        table.add_row(*cells[: len(first)], *("/".join(pair) for pair in pairs))
    return table


def markdown_of_points(rows: Sequence[Row]) -> str:
    """The same table as Markdown, written to ``table.md`` of the run folder."""
    stages = stages_of(rows)
    heads = point_heads(stages)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    groups = by_point(rows).items()
    lines += [f"| {' | '.join(point_cells(p, group, stages))} |" for p, group in groups]
    if perfect := perfect_text(perfect_in(rows)):
        lines += ["", f"{perfect}."]
    return "\n".join(lines) + "\n"
