"""What the link is held against: three processes with pyzmq, and nothing of this project.

    tx -> channel -> rx    a header and 25 kB; one header comes back the same way

``headers``: each process decodes and encodes msgpack. ``commit``: rx writes a row before it
answers. ``dialogue``: the messages of the protocol, ten instead of four a frame.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import zmq

from simulator.children import free_ports
from tests.bench.figures import Figures

SYMBOLS = 8 * 3072
# A header a kind: of about the fields and bytes of the link's own.
FIELDS: dict[str, dict[str, Any]] = {
    "request": {"id": bytes(16), "key": bytes(32), "ratio": "1/48", "k": 3072, "channel": "awgn"},
    "grant": {"id": bytes(16), "snr_db": 7.0, "h": (1.0, 0.5), "settings": "0123456789abcdef"},
    "frame": {"id": bytes(16), "key": bytes(32), "sha256": bytes(32)} | dict.fromkeys("abcdefg", 1),
    "stage": {"id": bytes(16), "tx": "tx", "stage": "preview", "elapsed_s": 0.5},
    "result": {"id": bytes(16)} | {f"value_{i}_s": float(i) for i in range(40)},
    "confirm": {"id": bytes(16), "receiver": "rx"},
    "end": {},
}  # fmt: skip


@dataclass(frozen=True)
class Bare:
    """What is done beside passing bytes on."""

    name: str
    headers: bool = False
    commit: bool = False
    dialogue: bool = False


KINDS = (
    Bare("bare echo"),
    Bare("+ msgpack headers", headers=True),
    Bare("+ a commit a frame", headers=True, commit=True),
    Bare("+ ten messages a frame", headers=True, commit=True, dialogue=True),
)


class Codec:
    """Headers to bytes and back; without ``headers`` the bytes are made once."""

    def __init__(self, headers: bool) -> None:
        packed = {
            kind: msgspec.msgpack.encode({"kind": kind, **rest}) for kind, rest in FIELDS.items()
        }
        sizes = {len(raw): kind for kind, raw in packed.items()}
        assert len(sizes) == len(packed)
        self.pack: Callable[[str], bytes] = packed.__getitem__
        self.kind: Callable[[bytes], str] = lambda raw: sizes[len(raw)]
        if headers:
            self.pack = lambda kind: msgspec.msgpack.encode({"kind": kind, **FIELDS[kind]})
            self.kind = lambda raw: msgspec.msgpack.decode(raw)["kind"]


def transmit(bare: Bare, port: int, frames: int, window: int, tell: Connection) -> None:
    """``window`` frames under way. Tells the moments of the answers, the times to them in s, and
    its CPU seconds."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{port}")
    codec, symbols = Codec(bare.headers), bytes(SYMBOLS)
    socket.send(b"")
    socket.recv()  # everybody is there
    first = "request" if bare.dialogue else "frame"
    seen = "stage" if bare.dialogue else "result"
    began: deque[float] = deque()
    times: list[float] = []
    moments: list[float] = []
    started, cpu = 0, time.process_time()

    def send(kind: str) -> None:
        socket.send_multipart(
            [codec.pack(kind), symbols] if kind == "frame" else [codec.pack(kind)]
        )

    while len(moments) < frames:
        while started < min(frames, len(moments) + window):
            started += 1
            began.append(time.perf_counter())
            send(first)
        kind = codec.kind(socket.recv_multipart()[0])
        if kind == "grant":
            send("frame")
        if kind == seen:
            times.append(time.perf_counter() - began.popleft())
        if kind == "result":
            moments.append(time.perf_counter())
            if bare.dialogue:
                send("confirm")
    cpu = time.process_time() - cpu
    send("end")
    tell.send((moments, times, cpu))
    tell.recv()  # the last message has left


def route(bare: Bare, front_port: int, back_port: int, tell: Connection) -> None:
    """Pass messages on; report the CPU seconds."""
    context, codec = zmq.Context(), Codec(bare.headers)
    doors = [context.socket(zmq.ROUTER) for _ in range(2)]
    poller = zmq.Poller()
    for door, port in zip(doors, (front_port, back_port), strict=True):
        door.bind(f"tcp://127.0.0.1:{port}")
        poller.register(door, zmq.POLLIN)
    front, back = doors
    tx, _ = front.recv_multipart()
    rx, _ = back.recv_multipart()
    front.send_multipart([tx, b""])
    cpu, kind = time.process_time(), ""
    while kind != "end":
        for door, _ in poller.poll():
            _, header, *parts = door.recv_multipart()
            kind = codec.kind(header)
            if kind == "request":
                front.send_multipart([tx, codec.pack("grant")])
            elif door is front:
                back.send_multipart([rx, codec.pack(kind), *parts])
            else:
                front.send_multipart([tx, codec.pack(kind), *parts])
    tell.send(time.process_time() - cpu)
    tell.recv()


def receive(bare: Bare, port: int, ledger: str, tell: Connection) -> None:
    """Answer each frame; report the CPU seconds."""
    socket, codec = zmq.Context().socket(zmq.DEALER), Codec(bare.headers)
    socket.connect(f"tcp://127.0.0.1:{port}")
    rows = sqlite3.connect(ledger)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
        rows.execute(f"PRAGMA {pragma}")
    rows.execute("CREATE TABLE results (number INTEGER PRIMARY KEY, body TEXT)")
    socket.send(b"")
    cpu, kind = time.process_time(), ""
    while kind != "end":
        kind = codec.kind(socket.recv_multipart()[0])
        if kind != "frame":
            continue
        if bare.dialogue:
            socket.send(codec.pack("stage"))
        if bare.commit:
            with rows:
                rows.execute("INSERT INTO results (body) VALUES (?)", ("x" * 1000,))
        socket.send(codec.pack("result"))
    tell.send(time.process_time() - cpu)
    tell.recv()


def measure(bare: Bare, folder: Path, frames: int, window: int) -> Figures:
    """One run. The first tenth of the frames warms up."""
    front, back = free_ports(2)
    context = get_context("spawn")
    works: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (transmit, (bare, front, frames, window)),
        (route, (bare, front, back)),
        (receive, (bare, back, str(folder / f"{time.monotonic_ns()}.db"))),
    ]
    ends, processes = [], []
    for work, arguments in works:
        here, there = context.Pipe()
        processes.append(context.Process(target=work, args=(*arguments, there), daemon=True))
        processes[-1].start()
        ends.append(here)
    (moments, times, tx), channel, rx = (end.recv() for end in ends)
    for end in ends:
        end.send(None)
    for process in processes:
        process.join()
    skipped = frames // 10
    steady = moments[skipped:]
    return Figures(
        rate=(len(steady) - 1) / (steady[-1] - steady[0]),
        p50_s=median(times[skipped:]),
        cpu_s={"tx": tx / frames, "channel": channel / frames, "rx": rx / frames},
    )
