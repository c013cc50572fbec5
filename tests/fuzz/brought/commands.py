"""Commands as people give them, in this process, and what must hold however they end.

A result, or one sentence with a documented exit code; a refused command has written nothing; a
row says what is true of its image, and counts add up.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image, ImageOps
from typer.main import get_command

from simulator.cli.main import app, guarded
from simulator.errors import EXIT_CODES
from simulator.images import SUFFIXES
from simulator.link.text import readable
from simulator.metrics.limits import PERFECT_DB

COMMAND = get_command(app)  # once: it takes longer than most cases
COMPLETE = (0, 7)
REFUSED = (2, 3, 4, 5, 6, 9)  # before anything is begun


#: How often each command ended with each exit code.
ENDS: Counter[tuple[str, int]] = Counter()


class Finding(AssertionError):
    """Something that must not happen; the text says what."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def invoke(*arguments: object) -> Done:
    """``diffjscc ...`` to its end. Raises ``Finding`` where it does not end as it should."""
    out, err = io.StringIO(), io.StringIO()
    given = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Trainings and services install handlers, which must not outlive the command.
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = guarded(lambda: COMMAND(given))
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        raise Finding(f"{given}: {type(error).__name__}: {error}") from error
    finally:
        root.handlers[:], root.level = handlers, level
        for number, handler in signals.items():
            signal.signal(number, handler)
    done = Done(code, out.getvalue(), err.getvalue())
    ENDS[str(arguments[0]), code] += 1
    if code == 1 or code not in EXIT_CODES:
        raise Finding(f"{given}: exit code {code}\n{done.err[-2000:]}")
    if "Traceback" in done.err or "Traceback" in done.out:
        raise Finding(f"{given}: a traceback\n{done.err[-2000:]}")
    if code and not [line for line in done.err.splitlines() if line.lower().startswith("error: ")]:
        raise Finding(f"{given}: exit code {code} without a sentence\n{done.err[-2000:]}")
    return done


@contextlib.contextmanager
def started_only() -> Iterator[None]:
    """``simulate`` up to the moment when it would start its processes."""
    with mock.patch("simulator.launch.supervise", lambda *_: []):
        yield


def check_refused(done: Done, out: Path) -> None:
    if done.code in REFUSED and out.exists():
        raise Finding(f"refused ({done.err.strip()[-300:]}), and {out} was written")


def check_complete(done: Done) -> None:
    """Of many files some are images, so that there is a result."""
    if done.code not in COMPLETE:
        raise Finding(f"exit code {done.code}: {done.err.strip()[-500:]}")


def rows_in(path: Path) -> list[dict[str, Any]]:
    def constant(name: str) -> None:
        raise Finding(f"{path} has {name}")

    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=constant) for line in lines]


def true_size(path: Path) -> tuple[int, int]:
    """(height, width) as Pillow shows it; from memory, because it turns a TIFF that it opens by its
    path twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            try:
                shown = ImageOps.exif_transpose(image)
            except Exception:  # damaged metadata: as it lies
                shown = image
            return shown.height, shown.width


def sought(paths: list[Path]) -> set[str]:
    """Those that a search takes for images, by their names in rows."""
    return {
        readable(str(path))
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    }


def check_run(done: Done, out: Path, files: list[Path]) -> None:
    """One row for each image; what it says of a delivered one is true."""
    check_complete(done)
    rows = rows_in(out / "results.jsonl")
    names = [row["image"] for row in rows]
    expected = sought(files)
    if sorted(names) != sorted(expected):
        lost, more = expected - set(names), set(names) - expected
        raise Finding(f"{len(rows)} rows of {len(expected)} images; without {lost}, with {more}")
    by_name = {readable(str(path)): path for path in files}
    for row in rows:
        if row["status"] == "delivered":
            size = true_size(by_name[row["image"]])
            if (row["height"], row["width"]) != size:
                raise Finding(f"{row['image']!r} is {size}, its row says {row}")
            check_psnr(row["psnr_preview"], row)
        elif not row["reason"]:
            raise Finding(f"no reason: {row}")
    refused = sum(row["status"] != "delivered" for row in rows)
    if (done.code == 7) != bool(refused):
        raise Finding(f"exit code {done.code} with {refused} refused")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    if (summary["frames"], summary["refused"]) != (len(rows), refused):
        raise Finding(f"summary.json counts {summary['frames']} and {summary['refused']}")
    if not (out / "report.html").is_file():
        raise Finding(f"no report: {done.err[-500:]}")


def check_sweep(done: Done, out: Path, files: list[Path], methods: int) -> None:
    check_complete(done)
    rows = rows_in(out / "rows.jsonl")
    if len(rows) != methods * len(sought(files)):
        raise Finding(f"{len(rows)} rows of {len(sought(files))} images and {methods} methods")
    for row in rows:
        if row["status"] == "delivered":
            check_psnr(row["psnr"], row)
        elif not row["reason"]:
            raise Finding(f"no reason: {row}")


def check_psnr(value: float | None, row: dict[str, Any]) -> None:
    if value is None or not 0 <= value <= PERFECT_DB:
        raise Finding(f"a PSNR of {value}: {row}")
