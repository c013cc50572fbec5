"""The learning rate over a training."""

from __future__ import annotations

import math

WARMUP_STEPS = 100


def learning_rate(step: int, steps: int, peak: float, warmup: int = WARMUP_STEPS) -> float:
    """Linear warm-up, then half a cosine down to zero at ``steps``."""
    return peak * min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
