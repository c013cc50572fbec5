"""Scores of one 768x512 image on one thread, with memory that is given back and that is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich import box
from rich.table import Table

from simulator.allocator import keep_memory
from simulator.metrics.known import metric_of
from simulator.metrics.metric import SetMetric, Setup
from simulator.metrics.scorer import Scorer

SIZE = (512, 768)
REPEATS = 7


def cpu_ms(call: Callable[[], object]) -> float:
    """The least of several: interruptions only ever add."""
    call()
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times) * 1e3


def measure() -> dict[str, float]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    original, other, image = (rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(3))
    found = {}
    for key in ("psnr", "ssim", "ms_ssim", "lpips"):
        scorer = Scorer("cpu", [key])
        found[key] = cpu_ms(lambda s=scorer: s.score(image, original))
        if key == "lpips":
            turns = iter([original, other] * (REPEATS + 1))
            again = cpu_ms(lambda s=scorer, t=turns: s.score(image, next(t)))
            found["lpips of an original that is new"] = again
    metric = metric_of("fd_effnet")
    assert isinstance(metric, SetMetric) and metric.load is not None
    features = metric.load(Setup("cpu", "", "", ""))
    found["features of fd_effnet"] = cpu_ms(lambda: features(image, None))
    return found


def run() -> Table:
    table = Table(title="scores of a 768x512 image, CPU ms on one thread", box=box.SIMPLE_HEAD)
    for head in ("metric", "memory given back", "kept", "ratio"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    before, after = (
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "tests.bench.scoring", *arguments],
                check=True, capture_output=True, text=True,
            ).stdout
        )
        for arguments in ([], ["keep"])
    )  # fmt: skip
    for key, ms in before.items():
        table.add_row(key, f"{ms:.0f}", f"{after[key]:.0f}", f"{ms / after[key]:.2f}")
    return table


if __name__ == "__main__":
    if "keep" in sys.argv:
        keep_memory()
    print(json.dumps(measure()))
