"""Small experiments of two photographs, and what is read of a sweep's folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from simulator.evaluation.experiment import Experiment
from simulator.evaluation.sweep import local_engine, run_sweep

OWN_METHOD = Path(__file__).parents[1] / "configs" / "examples" / "own_method.py"

# A method that kills its process once, in the middle of a sweep.
MORTAL = """
import os, signal
import numpy as np
from pathlib import Path
from simulator.methods.method import Method, Sent
from simulator.methods.registry import register_method

class Mortal(Method):
    name = label = "mortal"

    def send(self, image, point, draw):
        flag = Path(__file__).with_name("died")
        if point.snr_db == 7 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        air = draw.transmit(np.ones(96, np.complex64))
        noise = 40 * (air.heard.payload.real.mean() - 1)
        return Sent((image * 0.5 + 60 + noise).astype("uint8"), 96)

register_method("mortal", Mortal)
"""


def experiment(photographs: Path, **given) -> Experiment:
    small = {"images": [str(photographs)], "metrics": ["psnr"], "methods": ["jscc"], "threads": 1}
    return Experiment.model_validate(small | given)


def swept(experiment: Experiment, out: Path, **options):
    return run_sweep(experiment, out, local_engine, **options)


def without_times(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def means_of(out: Path) -> list[dict]:
    with (out / "means.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def write_config(path: Path, photographs: Path, plugin: Path) -> Path:
    path.write_text(
        f'images = ["{photographs}"]\nplugins = ["{plugin}"]\nmethods = ["jscc", "mortal"]\n'
        'metrics = ["psnr", "fd_effnet"]\nsnr_db = [1, 7, 13]\ncbr = "1/96"\nthreads = 1\n'
    )
    return path
