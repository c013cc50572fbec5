"""``diffjscc evaluate RUN``: means of every metric at each operating point, as files to cite.

evaluation.json, evaluation.csv and evaluation.md hold one line an operating point and stage.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich import box
from rich.table import Table

from simulator.errors import SettingsError, StorageError
from simulator.evaluation.fd_effnet import STAGES, OnProgress, add_to_summary, fd_effnet_of_run
from simulator.report.results import Row, by_point, values_of
from simulator.report.tables import number

# Of the tables. SSIM is in the other two files: with it, 80 columns are too few.
METRICS = (
    ("PSNR", "psnr", 2),
    ("MS-SSIM", "ms_ssim", 3),
    ("LPIPS", "lpips", 3),
    ("FD-EffNet", "fd_effnet", 1),
)
HEADS = ("channel", "CBR", "SNR dB", "stage", "images", *(head for head, _, _ in METRICS))


@dataclass(frozen=True)
class Line:
    """One operating point and stage: ``images`` that arrived, means over them, PSNR in dB.

    None where a metric is undefined or unavailable. ``fd_effnet`` is of the whole set.
    """

    channel: str
    cbr: str
    snr_db: float | None
    stage: str
    images: int
    psnr: float | None
    ssim: float | None
    ms_ssim: float | None
    lpips: float | None
    fd_effnet: float | None

    def cells(self) -> list[str]:
        snr = "trace" if self.snr_db is None else f"{self.snr_db:g}"
        figures = [number(getattr(self, key), digits) for _, key, digits in METRICS]
        return [self.channel, self.cbr, snr, self.stage, str(self.images), *figures]


def evaluate(
    folder: Path, on_progress: OnProgress | None = None, device: torch.device | str = "cpu"
) -> list[Line]:
    """Compute FD-EffNet and write the three files, and the values into ``summary.json``.

    Raises SettingsError for a folder without results, StorageError where it cannot be written,
    and ModelError where EfficientNet-Lite0 cannot be had.
    """
    rows = [row for row in read_rows(folder) if row["status"] == "delivered"]
    distances = fd_effnet_of_run(folder, rows, on_progress, device)
    lines = [
        line_of(point, stage, group, distances[point].get(f"fd_effnet_{stage}"))
        for point, group in by_point(rows).items()
        for stage in STAGES
        if any(row.get(f"{stage}_file") for row in group)
    ]
    add_to_summary(folder, distances)
    write(folder, lines)
    return lines


def line_of(point: tuple[Any, ...], stage: str, rows: Sequence[Row], fd: float | None) -> Line:
    def mean(metric: str) -> float | None:
        values = values_of(rows, f"{metric}_{stage}")
        return fmean(values) if values else None

    images = sum(bool(row.get(f"{stage}_file")) for row in rows)
    channel, cbr, snr_db = point
    return Line(
        channel=channel,
        cbr=cbr,
        snr_db=snr_db,
        stage=stage,
        images=images,
        psnr=mean("psnr"),
        ssim=mean("ssim"),
        ms_ssim=mean("ms_ssim"),
        lpips=mean("lpips"),
        fd_effnet=fd,
    )


def read_rows(folder: Path) -> list[Row]:
    path = folder / "results.jsonl"
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise SettingsError(f"{folder} is not the folder of a finished run: no {path}.") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}).") from None


def write(folder: Path, lines: Sequence[Line]) -> None:
    try:
        text = json.dumps([asdict(line) for line in lines], indent=2)
        (folder / "evaluation.json").write_text(text + "\n")
        with (folder / "evaluation.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Line)])
            writer.writeheader()
            writer.writerows(asdict(line) for line in lines)
        (folder / "evaluation.md").write_text(markdown(lines))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"the evaluation cannot be written to {folder}: {reason}.") from None


def markdown(lines: Sequence[Line]) -> str:
    head = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    return "\n".join([*head, *(f"| {' | '.join(line.cells())} |" for line in lines)]) + "\n"


def table(lines: Sequence[Line]) -> Table:
    """For a terminal."""
    title = "means over images; FD-EffNet of the set"
    drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(HEADS):
        left = index < 2 or name == "stage"
        drawn.add_column(name, justify="left" if left else "right", no_wrap=True)
    for line in lines:
        drawn.add_row(*line.cells())
    return drawn
