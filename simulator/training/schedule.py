"""The learning rate over a training."""

from __future__ import annotations

import math


def learning_rate(step: int, done: float, peak: float, warmup: int) -> float:
    """Linear warm-up over steps, then half a cosine down to zero where ``done``, the part of the
    training that is over, is 1."""
    return peak * min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1, done)))
