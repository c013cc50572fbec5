"""Finding bursts in samples, and undoing what a radio has done to one.

    samples -starts-> Start: where, and which carrier frequency offset
    samples, Start -received-> symbols behind the preamble, and the SNR that the preamble had

Offsets are in cycles per symbol. Undone are gain and phase, a delay of any fraction of a sample,
and an offset up to ``MAX_OFFSET``, in white noise. The offset has to stay the same during a burst,
and the clocks of samples at both ends to agree until its end within a tenth of a symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.phy.burst import HALF, PREAMBLE, TAG, Burst, halves
from simulator.phy.pulse import matched, reach, shaped

MAX_OFFSET = 0.1  # beyond it the matched filter loses the edge of the band
# Two halves are looked at more closely where the square of their correlation is above this. For
# noise it is exponential with mean 1 / HALF: one place in a thousand passes.
ALIKE = 7 / HALF
# The share of the energy that the known symbols must have. Of noise, e^-30 and e^-20 of all places
# pass. At an SNR of -9 dB the halves have that share.
KNOWN, TAGGED = 30 / (2 * HALF), 20 / TAG
MAX_CANDIDATES = 64  # in one piece of samples: a tone is alike everywhere
MAX_SNR_DB = 60.0
# The mean squared error of the pilots may be above the noise of the preamble by SPREAD standard
# deviations, and by ODD_PILOTS for a phase that is not quite steady. Symbols out of place have 2.
SPREAD, ODD_PILOTS = 5.0, 0.05


@dataclass(frozen=True)
class Start:
    """``at``: sample of the middle of the first symbol; ``tag``: (TAG,) symbols, as they came."""

    at: float
    offset: float
    tag: np.ndarray

    def is_of(self, burst: Burst) -> bool:
        """Whether this is that very burst."""
        # A residual offset is 0.1 of a cycle over a tag at the most.
        return coherence(burst.tag, self.tag) > TAGGED


@dataclass(frozen=True)
class Received:
    """``symbols``: (P + K,) complex64 in the order of the wire, of the gain 1; ``snr_db``: measured
    over the preamble; ``offset``: of the carrier, in cycles per symbol; ``gain``: complex."""

    symbols: np.ndarray
    snr_db: float
    offset: float
    gain: complex


def coherence(known: np.ndarray, symbols: np.ndarray) -> float:
    """What share of the energy of (n,) symbols is that of known ones, which have unit power."""
    energy = len(known) * np.vdot(symbols, symbols).real
    return float(abs(np.vdot(known, symbols)) ** 2 / max(energy, 1e-300))


def margin(sps: int) -> int:
    """Samples behind a place that must be there before a burst can be found at it."""
    return (PREAMBLE + HALF) * sps + 2 * reach(sps) + sps


def likeness(samples: np.ndarray, sps: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) complex and (n,) float: correlation of ``HALF`` symbols from each place with those
    behind them, Schmidl and Cox's P, and the larger energy of both. A mean over each symbol comes
    first, which takes most of the noise beside the band away."""
    narrow = moving_sum(samples, sps) / sps
    window = HALF * sps
    together = moving_sum(narrow[:-window].conj() * narrow[window:], window)
    energy = moving_sum(np.abs(narrow) ** 2, window)
    n = len(together)
    return together, np.maximum(energy[:n], energy[window : window + n])


def moving_sum(values: np.ndarray, window: int) -> np.ndarray:
    """(n - window + 1,)"""
    total = np.concatenate([[0], np.cumsum(values)])
    sums: np.ndarray = total[window:] - total[:-window]
    return sums


def starts(samples: np.ndarray, sps: int, max_offset: float) -> Iterator[Start]:
    """The bursts that begin in samples, in their order: symbols may be as much alike as the halves
    of a preamble, but come behind it.

    They are looked for at all places that have ``margin(sps)`` samples behind them.
    ``max_offset``: the largest offset that there may be.
    """
    places = len(samples) - margin(sps)
    if places <= 0:
        return
    samples = samples.astype(complex)
    together, energy = likeness(samples, sps)
    strength = np.abs(together[:places])
    alike = np.flatnonzero(strength**2 > ALIKE * energy[:places] ** 2)
    near, last = HALF * sps, -np.inf
    for _ in range(MAX_CANDIDATES):
        if not len(alike):
            return
        first = int(alike[0])
        place = first + int(np.argmax(strength[first : first + near]))
        coarse = float(np.angle(together[place])) / (2 * np.pi * HALF)
        found = confirmed(samples, place, coarse, sps, max_offset)
        after = place + near
        if found is not None and found.at > last + near:
            last = found.at
            after = max(after, round(last) + near)
            yield found
        alike = alike[np.searchsorted(alike, after) :]


