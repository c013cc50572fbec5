"""Bits at random, and how surprising a count of errors is."""

from __future__ import annotations

import math

import numpy as np


def random_bits(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape, np.uint8)


def sigmas(errors: int, trials: int, p: float) -> float:
    """How many standard deviations a count is from its expectation."""
    return (errors - trials * p) / math.sqrt(trials * p * (1 - p))
