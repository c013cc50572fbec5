"""The learning rate over a training."""

from __future__ import annotations

import math


def learning_rate(step: int, done: float, peak: float, warmup: int, decay: str = "cosine") -> float:
    """Linear warm-up over steps, then half a cosine down to zero where ``done``, the part of the
    training that is over, is 1; or no ``decay``."""
    risen = peak * min(1, (step + 1) / warmup)
    return risen if decay == "none" else risen * 0.5 * (1 + math.cos(math.pi * min(1, done)))
