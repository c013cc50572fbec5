"""One world under fire until every frame is stored; the loop that tests and soak share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import Faults
from tests.chaos.verify import Verdict, verify
from tests.chaos.world import World

WATCH_S = 0.05
MEASURE_S = 1.0
CALM_S = 180.0  # after the last fault everything must arrive within this


@dataclass(frozen=True)
class Outcome:
    """One world: what happened, what was found, how long it took, memory in kB by process."""

    verdict: Verdict
    events: dict[str, int]
    kills: int
    lives: dict[str, int]
    seconds: float
    finished: bool
    peak_rss_kb: dict[str, int]

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
) -> Outcome:
    """Faults for ``fire_s`` seconds or until all is stored, then calm; then look at the ledgers.

    ``frames``: of each transmitter.
    """
    world = World(folder, frames, transmitters, receivers, seed, delay_s)
    faults = Faults(world, seed, pause_s, freeze_s)
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
            elif now - began > fire_s + CALM_S:
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
    )
