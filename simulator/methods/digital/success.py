"""How likely a frame gets through: measured, with noise of its own, never that of a transmission.

    scheme, K, received SNR --random frames--> codeword error rate e --> (1 - e)^codewords

A transmitter may choose by this, because it is a property of the operating point.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.methods.digital.abstraction import effective_snr_db
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.mcs import Mcs, capacity_per_use
from simulator.methods.digital.transmission import transmit
from simulator.phy.law import Law
from simulator.phy.laws import LAWS
from simulator.phy.packets import Loss
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
#: Frames that stand for a fading channel.
DRAWS = 200


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


def success_under(
    code: str, mcs: Mcs, k: int, snr_db: float, h: NDArray[np.complex64], kept: float = 1.0
) -> float:
    """Of a frame with these gains, one or many; ``kept``: the share of symbols that arrive."""
    received_db = snr_db + 20 * np.log10(np.maximum(np.abs(h.astype(np.complex128)), 1e-10))
    if len(h) == 1 and kept == 1:
        return success_near(code, mcs, k, float(received_db[0]))
    return success_near(code, mcs, k, effective_snr_db(mcs.modulation, received_db, kept))


def success(draw: Draw, code: str, mcs: Mcs, k: int, rounds: int = 1) -> float:
    """At the operating point of a draw, of which the transmitter knows the average SNR and nothing
    else. ``rounds``: that the frame is sent in, whose LLRs are added. Raises ``SettingsError`` for
    channels whose gains it does not have in mind."""
    channel, snr_db = draw.point.channel, draw.given_snr_db
    if channel not in LAWS:
        raise SettingsError(
            f"which scheme is best is not known on {channel}; take a method with a fixed scheme."
        )
    if not draw.medium.packets.size:
        of_all_db = snr_db + 10 * math.log10(rounds)
        if channel == "awgn":
            return success_at(code, mcs, k, of_all_db)
        if channel == "rayleigh":
            return success_on_rayleigh(code, mcs, k, of_all_db)
    return mean_success(draw, code, mcs, k, typical_gains(draw.law, DRAWS, snr_db), rounds)


def mean_success(
    draw: Draw, code: str, mcs: Mcs, k: int, gains: NDArray[np.complex64], rounds: int = 1
) -> float:
    """Over frames and over what may be lost of them; ``gains``: (frames, 1 or more).

    Of several rounds a symbol arrives in one at least with the probability ``kept``, and then in
    ``rounds`` share / ``kept`` of them on average.
    """
    packets, loss = draw.medium.packets, draw.medium.settings.packets.model
    kept = kept_shares(loss, packets.count(k), DRAWS) if packets.size else [1.0]
    many = np.broadcast_to(gains, (max(len(gains), len(kept)), gains.shape[1]))
    rates = []
    for h, share in zip(many, cycle(kept), strict=False):
        once = 1 - (1 - share) ** rounds
        more_db = 10 * math.log10(rounds * share / once) if once else 0.0
        rates.append(success_under(code, mcs, k, draw.given_snr_db + more_db, h, once))
    return float(np.mean(rates))


@lru_cache(maxsize=64)
def kept_shares(loss: Loss, packets: int, frames: int) -> list[float]:
    """Of the packets of each frame, the share that arrives."""
    generator = np.random.default_rng(SEED)
    return [float(1 - loss.draw(generator, packets).mean()) for _ in range(frames)]


@lru_cache(maxsize=64)
def typical_gains(law: Law, frames: int, snr_db: float) -> NDArray[np.complex64]:
    """(frames, gains) of short frames of a law, as symbols meet them; never those of a
    transmission."""
    generator = np.random.default_rng(SEED)
    drawn = (law.gains(generator, 1) for _ in range(frames))
    return np.stack([law.effective(h, snr_db) for h in drawn])
