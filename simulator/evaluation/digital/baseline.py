"""``diffjscc baseline``: images through digital systems; pictures, rows and a table.

    images x points x repeats x methods --Draw--> Method.send --> images/, rows.jsonl, results.csv

Gains and noise are those of the link at the same seed, so that rows are paired with a
``diffjscc simulate`` run's. Each row is written when it is there, and ``--resume`` goes on.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from rich import box
from rich.table import Table

from channel.fading import KINDS, Fading
from channel.streams import complex_normal, stream
from simulator.errors import SettingsError, StorageError
from simulator.evaluation.digital.methods import make_method
from simulator.evaluation.digital.system import channel_uses
from simulator.evaluation.method import Draw, Method, Point
from simulator.images import find_images, load_image, save_png
from simulator.link.ids import draw_key
from simulator.metrics.fidelity import as_tensor, ms_ssim, psnr
from simulator.report.results import Row, values_of
from simulator.report.tables import number
from simulator.settings import Kind, NotEmpty, Ratio, Section, SnrDb

SETTINGS, ROWS, RESULTS, PICTURES = "baseline.json", "rows.jsonl", "results.csv", "images"
POINT = ("method", "channel", "cbr", "snr_db")
KEY = (*POINT, "image", "repeat")
COLUMNS = (
    *KEY,
    *("label", "k", "h_abs2", "psnr", "ms_ssim", "outage", "outage_reason"),
    *("mcs", "budget_bits", "bits", "side_bits"),
    *("source_psnr", "source_scale", "source_quality", "source_variant", "file"),
)
HEADS = {"method": "method", "channel": "channel", "cbr": "CBR", "snr_db": "SNR dB"}


class BaselineSettings(Section):
    """What a run of the baseline is, as ``baseline.json`` keeps it."""

    images: Annotated[list[str], NotEmpty]
    method: Annotated[list[str], NotEmpty]
    cbr: Annotated[list[Ratio], NotEmpty]
    snr_db: Annotated[list[SnrDb], NotEmpty]
    channel: Annotated[list[Kind], NotEmpty]
    repeats: Annotated[int, Field(ge=1, le=10_000)]
    seed: int


@dataclass(frozen=True)
class Job:
    """One image at one operating point, once; every method sends it."""

    path: Path
    index: int  # of the image: two folders may hold images of one name
    repeat: int
    point: Point

    def key(self, method: Method) -> tuple[Any, ...]:
        p = self.point
        return (method.name, p.channel, str(p.cbr), p.snr_db, str(self.path), self.repeat)


def baseline_settings(**options: Any) -> BaselineSettings:
    """Checked settings. Raises ``SettingsError`` in one sentence."""
    try:
        return BaselineSettings(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"--{name} {first['input']!r}: {reason}.".replace("..", ".")) from None


def run_baseline(
    settings: BaselineSettings,
    out: Path,
    resume: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """All rows of the run, those of before an interruption included.

    Raises ``SettingsError``, ``ImageError``, ``MissingPackageError``, ``StorageError``, and
    ``KeyboardInterrupt`` once ``stopped()``, with what is done on the disk.
    """
    methods = [make_method(name) for name in dict.fromkeys(settings.method)]
    jobs = list(jobs_of(settings))
    done = prepare(settings, out, resume)
    total = len(jobs) * len(methods)
    try:
        with (out / ROWS).open("a") as file:
            for job in jobs:
                todo = [method for method in methods if job.key(method) not in done]
                for row in rows_of(job, todo, settings.seed, out / PICTURES):
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    done[tuple(row[name] for name in KEY)] = row
                    if on_progress:
                        on_progress(len(done), total)
                    if stopped():
                        raise KeyboardInterrupt
        rows = [done[job.key(method)] for method in methods for job in jobs]
        write_csv(rows, out / RESULTS)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}.") from None
    return rows


def jobs_of(settings: BaselineSettings) -> Iterator[Job]:
    """Images outermost: what is coded of one serves all its points."""
    paths = dict.fromkeys(find_images([Path(name).expanduser() for name in settings.images]))
    for index, path in enumerate(paths):
        for channel in dict.fromkeys(settings.channel):
            for cbr in dict.fromkeys(settings.cbr):
                for snr_db in dict.fromkeys(settings.snr_db):
                    for repeat in range(settings.repeats):
                        yield Job(path, index, repeat, Point(channel, Fraction(cbr), snr_db))


def draw_of(key: bytes, channel: str, k: int) -> Draw:
    """The gain and noise that the link has for this draw key, and a seed of the method's own."""
    h = KINDS[channel](stream(key, "h"), 1, Fading())[0]
    seed = int(stream(key, "method").integers(2**63))
    return Draw(complex(h), complex_normal(stream(key, "noise"), k), seed)


