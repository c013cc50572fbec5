"""What happens to a world at random moments, drawn from a seeded generator."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.chaos.proxy import CHUNK, Proxy
from tests.chaos.world import World

# How often each is drawn.
WEIGHTS = {"kill": 12, "freeze": 1, "reset": 2, "half-close": 1, "stall": 1, "drop": 1, "slow": 1}


class Faults:
    """``step()`` lets one thing happen, unless it is too early for it.

    ``pause_s``: mean time between two, infinite for none; ``freeze_s``: longest SIGSTOP.
    """

    def __init__(self, world: World, seed: int, pause_s: float, freeze_s: float = 8.0) -> None:
        self.world, self.pause_s, self.freeze_s = world, pause_s, freeze_s
        self.random = random.Random(seed)
        self.next_at = time.monotonic() + pause_s
        self.kills = 0

    def step(self) -> None:
        now = time.monotonic()
        if now < self.next_at:
            return
        self.next_at = now + self.random.expovariate(1 / self.pause_s)
        (name,) = self.random.choices(list(WEIGHTS), WEIGHTS.values())
        actions: dict[str, Callable[[], str | None]] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "slow": self.slow,
        }
        happened = actions.get(name, lambda: self.cut(name))()
        if happened:
            self.world.events[happened] += 1

    def kill(self) -> str | None:
        """SIGKILL of tx, channel or rx, each role as often as the others."""
        role = self.random.choice(("tx", "channel", "rx"))
        alike = [p for p in self.world.processes if p.role == role and not p.done]
        if not alike:
            return None
        process = self.random.choice(alike)
        if not process.send(signal.SIGKILL):
            return None
        assert process.handle is not None
        process.handle.wait()  # so that it is seen to be dead, and started again, at once
        self.kills += 1
        return f"kill {role}"

    def freeze(self) -> str | None:
        """SIGSTOP for a while: a machine that sleeps and then acts on what it knew."""
        process = self.random.choice(self.world.processes)
        if process.done or process.frozen_until or not process.send(signal.SIGSTOP):
            return None
        process.frozen_until = time.monotonic() + self.random.uniform(0.5, self.freeze_s)
        return f"freeze {process.role}"

    def proxy(self) -> Proxy:
        return self.random.choice((self.world.front, self.world.back))

    def cut(self, name: str) -> str:
        proxy, seconds = self.proxy(), self.random.uniform(0.2, 2.0)
        if name == "reset":
            proxy.reset()
        elif name == "half-close":
            proxy.half_close()
        elif name == "stall":
            proxy.stall(seconds)
        else:
            proxy.drop(seconds)
        return name

    def slow(self) -> str:
        """Small pieces with pauses from now on, or full speed again."""
        proxy = self.proxy()
        rough = proxy.split == CHUNK
        proxy.split = self.random.randint(500, 5000) if rough else CHUNK
        proxy.delay_s = self.random.uniform(0, 0.01) if rough else 0.0
        return "slow" if rough else "fast again"
