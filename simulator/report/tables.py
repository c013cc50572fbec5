"""Closing tables: one line an image, or one an operating point where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from simulator.report.results import Row, by_point, values_of

MANY_ROWS = 16
METRICS = (
    ("PSNR", "psnr_preview", 2),
    ("MS-SSIM", "ms_ssim_preview", 3),
    ("LPIPS", "lpips_preview", 3),
)


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.0f}"


def closing_table(rows: Sequence[Row]) -> Table:
    return table_of_images(rows) if len(rows) <= MANY_ROWS else table_of_points(rows)


def table_of_images(rows: Sequence[Row]) -> Table:
    """One line an image; what all of them share stands in the title."""
    what = {"channel": lambda r: r["channel"], "CBR": lambda r: r["cbr"], "SNR dB": told_snr}
    shared = {name: get for name, get in what.items() if len({get(r) for r in rows}) == 1}
    own = {name: get for name, get in what.items() if name not in shared}
    title = ", ".join(f"{name} {get(rows[0])}" for name, get in shared.items())
    table = Table(title=f"{title}; times in ms", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("image", no_wrap=True, max_width=16)
    for name in own:
        table.add_column(name, no_wrap=True, min_width=len(name))
    heads = [m[0] for m in METRICS] + ["encode", "link", "decode", "preview"]
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for row in rows:
        cells = [escape(Path(row["image"]).name), *(get(row) for get in own.values())]
        if row["status"] == "delivered":
            cells += [number(row[key], digits) for _, key, digits in METRICS]
            cells += [milliseconds(row[key]) for key in ("encode_s", "wire_s", "decode_s")]
            cells.append(milliseconds(row["time_to_preview_s"]))
        else:
            cells += [f"[red]{row['status']}[/red]"]
        table.add_row(*cells)
    return table


def told_snr(row: Row) -> str:
    return "trace" if row["snr_db"] is None else f"{row['snr_db']:g}"


def point_cells(point: tuple[Any, ...], rows: Sequence[Row]) -> list[str]:
    """The cells of one operating point: means of quality, medians of time."""
    channel, ratio, snr_db = point
    cells = [channel, ratio, "trace" if snr_db is None else f"{snr_db:g}", str(len(rows))]
    for _, key, digits in METRICS:
        values = values_of(rows, key)
        cells.append(number(fmean(values) if values else None, digits))
    times = values_of(rows, "time_to_preview_s")
    return [*cells, milliseconds(median(times) if times else None)]


POINT_HEADS = ["channel", "CBR", "SNR dB", "images", *(m[0] for m in METRICS), "to preview ms"]


def table_of_points(rows: Sequence[Row]) -> Table:
    """One line an operating point."""
    title = "means over images; median time to preview"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(POINT_HEADS):
        table.add_column(name, justify="left" if index < 2 else "right")
    for point, group in by_point(rows).items():
        table.add_row(*point_cells(point, group))
    return table


def markdown_of_points(rows: Sequence[Row]) -> str:
    """The same table as Markdown, written to ``table.md`` of the run folder."""
    lines = ["| " + " | ".join(POINT_HEADS) + " |", "|" + "---|" * len(POINT_HEADS)]
    lines += [f"| {' | '.join(point_cells(p, group))} |" for p, group in by_point(rows).items()]
    return "\n".join(lines) + "\n"
