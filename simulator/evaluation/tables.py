"""Lines of an evaluation as tables: Markdown to cite, and for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from simulator.evaluation.line import Line
from simulator.metrics.interval import Estimate, of_all
from simulator.metrics.known import every_metric
from simulator.metrics.metric import Declared
from simulator.report.counts import perfect_text
from simulator.report.tables import number

# In the other two files: a table should be read.
LEFT_OUT = ("ssim", "caption_jaccard")
ALWAYS = ("psnr", "ms_ssim", "lpips", "fd_effnet")
POINT_HEADS = ("channel", "CBR", "SNR dB", "stage", "images")
WIDTH = 80


def point_cells(line: Line) -> list[str]:
    snr = "trace" if line.snr_db is None else f"{line.snr_db:g}"
    return [line.channel, line.cbr, snr, line.stage, str(line.images)]


def shown(lines: Sequence[Line]) -> list[Declared]:
    """What always is, and what was measured beside it."""
    measured = {key for line in lines for key in line.metrics} | set(ALWAYS)
    return [m for m in every_metric().values() if m.key in measured and m.key not in LEFT_OUT]


def value_and_margin(estimate: Estimate | None, digits: int, images: int) -> tuple[str, str]:
    """The value says over how many images it is where that is not all of them."""
    if estimate is None:
        return "-", "-"
    told = number(estimate.value, digits) + of_all(estimate.images, images)
    return told, number(estimate.margin, digits)


def markdown(lines: Sequence[Line]) -> str:
    """A column ± after each metric: half the width of its 95 % interval."""
    metrics = shown(lines)
    heads = [*POINT_HEADS, *(head for metric in metrics for head in (metric.label, "±"))]
    text = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for line in lines:
        cells = point_cells(line)
        for metric in metrics:
            cells += value_and_margin(line.metrics.get(metric.key), metric.digits, line.images)
        text.append(f"| {' | '.join(cells)} |")
    if perfect := perfect_text(sum(line.perfect for line in lines)):
        text += ["", f"{perfect}."]
    return "\n".join(text) + "\n"


def tables(lines: Sequence[Line], width: int = WIDTH) -> list[Table]:
    """For a terminal: as many as it takes to keep each within its ``width`` in columns."""
    columns = {metric: [cell(line, metric) for line in lines] for metric in shown(lines)}
    points = zip(POINT_HEADS, *map(point_cells, lines), strict=True)
    beside = width - 2 - sum(width_of(texts) for texts in points)  # 2: the box
    parts: list[list[Declared]] = [[]]
    room = beside
    for metric, cells in columns.items():
        needed = width_of((metric.label, *cells))
        if needed > room and parts[-1]:
            parts.append([])
            room = beside
        parts[-1].append(metric)
        room -= needed
    drawn = [table([(metric.label, columns[metric]) for metric in part], lines) for part in parts]
    drawn[0].title = "means over images; FD-EffNet, FID, mIoU of the set; ± 95 %"
    drawn[-1].caption = perfect_text(sum(line.perfect for line in lines)) or None
    return drawn


def width_of(texts: Sequence[str]) -> int:
    """Of a column, with the space after it."""
    return max(map(len, texts)) + 1


def cell(line: Line, metric: Declared) -> str:
    value, margin = value_and_margin(line.metrics.get(metric.key), metric.digits, line.images)
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
