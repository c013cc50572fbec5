"""Load: several transmitters and receivers with the null codec; scaling over receivers."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rich import box
from rich.table import Table

from simulator.link.rows import values_of
from tests.chaos.verify import tx_rows, verify
from tests.chaos.world import World

FRAMES = 10_000
SLOW_S = 0.2  # of a receiver that has something to do
SIZES_PX = ((192, 256), (512, 768))  # 3,072 and 24,576 symbols at 1/48


def carry(world: World) -> list[dict]:
    """All rows, once everything has arrived."""
    try:
        world.start()
        measured = 0.0
        while not world.finished:
            world.tend()
            if time.monotonic() - measured > 0.5:
                measured = time.monotonic()
                world.measure()
            time.sleep(0.02)
    finally:
        world.close()
    verdict = verify(world)
    assert not verdict.broken, verdict
    return [r for p in world.transmitters for r in tx_rows(world.folder / p.name / "tx.db")]


def rate(rows: list[dict]) -> float:
    """Previews a second, by the moments of their notices at tx, without the first tenth, which
    warms up, and the last, when receivers run out of work."""
    whole = [row for row in rows if row["time_to_preview_s"] is not None]
    shown = sorted(row["tx_at_s"] + row["time_to_preview_s"] for row in whole)
    steady = shown[len(shown) // 10 : -len(shown) // 10]
    return (len(steady) - 1) / (steady[-1] - steady[0])


def run() -> Table:
    table = Table(
        title="4 transmitters, 3 receivers, null codec; time from image to preview notice in ms",
        box=box.SIMPLE_HEAD,
    )
    for head in ("symbols", "frames", "frames/s", "p50", "p95", "p99", "tx MB", "channel", "rx"):
        table.add_column(head, justify="right")
    for size_px in SIZES_PX:
        with tempfile.TemporaryDirectory() as scratch:
            world = World(
                Path(scratch) / "world", FRAMES // 4, 4, 3, size_px=size_px, slots=64, direct=True
            )
            rows = carry(world)
            times = sorted(values_of(rows, "time_to_preview_s"))
            memory = [
                max(kb for p in world.processes if p.role == role for _, kb in p.rss_kb) / 1024
                for role in ("tx", "channel", "rx")
            ]
            points = [times[int(q * (len(times) - 1))] * 1e3 for q in (0.5, 0.95, 0.99)]
            table.add_row(
                str(rows[0]["k"]), str(len(rows)), f"{rate(rows):.0f}",
                *(f"{point:.1f}" for point in points), *(f"{mb:.0f}" for mb in memory),
            )  # fmt: skip
    return table


def scaling() -> Table:
    table = Table(title=f"receivers that take {SLOW_S * 1e3:.0f} ms a frame", box=box.SIMPLE_HEAD)
    for head in ("receivers", "frames/s", "of linear"):
        table.add_column(head, justify="right")
    for receivers in (1, 2, 3, 4):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "world"
            frames = 60 * receivers // 4 * 4
            world = World(folder, frames, 1, receivers, delay_s=SLOW_S, slots=2, direct=True)
            found = rate(carry(world))
            table.add_row(str(receivers), f"{found:.2f}", f"{found * SLOW_S / receivers:.3f}")
    return table