def confirmed(
    samples: np.ndarray, place: int, coarse: float, sps: int, max_offset: float
) -> Start | None:
    """The start near a place where two halves are alike, if they are the preamble's.

    Two halves say the offset up to a multiple of 1 / HALF: each multiple is tried.
    """
    known = shaped(halves(), sps)
    first = max(0, place - HALF * sps - reach(sps))
    window = samples[first : place + HALF * sps + len(known) + reach(sps)]
    energy = moving_sum(np.abs(window) ** 2, len(known))
    size = 1 << (len(window) + len(known)).bit_length()
    spectrum = np.fft.fft(window, size)
    time = np.arange(len(known)) / sps
    most = int(np.ceil((max_offset + abs(coarse)) * HALF))
    best, score, offset = 0, 0.0, 0.0
    for turns in range(-most, most + 1):
        tried = coarse + turns / HALF
        if abs(tried) > max_offset + 0.5 / HALF:
            continue
        template = np.fft.fft(known * np.exp(2j * np.pi * tried * time), size)
        products = np.abs(np.fft.ifft(spectrum * template.conj())[: len(energy)]) ** 2
        peak = int(np.argmax(products))
        if products[peak] > score:
            best, score, offset = peak, float(products[peak]), tried
    if not score:
        return None
    at = first + best + reach(sps)
    if at < reach(sps) + sps or at + margin(sps) - HALF * sps > len(samples):
        return None
    turned = without(samples, at, offset, sps, PREAMBLE)
    late = lateness(turned, sps)
    symbols = matched(turned, turned_at(sps) + late, PREAMBLE, sps)
    if coherence(halves(), symbols[: 2 * HALF]) < KNOWN:
        return None
    return Start(at + late, offset, symbols[2 * HALF :].astype(np.complex64))


def turned_at(sps: int) -> int:
    """Where ``without`` has the first symbol."""
    return reach(sps) + sps


def without(samples: np.ndarray, at: float, offset: float, sps: int, count: int) -> np.ndarray:
    """The samples of ``count`` symbols and their surroundings, turned back by an offset; phase 0 is
    at the first symbol."""
    first = int(np.floor(at)) - turned_at(sps)
    last = first + (count - 1) * sps + 2 * turned_at(sps) + 1
    cut = samples[first:last]
    time = (first + np.arange(len(cut)) - at) / sps
    turned: np.ndarray = cut * np.exp(-2j * np.pi * offset * time)
    return turned


def lateness(turned: np.ndarray, sps: int) -> float:
    """By what fraction of a sample, -1 to 1, the halves are later than a whole one: where the
    matched filter has most of them."""
    if sps == 1:
        return 0.0
    tried = np.linspace(-1, 1, 17)
    found = [
        abs(np.vdot(halves(), matched(turned, turned_at(sps) + late, 2 * HALF, sps)))
        for late in tried
    ]
    return float(np.clip(summit(tried, np.array(found)), -1, 1))


def summit(x: np.ndarray, y: np.ndarray) -> float:
    """Where a parabola through the largest of (n,) values and its neighbours is highest; ``x`` in
    equal steps."""
    top = min(max(int(np.argmax(y)), 1), len(y) - 2)
    left, middle, right = y[top - 1 : top + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(x[top] + np.clip(shift, -1, 1) * (x[1] - x[0]))


def received(samples: np.ndarray, start: Start, burst: Burst, sps: int) -> Received:
    """The frame of a burst that starts there.

    Raises ``ValueError`` where ``samples`` end before it, where it has no energy, and where pilots
    do not fit the preamble.
    """
    turned = without(samples.astype(complex), start.at, start.offset, sps, burst.symbols)
    at = turned_at(sps) + (start.at - np.floor(start.at) if sps > 1 else 0)
    symbols = matched(turned, float(at), burst.symbols, sps)
    where = np.concatenate([np.arange(PREAMBLE), PREAMBLE + burst.of_pilots])
    known = np.concatenate([burst.preamble, burst.pilots])
    rest = residual_offset(symbols[where] * known.conj(), where)
    symbols *= np.exp(-2j * np.pi * rest * np.arange(len(symbols)))
    gain = complex(np.vdot(known, symbols[where])) / len(known)
    if not gain:
        raise ValueError("a burst without energy")
    errors = np.abs(symbols[where] / gain - known) ** 2
    noise = float(np.sum(errors[:PREAMBLE])) / (PREAMBLE - 1)
    p = len(burst.pilots)
    if p and np.mean(errors[PREAMBLE:]) > noise * (1 + SPREAD / p**0.5) + ODD_PILOTS:
        raise ValueError(
            "the pilots of a burst do not fit its preamble: samples were lost on the way, or the "
            "carrier frequency offset changed"
        )
    snr_db = min(-10 * np.log10(max(noise, 1e-30)), MAX_SNR_DB)
    frame = burst.gathered(symbols[PREAMBLE:] / gain).astype(np.complex64)
    return Received(frame, float(snr_db), start.offset + rest, gain)


def residual_offset(products: np.ndarray, where: np.ndarray) -> float:
    """Cycles per symbol that the (n,) products of received and conjugate known symbols still turn
    by, at the most likely.

    First of the preamble alone, then of pilots twice as far away, and so on: each says the offset
    well enough that the next cannot be wrong by a whole turn.
    """
    offset, until = 0.0, PREAMBLE
    while True:
        near = where < until
        tried = offset + np.linspace(-1, 1, 33) / (4 * until)
        turns = np.exp(-2j * np.pi * np.outer(tried, where[near]))
        offset = summit(tried, np.abs(turns @ products[near]))
        if until > where[-1]:
            return offset
        until *= 2


def filled(samples: np.ndarray, start: Start, burst: Burst, sps: int) -> bool:
    """Whether the samples reach to the end of a burst."""
    end = int(np.floor(start.at)) + (burst.symbols - 1) * sps + turned_at(sps) + 1
    return len(samples) >= end
