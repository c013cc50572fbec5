"""How likely a frame gets through: measured, with noise of its own, never that of a transmission.

    scheme, K, received SNR --random frames--> codeword error rate e --> (1 - e)^codewords

A transmitter may choose by this, because it is a property of the operating point.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.errors import SettingsError
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.mcs import Mcs, capacity_per_use
from simulator.methods.digital.transmission import transmit
from simulator.phy.streams import complex_normal

#: Codewords that a success rate is measured with.
CODEWORDS = 300
# Codewords after which the rest is spared where a frame has next to no chance.
FIRST = 48
HOPELESS = 1e-3
# Success that does not rise any more, as far as ``CODEWORDS`` of them show.
SURE = 0.99
#: Of received SNRs, for fading, in dB.
STEP_DB = 0.5
SEED = 20_240_417


@lru_cache(maxsize=4096)
def success_at(code: str, mcs: Mcs, k: int, snr_db: float) -> float:
    """Probability that all codewords of a frame of K uses are decoded on AWGN at ``snr_db``."""
    if mcs.efficiency >= capacity_per_use(10 ** (snr_db / 10)):
        return 0.0
    block = make_block(code, k * mcs.modulation.bits, mcs.rate)
    generator = np.random.default_rng(SEED)
    sent, failed, rate = 0, 0, 1.0
    while sent < CODEWORDS and rate > HOPELESS:
        frames = -(-FIRST // block.codewords)
        bits = generator.integers(0, 2, (frames, block.information), np.uint8)
        noise = complex_normal(generator, frames * k).reshape(frames, k)
        wrong = transmit(block, mcs.modulation, bits, 1, noise, snr_db) != bits
        failed += int(np.logical_or.reduceat(wrong, block.starts, axis=1).sum())
        sent += frames * block.codewords
        rate = float((1 - failed / sent) ** block.codewords)
    return rate


def success_near(code: str, mcs: Mcs, k: int, snr_db: float) -> float:
    """The same, between two multiples of ``STEP_DB``: for SNRs that are never met twice."""
    low = int(np.floor(snr_db / STEP_DB))
    share = snr_db / STEP_DB - low
    below, above = (success_at(code, mcs, k, i * STEP_DB) for i in (low, low + 1))
    return (1 - share) * below + share * above


def success_on_rayleigh(code: str, mcs: Mcs, k: int, snr_db: float) -> float:
    """Mean over abs(h)^2 ~ Exp(1), one gain a frame: the integral of success over the gain."""
    total = 0.0
    for low, below, above in _rise(code, mcs, k):
        # Share of gains whose received SNR lies in the step.
        gains = 10 ** ((np.array([low, low + 1]) * STEP_DB - snr_db) / 10)
        total += (below + above) / 2 * float(np.exp(-gains[0]) - np.exp(-gains[1]))
    return total + above * float(np.exp(-gains[1]))


@lru_cache(maxsize=1024)
def _rise(code: str, mcs: Mcs, k: int) -> tuple[tuple[int, float, float], ...]:
    """The steps of received SNR over which success rises from 0 to ``SURE``: (index, from, to)."""
    # Nothing succeeds below the capacity.
    start = int(np.floor(10 * np.log10(2 ** float(mcs.efficiency) - 1) / STEP_DB))
    steps = []
    below = 0.0
    while below < SURE:
        above = success_at(code, mcs, k, (start + 1) * STEP_DB)
        steps.append((start, below, above))
        start, below = start + 1, above
    return tuple(steps)


def success(channel: str, code: str, mcs: Mcs, k: int, snr_db: float) -> float:
    """At an operating point of one gain a frame. Raises ``SettingsError`` for other channels."""
    if channel == "awgn":
        return success_at(code, mcs, k, snr_db)
    if channel == "rayleigh":
        return success_on_rayleigh(code, mcs, k, snr_db)
    raise SettingsError(
        f"which scheme is best is known on awgn and rayleigh, not on {channel}; "
        "take a method with a fixed scheme."
    )
