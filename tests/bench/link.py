"""Link: frames a second and overhead with the null codec, 3,072 symbols, durable ledgers.

Without keys and with, in turn, so that both meet the same machine; and what CURVE costs a message
on two sockets alone, where nothing else takes time.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import zmq
from rich import box
from rich.console import Group
from rich.table import Table

from simulator import simulate
from simulator.launch import free_ports
from simulator.link import sockets
from simulator.link.keys import make_pair
from simulator.link.rows import values_of
from simulator.link.zap import ZapHandler
from simulator.png import save_png
from simulator.report.results import p95
from simulator.settings import make_settings

SIZE = (192, 256)  # 3,072 symbols at 1/48
Pair = tuple[zmq.Socket, zmq.Socket]  # dealer, door


def measure(folder: Path, frames: int, window: int, keys: bool) -> list[dict]:
    image = folder / "grey.png"
    save_png(np.full((*SIZE, 3), 128, np.uint8), image)
    settings = make_settings(
        overrides={
            "codec": "null",
            "keys": keys,
            "out": str(folder / f"window{window}-{keys}"),
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


def figures(rows: list[dict]) -> list[str]:
    """Frames a second, median and p95 of the overhead; the first tenth warms up."""
    skipped = len(rows) // 10
    steady = sorted(values_of(rows, "tx_at_s"))[skipped:]
    rate = (len(steady) - 1) / (steady[-1] - steady[0])
    # A frame from the image in memory to its preview, less the codec's own work.
    overhead = [
        row["time_to_preview_s"] - row["load_s"] - row["encode_s"] - row["decode_s"]
        for row in rows[skipped:]
        if row["time_to_preview_s"] is not None
    ]
    return [f"{rate:.0f}", f"{median(overhead) * 1e3:.2f}", f"{p95(overhead) * 1e3:.2f}"]


def run() -> Group:
    table = Table(title="link, null codec, 3,072 symbols, durable ledgers", box=box.SIMPLE_HEAD)
    for head in ("in flight", "frames", "keys", "frames/s", "overhead p50 ms", "p95 ms"):
        table.add_column(head, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        for window, frames in ((1, 2000), (64, 10_000)):
            for keys in (False, True):
                rows = measure(Path(scratch), frames, window, keys)
                table.add_row(str(window), str(frames), "yes" if keys else "no", *figures(rows))
    return Group(table, messages())


# -- a message -------------------------------------------------------------------------------

SIZES = {
    "200 bytes (RESULT)": 200,
    "25 kB (3,072 symbols)": 8 * 3072,
    "1.2 MB (a reference)": 1_180_000,
}
COUNT, TURNS = 2000, 5


def echo(pairs: dict[bool, Pair], size: int) -> dict[bool, float]:
    """Seconds of a round trip, the least of several turns: without keys and with."""
    payload, count = bytes(size), max(20, min(COUNT, 40_000_000 // size))
    best = {keys: float("inf") for keys in pairs}
    for _ in range(TURNS):
        for keys, (dealer, door) in pairs.items():
            began = time.perf_counter()
            for _ in range(count):
                dealer.send(payload)
                identity, there = door.recv_multipart()
                door.send_multipart([identity, there])
                dealer.recv()
            best[keys] = min(best[keys], (time.perf_counter() - began) / count)
    return best


def connect(context: zmq.Context, keys: bool) -> Pair:
    """A door and a dealer, connected."""
    server, own = (make_pair("tx", "bench") for _ in range(2))
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    door = sockets.door(context, endpoint, sockets.Lock("tx", server.secret) if keys else None)
    key = sockets.Key(own.public, own.secret, server.public) if keys else None
    dealer = sockets.dealer(context, key)
    sockets.connect(dealer, endpoint)
    dealer.send(b"")
    return dealer, door


def messages() -> Table:
    table = Table(title="one message over loopback, half a round trip", box=box.SIMPLE_HEAD)
    for head in ("message", "without keys", "with keys", "CURVE adds"):
        table.add_column(head, justify="right")
    context: zmq.Context = zmq.Context()
    try:
        zap = ZapHandler(context, lambda domain, public, address: True)
        pairs = {keys: connect(context, keys) for keys in (False, True)}
        while not pairs[True][1].poll(10):
            zap.answer()
        for _, door in pairs.values():
            door.recv_multipart()
        for name, size in SIZES.items():
            took = echo(pairs, size)
            bare, keyed = (took[keys] / 2 * 1e6 for keys in (False, True))
            table.add_row(name, f"{bare:.0f} us", f"{keyed:.0f} us", f"{keyed - bare:.0f} us")
    finally:
        context.destroy(0)
    return table
