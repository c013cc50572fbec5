"""``diffjscc evaluate RUN``: every metric at each operating point, as files to cite.

evaluation.json, evaluation.csv and evaluation.md hold one line an operating point and stage:
means over images (FD-EffNet, FID and mIoU are of the set) and 95 % intervals.

    rows ----------------------- PSNR, SSIM, MS-SSIM, LPIPS -.
    images -EfficientNet-------- FD-EffNet -------------------+- Line - files, tables
           -Inception, CLIP, segmenter, captioner - where asked for or there
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from simulator.errors import ModelError, SettingsError, StorageError
from simulator.evaluation.agreement import agreement_of_run, captioner_for, captions_of_originals
from simulator.evaluation.arrays import OnProgress
from simulator.evaluation.clip_score import clip_of_run
from simulator.evaluation.frechet import Found, frechet_of_run
from simulator.evaluation.kept import STAGES, Point, kept_images
from simulator.evaluation.line import SCORES, Line
from simulator.evaluation.miou import miou_of_run
from simulator.evaluation.tables import markdown
from simulator.link.rows import POINT, Row, by_point, values_of
from simulator.metrics.clip import Clip
from simulator.metrics.effnet import load_effnet
from simulator.metrics.inception import Inception, load_inception
from simulator.metrics.interval import Estimate, mean_interval
from simulator.metrics.segmentation import Segmenter

#: ``with progress("FD-EffNet") as on_progress``
Progress = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True)
class Wanted:
    """What is measured beside the rows' scores and FD-EffNet.

    ``fid``: None, where the weights are on this machine. ``clip`` and ``segmenter``: hub ids or
    folders. ``masks``: ground truth, one a name of an image. ``captions``: who captions the
    originals, ``run`` or as ``rx.captioner``.
    """

    fid: bool | None = None
    clip: str = ""
    segmenter: str = ""
    masks: Path | None = None
    captions: str = ""

    def __post_init__(self) -> None:
        if bool(self.segmenter) != (self.masks is not None):
            raise SettingsError("mIoU needs both: --segmenter ID and --masks FOLDER.")
        if self.masks is not None and not self.masks.is_dir():
            raise SettingsError(f"there is no folder of masks {self.masks}.")


@dataclass(frozen=True)
class Evaluation:
    """``unavailable``: what was not measured, and how to get it."""

    lines: list[Line]
    unavailable: dict[str, str] = field(default_factory=dict)


@contextmanager
def silent(label: str) -> Iterator[OnProgress]:
    yield lambda done, total: None


def evaluate(
    folder: Path,
    wanted: Wanted | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Evaluation:
    """Measure, and write the three files, and the values into ``summary.json``.

    What networks make of each image is kept in ``features/``: an interrupted evaluation goes on.
    Raises SettingsError for a folder without results, StorageError where it cannot be written,
    ModelError where a network that was asked for cannot be had, MissingPackageError.
    """
    wanted = wanted or Wanted()
    rows = [row for row in read_rows(folder) if row["status"] == "delivered"]
    found, unavailable = measure(folder, rows, wanted, device, progress)
    lines = [
        line_of(point, stage, group, found.get((point, stage), {}))
        for point, group in by_point(rows).items()
        for stage in STAGES
        if any(row.get(f"{stage}_file") for row in group)
    ]
    add_to_summary(folder, found)
    write(folder, lines)
    return Evaluation(lines, unavailable)


def measure(
    folder: Path,
    rows: Sequence[Row],
    wanted: Wanted,
    device: torch.device | str,
    progress: Progress,
) -> tuple[Found, dict[str, str]]:
    """Everything that needs the images. All networks are loaded first: what cannot be had should
    be known before hours have passed."""
    kept = kept_images(folder, rows)
    found: Found = {}
    unavailable: dict[str, str] = {}
    inception = inception_for(wanted, device, unavailable)
    clip = Clip(wanted.clip, device) if wanted.clip else None
    segmenter = Segmenter(wanted.segmenter, device) if wanted.segmenter else None
    captioner = captioner_for(folder, wanted.captions, device) if wanted.captions else None
    if clip is None:
        unavailable["CLIP score"] = "--clip with a hub id or folder of a CLIP"
    if segmenter is None:
        unavailable["mIoU"] = "--segmenter with a hub id or folder, and --masks FOLDER"
    if captioner is None:
        unavailable["caption agreement"] = "--captions run, or another captioner"
    references: dict[str, str] = {}
    if kept.results:
        effnet = load_effnet(device)
        with progress("FD-EffNet") as on:
            add(found, frechet_of_run(kept, "fd_effnet", effnet, device, on))
    if inception is not None:
        with progress("FID") as on:
            add(found, frechet_of_run(kept, "fid", inception, device, on))
    if captioner is not None:
        with progress("captions") as on:
            references = captions_of_originals(kept, captioner, device, on)
        add(found, agreement_of_run(kept, references))
    if clip is not None:
        with progress("CLIP score") as on:
            add(found, clip_of_run(kept, clip, references, device, on))
    if segmenter is not None and wanted.masks is not None:
        with progress("mIoU") as on:
            add(found, miou_of_run(kept, segmenter, wanted.masks, device, on))
    return found, unavailable


def inception_for(
    wanted: Wanted, device: torch.device | str, unavailable: dict[str, str]
) -> Inception | None:
    """None where it is not wanted, or neither asked for nor there."""
    if wanted.fid is False:
        return None
    try:
        return load_inception(device=device)
    except ModelError as error:
        if wanted.fid:
            raise
        unavailable["FID"] = str(error)
        return None


def add(found: Found, more: Found) -> None:
    for place, figures in more.items():
        found.setdefault(place, {}).update(figures)


def line_of(
    point: Point, stage: str, rows: Sequence[Row], measured: Mapping[str, Estimate]
) -> Line:
    repeats: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(f"{stage}_file"):
            repeats.setdefault(row["image"], []).append(row)
    metrics: dict[str, Estimate] = {}
    for key in SCORES:
        values = [values_of(image, f"{key}_{stage}") for image in repeats.values()]
        if estimate := mean_interval(values):
            metrics[key] = estimate
    channel, cbr, snr_db = point
    sent = sum(map(len, repeats.values()))
    return Line(channel, cbr, snr_db, stage, len(repeats), sent, {**metrics, **measured})


def read_rows(folder: Path) -> list[Row]:
    path = folder / "results.jsonl"
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise SettingsError(f"{folder} is not the folder of a finished run: no {path}.") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}).") from None


def write(folder: Path, lines: Sequence[Line]) -> None:
    flat = [line.flat() for line in lines]
    try:
        (folder / "evaluation.json").write_text(json.dumps(flat, indent=2) + "\n")
        with (folder / "evaluation.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(flat[0]) if flat else [])
            writer.writeheader()
            writer.writerows(flat)
        (folder / "evaluation.md").write_text(markdown(lines))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"the evaluation cannot be written to {folder}: {reason}.") from None


def add_to_summary(folder: Path, found: Found) -> None:
    """Write the values beside the other figures of each point in ``summary.json``."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text())
        for entry in summary["points"]:
            point = tuple(entry[key] for key in POINT)
            for stage in STAGES:
                for key, estimate in found.get((point, stage), {}).items():
                    entry[f"{key}_{stage}"] = estimate.value
        path.write_text(json.dumps(summary, indent=2) + "\n")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read and written again ({error}).") from None
