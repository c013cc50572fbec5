"""Two processes that train together, told of each other as ``accelerate launch`` tells its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from simulator.training.options import CodecTraining

Plans = Sequence[tuple[CodecTraining, Path]]


def train_together(plans: Plans) -> None:
    """One training after the other, in the same two processes."""
    # Its workers are forks of a process that has loaded torch and done nothing with it.
    context = get_context("forkserver")
    context.set_forkserver_preload(["simulator.training.codec", "two_processes"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [context.Process(target=train_all, args=(rank, port, plans)) for rank in (0, 1)]
    for each in both:
        each.start()
    for each in both:
        each.join(1800)
    left = [each.kill() for each in both if each.exitcode is None]
    assert [each.exitcode for each in both] == [0, 0] and not left


def train_all(rank: int, port: int, plans: Plans) -> None:
    from simulator.training.codec import train_codec

    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
    for options, out in plans:
        train_codec(options, out)
