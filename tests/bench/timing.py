"""Timing by repetition: the median, because interruptions only ever add."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_s(call: Callable[[], object], repeats: int = 15, warm: int = 2) -> float:
    """Median seconds of one call."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times)
