"""Means over the same images or it is said, perfect is perfect, and four counts in four words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_photographs, refuse
from rich.console import Console

from simulator.evaluation.evaluate import line_of
from simulator.evaluation.means import lines_of
from simulator.evaluation.sweep_table import figure
from simulator.evaluation.tables import markdown
from simulator.link.rows import make_row
from simulator.metrics.interval import Estimate
from simulator.metrics.limits import PERFECT_DB, capped
from simulator.metrics.scorer import Scorer
from simulator.png import save_png
from simulator.report.counts import counts_text, perfect_text
from simulator.report.results import summarise
from simulator.report.tables import closing_table, markdown_of_points
from tests.fuzz.brought.commands import invoke


def sent(image: str, psnr: float | None, repeat: int = 0, **values: Any) -> dict[str, Any]:
    """A row of a sweep."""
    row = {"method": "m", "label": "M", "channel": "awgn", "cbr": "1/384", "snr_db": 1.0}
    row |= {"image": image, "repeat": repeat, "status": "delivered", "outage": False}
    return row | {"psnr": psnr, "seconds": 0.1} | values


def arrived(image: str, psnr: float | None, repeat: int = 0, **values: Any) -> dict[str, Any]:
    """A row of a run."""
    what = {"status": "delivered", "image": image, "repeat": repeat, "psnr_preview": psnr}
    what |= {"channel": "awgn", "cbr": "1/384", "snr_db": 1.0, "preview_file": "images/a.png"}
    return make_row(**(what | {"frame_id": f"{image}{repeat}"} | values))


def drawn(table: Any) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return " ".join(capture.get().split())


def test_an_image_without_error_has_a_psnr_that_counts() -> None:
    black = np.zeros((40, 50, 3), np.uint8)
    psnr = Scorer(metrics=["psnr", "ssim", "ms_ssim"]).score(black, black)["psnr"]
    assert psnr == PERFECT_DB == capped(math.inf) and capped(30.5) == 30.5
    (line,) = lines_of([sent("a", psnr), sent("b", psnr), sent("c", 30.94)], ["psnr"], {})
    assert line.means["psnr"].value == pytest.approx((2 * PERFECT_DB + 30.94) / 3)
    assert line.means["psnr"].images == 3 and line.perfect == 2
    assert "(" not in figure(line, "psnr")
    assert perfect_text(2).startswith("2 frames have no error") and perfect_text(0) == ""


def test_a_mean_over_fewer_images_says_so_in_every_table() -> None:
    rows = [sent("a", 30.0), sent("b", None), sent("c", None, status="refused", reason="no")]
    (line,) = lines_of(rows, ["psnr"], {})
    assert (line.asked, line.images, line.refused) == (3, 2, 1)
    assert figure(line, "psnr").endswith("(1 of 3)")
    run = [arrived("a", 30.0), arrived("b", None)]
    assert "30.00 (1 of 2)" in markdown_of_points(run)
    assert "30.00 (1 of 2)" in drawn(closing_table(run * 10)) or "(10 of 20)" in drawn(
        closing_table(run * 10)
    )
    evaluated = line_of(("awgn", "1/384", 1.0), "preview", run, {})
    assert "30.00 (1 of 2)" in markdown([evaluated])
    flat = evaluated.flat()
    assert (flat["images"], flat["psnr_images"], flat["lpips_images"]) == (2, 1, 0)
    assert Estimate(1.0, None, 2).text(1, of=2) == "1.0"


def test_images_repeats_frames_and_refused_are_four_counts() -> None:
    repeated = [arrived("a", 30.0, repeat) for repeat in range(10)]
    assert counts_text([repeated]) == "1 image, 10 repeats"
    some = [arrived(str(i), 30.0) for i in range(41)]
    lost = [arrived(str(i), None, status="refused") for i in range(41, 47)]
    assert counts_text([some + lost]) == "41 images, 6 frames refused"
    summary = summarise(some + lost)
    assert (summary["images"], summary["frames"], summary["refused"]) == (47, 47, 6)
    (point,) = summarise(repeated)["points"]
    counts = {key: point[key] for key in ("images", "repeats", "frames", "refused")}
    assert counts == {"images": 1, "repeats": 10, "frames": 10, "refused": 0}
    assert "means over 41 images, 6 frames refused" in drawn(closing_table(some + lost))
    twenty = [arrived("a", 30.0, repeat) for repeat in range(20)]
    assert "means over 1 image, 20 repeats" in drawn(closing_table(twenty))


def test_a_baseline_of_flat_images_ranks_over_all_of_them(tmp_path: Path) -> None:
    """Two images that HEVC sends without error, and a photograph."""
    photographs = tmp_path / "photographs"
    make_photographs(photographs, 1)
    for name, level in (("black", 0), ("grey", 128)):
        save_png(np.full((96, 128, 3), level, np.uint8), photographs / f"{name}.png")
    out = tmp_path / "out"
    done = invoke("baseline", photographs, "--cbr", "1/48", "--snr-db", 20, "--out", out)
    assert done.code == 0, done.err
    assert "means over 3 images" in done.out and "no error" in done.out

    lines = (out / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert sorted(row["psnr"] for row in rows)[1:] == [PERFECT_DB, PERFECT_DB]
    assert all(row["details"]["source_psnr"] <= PERFECT_DB for row in rows)
