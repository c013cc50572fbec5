"""One world under fire until every frame is stored; the loop that tests and soak share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.faults import Faults
from tests.chaos.verify import Verdict, verify
from tests.chaos.world import RAYLEIGH, Process, World

WATCH_S = 0.05
MEASURE_S = 1.0
CALM_S = 180.0  # after the last fault everything must arrive within this, and twice its work


LONG_LIFE = 100  # measurements of memory, from which on its growth says something


@dataclass(frozen=True)
class Outcome:
    """One world: what happened, what was found, how long it took, memory in kB by process.

    ``growth``: of the memory of each process that lived long, as a part of it, from the second
    tenth of its longest life to the last.
    """

    verdict: Verdict
    events: dict[str, int]
    kills: int
    lives: dict[str, int]
    seconds: float
    finished: bool
    peak_rss_kb: dict[str, int]
    growth: dict[str, float]

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "broken": self.verdict.broken}


def attack(
    folder: Path,
    frames: int,
    transmitters: int,
    receivers: int,
    fire_s: float,
    seed: int,
    pause_s: float = 1.0,
    freeze_s: float = 8.0,
    delay_s: float = 0.01,
    on_look: Callable[[World, Faults], None] = lambda world, faults: None,
    codec: str = "null",
    air: Mapping[str, object] = RAYLEIGH,
    more: int = 0,
) -> Outcome:
    """Faults for ``fire_s`` seconds or until all is stored, then calm; then look at the ledgers.

    ``frames``: of each transmitter and kind of channel.
    """
    world = World(
        folder, frames, transmitters, receivers, seed, delay_s, codec=codec, air=air, more=more
    )
    faults = Faults(world, seed, pause_s, freeze_s)
    calm_s = CALM_S + 2 * frames * transmitters * delay_s
    began = measured = time.monotonic()
    try:
        world.start()
        calm = False
        while not world.finished:
            now = time.monotonic()
            if now - began < fire_s:
                faults.step()
            elif not calm:
                calm = True
                world.front.calm()
                world.back.calm()
            elif now - began > fire_s + calm_s:
                break
            world.tend()
            if now - measured >= MEASURE_S:
                measured = now
                world.measure()
                on_look(world, faults)
            time.sleep(WATCH_S)
        finished = world.finished
    finally:
        world.close()
    return Outcome(
        verdict=verify(world),
        events=dict(world.events),
        kills=faults.kills,
        lives={p.name: p.lives for p in world.processes},
        seconds=time.monotonic() - began,
        finished=finished,
        peak_rss_kb={p.name: max((kb for _, kb in p.rss_kb), default=0) for p in world.processes},
        growth={p.name: grown for p in world.processes if (grown := growth_of(p)) is not None},
    )


def growth_of(process: Process) -> float | None:
    """See ``Outcome.growth``; None for a process that never lived for long."""
    lives: dict[int, list[int]] = {}
    for life, kb in process.rss_kb:
        lives.setdefault(life, []).append(kb)
    longest = max(lives.values(), key=len, default=[])
    if len(longest) < LONG_LIFE:
        return None
    tenth = len(longest) // 10
    return median(longest[-tenth:]) / median(longest[tenth : 2 * tenth]) - 1
