"""What a run over three processes has taken, and their CPU time while it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROLES = ("tx", "channel", "rx")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """Frames a second, seconds to the preview, and CPU seconds a frame of each process."""

    rate: float
    p50_s: float
    cpu_s: dict[str, float]


def median_of(runs: Sequence[Figures], value: Callable[[Figures], float]) -> float:
    return median(map(value, runs))


def cpu_of_children() -> dict[str, float]:
    """CPU seconds until now of those children of this process that are tx, channel and rx."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            for role in ROLES:
                if role in words:
                    found[role] = (int(fields[11]) + int(fields[12])) * TICK_S
    return found