def rows_of(job: Job, methods: Sequence[Method], seed: int, pictures: Path) -> Iterator[Row]:
    if not methods:
        return
    picture = load_image(job.path)
    image = picture.pixels
    key = draw_key(seed, picture.sha256, job.repeat)
    draw = draw_of(key, job.point.channel, channel_uses(image, job.point))
    for method in methods:
        sent = method.send(image, job.point, draw)
        name = picture_name(job, method)
        save_png(sent.pixels, pictures / name)
        row = dict.fromkeys(COLUMNS) | dict(zip(KEY, job.key(method), strict=True))
        row |= {"label": method.label, "k": sent.k, "h_abs2": abs(draw.h) ** 2}
        row |= {"outage": sent.outage, "file": f"{PICTURES}/{name}"}
        yield row | quality(sent.pixels, image) | sent.details


def picture_name(job: Job, method: Method) -> str:
    p = job.point
    where = f"{p.channel}-{str(p.cbr).replace('/', '_')}-{p.snr_db:g}dB"
    return f"{job.index:03d}-{job.path.stem}-{where}-{method.name}-{job.repeat}.png"


def quality(pixels: NDArray[np.uint8], image: NDArray[np.uint8]) -> dict[str, float | None]:
    """PSNR in dB (None where nothing differs) and MS-SSIM (None for a side under 161 pixels)."""
    got, sent = as_tensor(pixels), as_tensor(image)
    db = psnr(got, sent)
    return {"psnr": db if math.isfinite(db) else None, "ms_ssim": ms_ssim(got, sent)}


def prepare(settings: BaselineSettings, out: Path, resume: bool) -> dict[tuple[Any, ...], Row]:
    """The folder made, or opened again; rows that it has already. Raises ``StorageError``."""
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        if not resume:
            if (out / SETTINGS).exists():
                raise StorageError(
                    f"{out} already holds a run; add --resume to go on with it, or name another."
                )
            (out / SETTINGS).write_text(settings.model_dump_json(indent=2) + "\n")
            return {}
        lines = (out / ROWS).read_text().splitlines(keepends=True) if (out / ROWS).exists() else []
        # A line that was being written when the machine stopped is made again.
        whole = [line for line in lines if line.endswith("\n")]
        (out / ROWS).write_text("".join(whole))
        rows = [json.loads(line) for line in whole]
    except OSError as error:
        raise StorageError(f"{out} cannot be used: {error.strerror or error}.") from None
    except ValueError as error:
        raise StorageError(f"{out / ROWS} is damaged ({error}).") from None
    return {tuple(row[name] for name in KEY): row for row in rows}


def stored_settings(out: Path) -> BaselineSettings:
    """Of the run in a folder. Raises ``SettingsError``."""
    try:
        return BaselineSettings.model_validate_json((out / SETTINGS).read_text())
    except (OSError, ValidationError):
        raise SettingsError(f"{out} holds no run of the baseline to resume.") from None


def write_csv(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def table(rows: Sequence[Row]) -> Table:
    """One line a method and operating point: means, and the share of outages.

    What all of them share stands in the title.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in POINT)].append(row)
    counts = sorted({len(group) for group in groups.values()})
    sent = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    shared = [name for name in POINT[1:] if len({row[name] for row in rows}) == 1]
    facts = "".join(f", {HEADS[name]} {cell(rows[0], name)}" for name in shared)
    title = f"means over {sent} transmissions, outages included{facts}"
    drawn = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    own = [name for name in POINT if name not in shared]
    for name in own:
        drawn.add_column(HEADS[name], no_wrap=True)
    for name in ("PSNR", "MS-SSIM", "bits", "outage"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("MCS", overflow="fold")
    for group in groups.values():
        figures = [mean(group, "psnr", 2), mean(group, "ms_ssim", 3), mean(group, "bits", 0)]
        outages = fmean(row["outage"] for row in group)
        schemes = dict.fromkeys(row["mcs"] for row in group if row["mcs"])
        cells = [cell(group[0], name) for name in own]
        drawn.add_row(*cells, *figures, f"{outages:.0%}", ", ".join(schemes))
    return drawn


def cell(row: Row, name: str) -> str:
    return f"{row[name]:g}" if name == "snr_db" else str(row[name])


def mean(rows: Sequence[Row], key: str, digits: int) -> str:
    values = values_of(rows, key)
    return number(fmean(values) if values else None, digits)
