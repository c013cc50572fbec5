"""Link: frames a second and overhead with the null codec, 3,072 symbols, durable ledgers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from rich import box
from rich.table import Table

from simulator import simulate
from simulator.images import save_png
from simulator.report.results import p95, values_of
from simulator.settings import make_settings

SIZE = (192, 256)  # 3,072 symbols at 1/48


def measure(folder: Path, frames: int, window: int) -> list[dict]:
    image = folder / "grey.png"
    save_png(np.full((*SIZE, 3), 128, np.uint8), image)
    settings = make_settings(
        overrides={
            "codec": "null",
            "out": str(folder / f"window{window}"),
            "tx.images": [str(image)],
            "tx.repeats": frames,
            "tx.window": window,
            "tx.bandwidth_ratio": "1/48",
            "tx.reference": "none",
            "tx.save_originals": False,
            "rx.reference": "none",
            "rx.save_images": False,
            "rx.slots": 64,
        }
    )
    return simulate(settings)


def run() -> Table:
    table = Table(title="link, null codec, 3,072 symbols, durable ledgers", box=box.SIMPLE_HEAD)
    for head in ("frames in flight", "frames", "frames/s", "overhead p50 ms", "p95 ms"):
        table.add_column(head, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        for window, frames in ((1, 2000), (64, 10_000)):
            rows = measure(Path(scratch), frames, window)
            began = sorted(values_of(rows, "tx_at_s"))
            # The first tenth warms the processes up.
            steady = began[frames // 10 :]
            rate = (len(steady) - 1) / (steady[-1] - steady[0])
            skipped = rows[frames // 10 :]
            # A frame from the image in memory to its preview, less the codec's own work.
            overhead = [
                row["time_to_preview_s"] - row["load_s"] - row["encode_s"] - row["decode_s"]
                for row in skipped
                if row["time_to_preview_s"] is not None
            ]
            table.add_row(
                str(window), str(frames), f"{rate:.0f}",
                f"{median(overhead) * 1e3:.2f}", f"{p95(overhead) * 1e3:.2f}",
            )  # fmt: skip
    return table
