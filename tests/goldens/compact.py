"""Quality of the compact model: two small photographs at eight operating points, as a sweep."""

from __future__ import annotations

import tempfile
from pathlib import Path

from simulator.evaluation.experiment import Experiment
from simulator.evaluation.sweep import local_engine, run_sweep
from simulator.images import load_image, sample_photographs
from simulator.png import save_png

SIDE_PX = 192
METRICS = ("psnr", "lpips")
STAGES = {"jscc": "preview", "diffjscc": "refined"}


def write_crops(folder: Path) -> None:
    """The middle of two of the sample photographs."""
    for path in sample_photographs()[:2]:
        pixels = load_image(path).pixels
        top, left = ((side - SIDE_PX) // 2 for side in pixels.shape[:2])
        save_png(pixels[top : top + SIDE_PX, left : left + SIDE_PX].copy(), folder / path.name)


def measure() -> dict[str, dict[str, float]]:
    """``psnr_preview`` (dB), ``lpips_refined`` ... by point: means over the photographs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photographs").mkdir()
        write_crops(folder / "photographs")
        experiment = Experiment(
            images=[str(folder / "photographs")],
            channel=["awgn", "rayleigh"],
            cbr=["1/384", "1/96"],
            snr_db=[1.0, 10.0],
            methods=list(STAGES),
            metrics=list(METRICS),
            pictures=0,
            device="cpu",
        )
        lines = run_sweep(experiment, folder / "sweep", local_engine).lines
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        point = found.setdefault(f"{line.channel} {line.cbr} {line.snr_db:g} dB", {})
        for key in METRICS:
            point[f"{key}_{STAGES[line.method]}"] = round(line.means[key].value, 4)
    return found
