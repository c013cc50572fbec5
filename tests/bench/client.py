"""Client: what passes between ``send`` and the picture that comes back, and the start of a tx.

All on this machine: 768x512, AWGN at 10 dB, 1/96, durable ledgers, nothing scored. With the null
codec nothing is computed, so what is left is the link and the picture.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table

import simulator
from simulator.client.client import Client
from simulator.images import Pixels, load_image, sample_photographs

FRAMES = 12
CASES: dict[str, dict[str, Any]] = {
    "null codec, PNG": {"codec": "null"},
    "null codec, JPEG": {"codec": "null", "tx.return_format": "jpeg"},
    "compact, PNG": {"rx.refine": False},
    "compact, JPEG": {"rx.refine": False, "tx.return_format": "jpeg"},
    "compact, refined, PNG": {},
}
PARTS = ("encode_s", "decode_s", "restore_s", "return_s", "save_s")
START = """
import time
began = time.clock_gettime(time.CLOCK_BOOTTIME)
import os, sys
ticks = float(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
python_s = began - ticks / os.sysconf("SC_CLK_TCK")
import simulator
from simulator.images import load_image
pixels = load_image(sys.argv[3]).pixels[:512, :768]
with simulator.connect(sys.argv[1], out=sys.argv[2], returns="none", name="second") as link:
    ready = time.clock_gettime(time.CLOCK_BOOTTIME)
    row = link.send(pixels, cbr="1/96").row(60)
first = ready - began + python_s + row["load_s"] + row["grant_wait_s"] + row["encode_s"]
high = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
print(first, high)
"""


def photograph() -> Pixels:
    """(512, 768, 3) of a sample, enlarged by repeating where it is smaller."""
    pixels = load_image(sample_photographs()[3]).pixels
    rows, columns = (np.arange(n) % size for n, size in zip((512, 768), pixels.shape, strict=False))
    return np.ascontiguousarray(pixels[rows][:, columns])


def timed(link: Client, pixels: Pixels, stage: str) -> tuple[float, dict[str, Any]]:
    """Seconds from ``send`` to the array of a stage, and the row."""
    began = time.monotonic()
    sent = link.send(pixels)
    getattr(sent, stage)(60)
    taken = time.monotonic() - began
    return taken, sent.row(60)


def measured(settings: Mapping[str, Any], out: Path) -> list[str]:
    stage = "preview" if "codec" in settings or "rx.refine" in settings else "refined"
    quiet = {"rx.reference": "none", "tx.bandwidth_ratio": "1/96", "tx.reference": "none"}
    pixels = photograph()
    with simulator.local({**quiet, **settings}, out=out, returns=stage) as link:
        timed(link, pixels, stage)
        found = [timed(link, pixels, stage) for _ in range(FRAMES)]

    def ms(value: Callable[[float, dict[str, Any]], float | None]) -> str:
        return f"{1000 * median(value(*each) or 0 for each in found):.0f}"

    # Saving comes after the picture has left.
    inside = PARTS[:-1]
    rest = ms(lambda taken, row: taken - sum(row[part] or 0 for part in inside))
    kilobytes = median(row["returned_bytes"] for _, row in found) / 1000
    parts = [ms(lambda _, row, part=part: row[part]) for part in PARTS]  # type: ignore[misc]
    return [ms(lambda taken, _: taken), *parts, rest, f"{kilobytes:.0f}"]


def starts(out: Path) -> list[str]:
    """Seconds to the first symbol and peak memory of a client alone, the median of three."""
    found = []
    with simulator.local({"rx.refine": False, "rx.reference": "none"}, out=out / "far") as link:
        link.send(photograph()).row(60)  # the receiver is there
        for i in range(3):
            words = [link.settings.tx.connect, str(out / f"near{i}"), str(sample_photographs()[3])]
            done = subprocess.run(
                [sys.executable, "-c", START, *words], capture_output=True, text=True, check=True
            )
            found.append([float(word) for word in done.stdout.split()])
    seconds, megabytes = (median(each) for each in zip(*found, strict=True))
    return [f"{seconds:.2f}", f"{megabytes:.0f}"]


def run() -> Group:
    columns = [
        "send to picture",
        "encode",
        "decode",
        "restore",
        "make picture",
        "(save)",
        "rest",
        "kB",
    ]
    table = Table("ms, medians", *columns, box=box.SIMPLE, title="Pictures back, 768x512")
    start = Table("s to the first symbol", "peak MB", box=box.SIMPLE, title="Start of a client")
    with TemporaryDirectory() as scratch:
        for number, (name, settings) in enumerate(CASES.items()):
            table.add_row(name, *measured(settings, Path(scratch) / str(number)))
        start.add_row(*starts(Path(scratch)))
    return Group(table, start)
