"""End of a run: from the ledger to results, tables and report, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from simulator.link.ledger import TxLedger
from simulator.link.rows import QUALITY, TIMES, make_row
from simulator.runfolder import write_run_file
from simulator.settings import make_settings

FRAMES = (1000, 10_000, 50_000)
CLOSE = """
import json, sys, time
from pathlib import Path
from simulator.report import closing
begun = time.process_time()
closing.finish(Path(sys.argv[1]), {})
seconds = time.process_time() - begun
peak_kb = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps([seconds, int(peak_kb) / 1024]))
"""


def make_ledger(folder: Path, frames: int) -> None:
    """Frames that differ in every number; 100 images, 5 SNRs, a preview and a refined image."""
    rng = np.random.default_rng(0)
    write_run_file(make_settings(overrides={"run": "bench", "codec": "null"}), folder)
    ledger = TxLedger(folder / "tx.db")
    try:
        for start in range(0, frames, 1000):
            ledger.store([frame(rng, i) for i in range(start, min(start + 1000, frames))])
    finally:
        ledger.close()


def frame(rng: np.random.Generator, index: int) -> tuple[bytes, str, dict]:
    key = rng.bytes(16)
    numbers = (*QUALITY, *TIMES, "received_snr_db", "h_abs2", "tx_at_s", "channel_at_s", "rx_at_s")
    row = make_row(
        run="bench", frame_id=key.hex(), status="delivered", attempts=1, notes="", receiver="rx",
        image=f"photographs/{index % 100:03d}.png", repeat=index // 500, height=512, width=768,
        codec="null", k=3072, pilots=0, cbr="1/48", bandwidth_ratio=1 / 48, overhead_bytes=300,
        channel="awgn", csit="perfect", csir="perfect", snr_db=float(index // 100 % 5), seed=0,
        **dict(zip(numbers, rng.random(len(numbers)).tolist(), strict=True)),
    )  # fmt: skip
    return key, "delivered", row


def run() -> Table:
    table = Table(title="end of a run: results, tables, report", box=box.SIMPLE_HEAD)
    for head in ("frames", "CPU s", "peak MB", "report.html MB"):
        table.add_column(head, justify="right")
    for frames in FRAMES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            make_ledger(folder, frames)
            command = [sys.executable, "-c", CLOSE, scratch]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak = json.loads(done.stdout)
            size = (folder / "report.html").stat().st_size / 1e6
            table.add_row(str(frames), f"{seconds:.1f}", f"{peak:.0f}", f"{size:.1f}")
    return table
