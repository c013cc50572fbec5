"""Lines of an evaluation as tables: Markdown to cite, and for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from simulator.metrics.interval import Estimate
from simulator.report.tables import number

if TYPE_CHECKING:
    from simulator.evaluation.line import Line

# SSIM and Jaccard are in the other two files: a table should be read.
METRICS = (
    ("PSNR", "psnr", 2),
    ("MS-SSIM", "ms_ssim", 3),
    ("LPIPS", "lpips", 3),
    ("FD-EffNet", "fd_effnet", 1),
    ("FID", "fid", 1),
    ("CLIP", "clip_score", 3),
    ("CLIP sent", "clip_score_original", 3),
    ("words F1", "caption_f1", 3),
    ("text CLIP", "caption_clip", 3),
    ("mIoU", "miou", 3),
    ("mIoU sent", "miou_original", 3),
)
ALWAYS = 4  # the first ones
POINT_HEADS = ("channel", "CBR", "SNR dB", "stage", "images")
WIDTH = 80

Metric = tuple[str, str, int]


def point_cells(line: Line) -> list[str]:
    snr = "trace" if line.snr_db is None else f"{line.snr_db:g}"
    return [line.channel, line.cbr, snr, line.stage, str(line.images)]


def shown(lines: Sequence[Line]) -> list[Metric]:
    """The first four, and what was measured beside them."""
    measured = {key for line in lines for key in line.metrics}
    return [metric for i, metric in enumerate(METRICS) if i < ALWAYS or metric[1] in measured]


def value_and_margin(estimate: Estimate | None, digits: int) -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    return number(estimate.value, digits), number(estimate.margin, digits)


def markdown(lines: Sequence[Line]) -> str:
    """A column ± after each metric: half the width of its 95 % interval."""
    metrics = shown(lines)
    heads = [*POINT_HEADS, *(head for name, *_ in metrics for head in (name, "±"))]
    text = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for line in lines:
        cells = point_cells(line)
        for _, key, digits in metrics:
            cells += value_and_margin(line.metrics.get(key), digits)
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def tables(lines: Sequence[Line]) -> list[Table]:
    """For a terminal: as many as it takes to keep each within 80 columns."""
    columns = {metric: [cell(line, metric) for line in lines] for metric in shown(lines)}
    points = zip(POINT_HEADS, *map(point_cells, lines), strict=True)
    beside = WIDTH - 2 - sum(width_of(texts) for texts in points)  # 2: the box
    parts: list[list[Metric]] = [[]]
    room = beside
    for metric, cells in columns.items():
        width = width_of((metric[0], *cells))
        if width > room and parts[-1]:
            parts.append([])
            room = beside
        parts[-1].append(metric)
        room -= width
    drawn = [table([(metric[0], columns[metric]) for metric in part], lines) for part in parts]
    drawn[0].title = "means over images; FD-EffNet, FID, mIoU of the set; ± 95 %"
    return drawn


def width_of(texts: Sequence[str]) -> int:
    """Of a column, with the space after it."""
    return max(map(len, texts)) + 1


def cell(line: Line, metric: Metric) -> str:
    value, margin = value_and_margin(line.metrics.get(metric[1]), metric[2])
    return value if margin == "-" else f"{value} ±{margin}"


def table(columns: Sequence[tuple[str, list[str]]], lines: Sequence[Line]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 0))
    for index, name in enumerate(POINT_HEADS):
        left = index < 2 or name == "stage"
        drawn.add_column(name, justify="left" if left else "right", no_wrap=True)
    for name, _ in columns:
        drawn.add_column(name, justify="right", no_wrap=True)
    for row, line in enumerate(lines):
        drawn.add_row(*point_cells(line), *(cells[row] for _, cells in columns))
    return drawn
