"""``diffjscc evaluate RUN``: every metric at each operating point, as files to cite.

evaluation.json, evaluation.csv and evaluation.md hold one line an operating point and stage:
means over images (FD-EffNet, FID and mIoU are of the set) and 95 % intervals.

    rows ------------------ PSNR, SSIM, MS-SSIM, LPIPS -.
    images -declared metrics- FD-EffNet, FID, mIoU ... --+- Line - files, tables
           -CLIP, captioner-- where asked for -----------'
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.errors import ModelError, SettingsError, StorageError
from simulator.evaluation.agreement import agreement_of_run, captioner_for, captions_of_originals
from simulator.evaluation.arrays import OnProgress
from simulator.evaluation.clip_score import clip_of_run
from simulator.evaluation.flicker import flicker_of_run
from simulator.evaluation.kept import STAGES, Kept, Point, kept_images
from simulator.evaluation.line import Line
from simulator.evaluation.measured import Found, scores_of_run, set_of_run
from simulator.evaluation.tables import markdown
from simulator.link.rows import POINT, Row, by_point, values_of
from simulator.link.rowtable import RowTable
from simulator.link.text import to_json
from simulator.metrics.clip import Clip
from simulator.metrics.interval import Estimate, mean_interval
from simulator.metrics.known import SCORED, metric_of
from simulator.metrics.metric import Metric, SetMetric, Setup
from simulator.metrics.segmentation import Masks
from simulator.process import pick_device
from simulator.report.counts import perfect_of
from simulator.report.sources import read_lines, table_of
from simulator.rowfile import RESULTS, SUMMARY, parts_of
from simulator.textfile import read_text
from simulator.wholefile import whole, write_whole

log = logging.getLogger("evaluate")


#: ``with progress("FD-EffNet") as on_progress``
Progress = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True)
class Wanted:
    """What is measured beside the rows' scores and FD-EffNet.

    ``fid``: None, where the weights are on this machine. ``clip`` and ``segmenter``: hub ids or
    folders. ``masks``: ground truth, one a name of an image. ``captions``: who captions the
    originals, ``run`` or as ``rx.captioner``. ``metrics``: further ones by key. ``flicker``: of the
    frames of a stream.
    """

    fid: bool | None = None
    clip: str = ""
    segmenter: str = ""
    masks: Path | None = None
    captions: str = ""
    metrics: Sequence[str] = ()
    flicker: bool = False

    def __post_init__(self) -> None:
        if bool(self.segmenter) != (self.masks is not None):
            raise SettingsError("mIoU needs both: --segmenter ID and --masks FOLDER.")
        if self.masks is not None and not self.masks.is_dir():
            raise SettingsError(f"there is no folder of masks {self.masks}.")
        for key in self.metrics:
            if metric_of(key).load is None:
                raise SettingsError(
                    f"--metric {key}: it is in the rows already, or measured by --captions or "
                    f"--flicker."
                )


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
    device: str = "auto",
    progress: Progress = silent,
) -> Evaluation:
    """Measure, and write the three files, and the values into ``summary.json``.

    What networks make of each image is kept in ``features/``: an interrupted evaluation goes on.
    Raises SettingsError for a folder without results or a device that is not here, StorageError
    where it cannot be written, ModelError where a network that was asked for cannot be had,
    MissingPackageError.
    """
    on, wanted = pick_device(device), wanted or Wanted()
    rows = [row for row in read_rows(folder) if row["status"] == "delivered"]
    read_summary(folder)  # what cannot be written at the end is known before anything is
    found, unavailable = measure(folder, rows, wanted, on, progress)
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
    device: str,
    progress: Progress,
) -> tuple[Found, dict[str, str]]:
    """Everything that needs the images. All networks are loaded first: what cannot be had should
    be known before hours have passed."""
    kept = kept_images(folder, rows)
    found: Found = {}
    unavailable: dict[str, str] = {}
    loaded = load_metrics(wanted, device, bool(kept.results), unavailable)
    clip = Clip(wanted.clip, device) if wanted.clip else None
    captioner = captioner_for(folder, wanted.captions, device) if wanted.captions else None
    if wanted.masks is not None:
        check_masks(kept, wanted.masks)
    if clip is None:
        unavailable["CLIP score"] = "--clip with a hub id or folder of a CLIP"
    if not wanted.segmenter:
        unavailable["mIoU"] = "--segmenter with a hub id or folder, and --masks FOLDER"
    if captioner is None:
        unavailable["caption agreement"] = "--captions run, or another captioner"
    references: dict[str, str] = {}
    for metric, function in loaded:
        with progress(metric.label) as on:
            if isinstance(metric, SetMetric):
                add(found, set_of_run(kept, metric, function, device, on))
            else:
                add(found, scores_of_run(kept, metric, function, device, on))
    if captioner is not None:
        with progress("captions") as on:
            references = captions_of_originals(kept, captioner, device, on)
        add(found, agreement_of_run(kept, references))
        if not any(row.get("caption") for row in kept.rows):
            unavailable["caption agreement"] = "the run made no captions"
    if clip is not None:
        with progress("CLIP score") as on:
            add(found, clip_of_run(kept, clip, references, device, on))
    if wanted.flicker:
        with progress("flicker") as on:
            add(found, flicker_of_run(kept, device, on))
    return found, unavailable


def load_metrics(
    wanted: Wanted, device: str, images: bool, unavailable: dict[str, str]
) -> list[tuple[Metric | SetMetric, Any]]:
    """What is wanted of the declared metrics, with what measures it. ``images``: whether there are
    any. FID is left out where it is neither asked for nor there."""
    keys = ["fd_effnet"] if images else []
    keys += [] if wanted.fid is False else ["fid"]
    keys += ["miou", "miou_original"] if wanted.segmenter else []
    setup = Setup(device, str(wanted.masks or ""), wanted.segmenter, wanted.clip)
    loaded: dict[str, Any] = {}  # by features, which metrics may share
    found: list[tuple[Metric | SetMetric, Any]] = []
    for key in dict.fromkeys((*keys, *wanted.metrics)):
        metric = metric_of(key)
        name = metric.features if isinstance(metric, SetMetric) else key
        try:
            if name not in loaded and metric.load is not None:
                loaded[name] = metric.load(setup)
            found.append((metric, loaded[name]))
        except ModelError as error:
            if key != "fid" or wanted.fid:
                raise
            unavailable["FID"] = str(error)
    return found


def check_masks(kept: Kept, folder: Path) -> None:
    """Say how many images lack a mask. Raises ``SettingsError`` where all do, or two have one."""
    masks = Masks(folder)
    lost = sum(masks.find(image) is None for image in kept.originals)
    if 0 < lost < len(kept.originals):
        log.warning("%d of %d images have no mask in %s", lost, len(kept.originals), folder)
    if lost == len(kept.originals):
        raise SettingsError(
            f"no image of this run has a mask in {folder}; a mask is named as its image, NAME.png."
        )


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
    for key in SCORED:
        values = [values_of(image, f"{key}_{stage}") for image in repeats.values()]
        if estimate := mean_interval(values):
            metrics[key] = estimate
    channel, cbr, snr_db = point
    sent = sum(map(len, repeats.values()))
    psnrs = (row.get(f"psnr_{stage}") for each in repeats.values() for row in each)
    perfect = perfect_of(psnrs)
    return Line(channel, cbr, snr_db, stage, len(repeats), sent, perfect, {**metrics, **measured})


def read_rows(folder: Path) -> RowTable:
    path = folder / RESULTS
    try:
        parts = parts_of(folder)
        if not parts:
            raise SettingsError(f"{folder} is not the folder of a finished run: no {path}.")
        rows = table_of(row for part in parts for row in read_lines(part))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror or error}).") from None
    for number, row in enumerate(rows, 1):
        if row["status"] == "delivered" and not (row["image"] and row["channel"] and row["cbr"]):
            raise SettingsError(
                f"row {number} of {path} is damaged: it does not say which image it is of, or at "
                f"which operating point; diffjscc simulate --resume {folder} writes it again."
            )
    return rows


def write(folder: Path, lines: Sequence[Line]) -> None:
    flat = [line.flat() for line in lines]
    write_whole(folder / "evaluation.json", to_json(flat, indent=2) + "\n")
    with (
        whole(folder / "evaluation.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(flat[0]) if flat else [])
        writer.writeheader()
        writer.writerows(flat)
    write_whole(folder / "evaluation.md", markdown(lines))


def add_to_summary(folder: Path, found: Found) -> None:
    """Write the values, and half of their intervals, beside the other figures of each point in
    ``summary.json``."""
    summary, path = read_summary(folder), folder / SUMMARY
    for entry in summary["points"]:
        point = tuple(entry[key] for key in POINT)
        for stage in STAGES:
            for key, estimate in found.get((point, stage), {}).items():
                entry[f"{key}_{stage}"] = estimate.value
                entry[f"{key}_{stage}_ci95"] = estimate.margin
    write_whole(path, to_json(summary, indent=2) + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """``summary.json``, each point with what tells it apart. Raises ``StorageError``."""
    path = folder / SUMMARY
    try:
        summary: dict[str, Any] = json.loads(read_text(path))
        for entry in summary["points"]:
            hash(tuple(entry[key] for key in POINT))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise StorageError(
            f"{path} cannot be read ({reason}); diffjscc simulate --resume writes it again."
        ) from None
    return summary
