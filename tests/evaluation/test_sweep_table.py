"""The closing table of a sweep, in terminals of any width."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from simulator.evaluation.experiment import Experiment
from simulator.evaluation.means import Means
from simulator.evaluation.sweep import Swept
from simulator.evaluation.sweep_table import tables_of
from simulator.metrics.interval import Estimate

METHODS = ["jscc", "hevc-fullsize+ldpc"]
METRICS = ["psnr", "ms_ssim", "lpips", "fd_effnet"]


def swept() -> Swept:
    """Two methods at two points, with outages and figures as wide as two images make them."""
    experiment = Experiment(
        methods=METHODS, metrics=METRICS, channel=["awgn"], cbr=["1/384"], snr_db=[1.0, 10.0]
    )
    lines = [
        Means(
            method, f"HEVC intra (BPG class), never shrunk, {method}", "awgn", "1/384", snr_db,
            asked=2, images=2, repeats=1, sent=2, outage=0.5, refused=0, perfect=0, seconds=0.1,
            means={key: Estimate(285.81, 1225.84, 2) for key in METRICS},
        )
        for method in METHODS
        for snr_db in (1.0, 10.0)
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"method": line.method, "channel": "awgn", "cbr": "1/384", "snr_db": line.snr_db,
         "image": image, "repeat": 0, "status": "delivered", "details": {"bits": 560}}
        for line in lines
        for image in ("a.png", "b.png")
    ]  # fmt: skip
    return Swept(experiment, rows, lines, [], {}, {})


@pytest.mark.parametrize(("width", "count"), [(40, 5), (80, 2), (200, 1)])
def test_nothing_is_cut(width: int, count: int) -> None:
    console = Console(width=width, color_system=None)
    tables = tables_of(swept(), ["bits"], width)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    text = capture.get()
    assert len(tables) == count and text.count("outage") == 1 and text.count("bits") == 1
    assert text.count("285.81 ±1225.84") == 4 and text.count("50%") == 4
    assert text.count("560") == 4 and "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("1 dB") == text.count("10 dB") == count
