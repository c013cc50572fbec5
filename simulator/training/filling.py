"""The latents of a training, within their part of its minutes.

A training under ``--minutes`` draws from the photographs that were computed by then, and keeps
their names beside its checkpoint: an interrupted one goes on with the same. One under ``--steps``
computes all.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch

from simulator.link.text import to_json
from simulator.live import duration
from simulator.textfile import read_text
from simulator.training.clock import Clock
from simulator.training.latents import LatentCache
from simulator.training.loop import make_accelerator
from simulator.training.options import LoopOptions
from simulator.wholefile import write_whole

log = logging.getLogger("training")

FILL_PART = 0.5  # of the minutes, after which no photograph is begun


def fill(
    cache: LatentCache,
    options: LoopOptions,
    folder: Path,
    stage: str,
    clock: Clock,
    on_cache: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> None:
    """Fill the cache on the training's device, shared by its processes, and say which photographs
    are used. ``clock`` counts from the training's start; checkpoints are in ``folder``."""
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = make_accelerator(options)
    cache.place(accelerator.device)
    processes = accelerator.num_processes
    share = (accelerator.process_index, processes)
    path = folder / f"{stage}-photographs.json"
    goes_on = path.is_file() and (folder / f"{stage}.safetensors").is_file()
    if goes_on and not options.steps:
        cache.use(json.loads(read_text(path)))
    if goes_on or options.steps:
        cache.fill(accelerator.device, on_cache, stop, share)
        accelerator.wait_for_everyone()
        if options.steps:
            cache.use(cache.names(cache.complete()))  # but for those that cannot be read
        return
    limit_s, started_s = (60 * options.minutes - clock.late_s) * FILL_PART, clock.look()
    computed = cache.fill(
        accelerator.device, on_cache, stop, share, lambda: clock.look() >= limit_s
    )
    took_s = clock.look() - started_s
    accelerator.wait_for_everyone()
    # One process looks, so that all use the same even where another training fills the cache, too.
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        whole = cache.complete()
        write_whole(path, to_json(cache.names(whole)) + "\n")
        if len(whole) < len(cache.paths):
            missing = (len(cache.paths) - len(whole)) / processes
            more_s = missing * took_s / computed if computed else 0.0
            log.warning("%s", partly(len(whole), len(cache.paths), more_s, clock.wall_s, limit_s))
    accelerator.wait_for_everyone()
    cache.use(json.loads(read_text(path)))


def partly(used: int, count: int, more_s: float, spent_s: float, limit_s: float) -> str:
    """What is said where not all photographs are used. ``more_s``: what the others would take, 0
    where it is not known; ``spent_s`` of ``limit_s`` are over."""
    text = f"{used} of {count} photographs are used"
    if not more_s:
        return f"{text}: the time for latents is over."
    times = math.ceil((spent_s + more_s) / limit_s)
    return (
        f"{text}: the latents of the others would take about {duration(more_s)} more; with "
        f"{times} times the minutes all are used."
    )
