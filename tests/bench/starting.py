"""Start of a receiver: processor time and memory until it is ready for its first frame."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.table import Table

from simulator.live import READY

CASES = {
    "compact": (),
    "compact, with diffusion": ("--set", "rx.diffusion=true"),
    "compact, not scored": ("--reference", "none"),
    "previews alone": ("--refine", "off"),
}
STARTS = 3
TIMEOUT_S = 120.0
TICKS = os.sysconf("SC_CLK_TCK")


def start(arguments: tuple[str, ...]) -> tuple[float, float, float]:
    """One start: (CPU s, wall s, peak MB) until it says that it is ready."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "simulator.cli", "rx", *arguments]
        log = Path(scratch) / "log"
        began = time.monotonic()
        with log.open("wb") as file:
            child = subprocess.Popen(
                [*command, "--out", f"{scratch}/rx", "--set", "rx.connect=ipc://nobody"],
                stdout=file, stderr=file,
            )  # fmt: skip
        try:
            while READY not in log.read_text():
                if child.poll() is not None or time.monotonic() - began > TIMEOUT_S:
                    raise RuntimeError(log.read_text())
                time.sleep(0.01)
            wall = time.monotonic() - began
            stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak_kb = int(status.partition("VmHWM:")[2].split()[0])
            return (int(stat[11]) + int(stat[12])) / TICKS, wall, peak_kb / 1024
        finally:
            child.kill()
            child.wait()


def run() -> Table:
    table = Table(title=f"start of rx, best of {STARTS}", box=box.SIMPLE_HEAD)
    for head in ("receiver", "CPU s", "wall s", "peak MB"):
        table.add_column(head, justify="left" if head == "receiver" else "right")
    for name, arguments in CASES.items():
        cpu, wall, peak = min(start(arguments) for _ in range(STARTS))
        table.add_row(name, f"{cpu:.2f}", f"{wall:.2f}", f"{peak:.0f}")
    return table
