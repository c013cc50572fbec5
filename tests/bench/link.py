"""Link: frames a second and overhead with the null codec, 3,072 symbols, durable ledgers.

Beside it what pyzmq alone can do between three processes, and with the link's headers, commits and
messages; and what CURVE costs a message on two sockets, where nothing else takes time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import zmq
from rich import box
from rich.console import Group
from rich.table import Table

from simulator import simulate
from simulator.children import free_ports
from simulator.link import sockets
from simulator.link.keys import make_pair
from simulator.link.rows import values_of
from simulator.link.zap import ZapHandler
from simulator.png import save_png
from simulator.settings import make_settings
from tests.bench import bare
from tests.bench.figures import ROLES, Figures, cpu_of_children, median_of

SIZE = (192, 256)  # 3,072 symbols at 1/48
ROUNDS = 3
MANY, ONE = (6000, 64), (1500, 1)  # frames, and how many of them are in flight
Pair = tuple[zmq.Socket, zmq.Socket]  # dealer, door


def measure(folder: Path, frames: int, window: int, keys: bool) -> Figures:
    """One run. The first tenth of the frames warms up."""
    image = folder / "grey.png"
    save_png(np.full((*SIZE, 3), 128, np.uint8), image)
    settings = make_settings(
        overrides={
            "codec": "null",
            "keys": keys,
            "out": str(folder / f"{time.monotonic_ns()}"),
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
    skipped = frames // 10
    looks: list[tuple[int, dict[str, float]]] = []

    def look(done: int, total: int, phase: str) -> None:
        cpu = cpu_of_children()
        if skipped <= done < total and len(cpu) == len(ROLES):
            looks.append((done, cpu))

    rows = simulate(settings, look)
    (before, cpu_before), (after, cpu_after) = looks[0], looks[-1]
    steady = sorted(values_of(rows, "tx_at_s"))[skipped:]
    # A frame from the image in memory to its preview, less the codec's own work.
    overhead = [
        row["time_to_preview_s"] - row["load_s"] - row["encode_s"] - row["decode_s"]
        for row in rows[skipped:]
        if row["time_to_preview_s"] is not None
    ]
    return Figures(
        rate=(len(steady) - 1) / (steady[-1] - steady[0]),
        p50_s=median(overhead),
        cpu_s={role: (cpu_after[role] - cpu_before[role]) / (after - before) for role in ROLES},
    )


def run() -> Group:
    """The link and its limits in turn, so that all of them meet the same machine."""
    runs: dict[str, Callable[[Path, int, int], Figures]] = {
        each.name: partial(bare.measure, each) for each in bare.KINDS
    }
    runs["link"] = lambda folder, frames, window: measure(folder, frames, window, False)
    runs["link with keys"] = lambda folder, frames, window: measure(folder, frames, window, True)
    many: dict[str, list[Figures]] = {name: [] for name in runs}
    one: dict[str, list[Figures]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, call in runs.items():
            with tempfile.TemporaryDirectory() as scratch:
                many[name].append(call(Path(scratch), *MANY))
                one[name].append(call(Path(scratch), *ONE))
    return Group(limits(many, one), messages())


def limits(many: dict[str, list[Figures]], one: dict[str, list[Figures]]) -> Table:
    table = Table(
        title=f"link, null codec, 3,072 symbols, durable ledgers; medians of {ROUNDS} turns",
        caption=f"Time to the preview and CPU time in ms a frame. {MANY[1]} or {ONE[1]} in flight.",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("")
    heads = ("frames/s", "of bare", f"p50 at {MANY[1]}", f"p50 at {ONE[1]}")
    for head in (*heads, *(f"CPU {role}" for role in ROLES)):
        table.add_column(head, justify="right")
    echo = median_of(many[bare.KINDS[0].name], lambda each: each.rate)
    for name in many:
        rate = median_of(many[name], lambda each: each.rate)
        waits = (median_of(runs[name], lambda each: each.p50_s) * 1e3 for runs in (many, one))
        cpu = (median_of(many[name], lambda each, r=role: each.cpu_s[r]) * 1e3 for role in ROLES)
        table.add_row(
            name, f"{rate:.0f}", f"{rate / echo:.0%}",
            *(f"{ms:.2f}" for ms in waits), *(f"{ms:.3f}" for ms in cpu),
        )  # fmt: skip
    return table


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
