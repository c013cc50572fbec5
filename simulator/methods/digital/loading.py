"""Bit loading: a modulation for each gain that the transmitter knows, or silence.

    gains, a price v of a coded bit --> for each: the modulation of most  I(SNR) - v bits
    all bits of a frame --interleave--> symbols of all modulations --> the same code for all

I is the mutual information of a symbol, so that no other choice of as many coded bits has more of
it (Lagrange): a low price fills the frame, and a high one keeps what is sure. What is silent leaves
its power to the others, alike. Both ends know the loading: the gains that it is made of came from
the receiver. It is not charged, as other schemes are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.chain import Draw
from simulator.methods.digital.abstraction import information_at, snr_db_of
from simulator.methods.digital.ldpc import RATES
from simulator.methods.digital.mcs import ALL, Mcs, Scheme
from simulator.methods.digital.modulation import MODULATIONS, QPSK, Bits, Symbols
from simulator.methods.digital.success import DRAWS as FRAMES
from simulator.methods.digital.success import kept_shares, success_near
from simulator.methods.digital.system import AdaptiveMcs, Pixels
from simulator.methods.method import Point

#: Of a coded bit, in bits of mutual information.
PRICES = np.linspace(0.02, 0.98, 49)
#: What a code of a rate may have of mutual information in a coded bit: less never suffices, and
#: more is wasted.
WASTED = 0.25
#: Of each a scheme is tried, the richest that is at least as likely to arrive.
LIKELY = (0.5, 0.8, 0.9, 0.97, 0.995)
#: Gains that stand for what may have become of old ones.
DRAWS = 16
TURNS = 8  # in which the power that silence leaves finds its symbols
SEED = 19_990_301  # of the interleaver
#: Bits of a symbol, those of silence first.
SIZES = np.array([0, *(modulation.bits for modulation in MODULATIONS.values())])


@dataclass(frozen=True, eq=False)
class Loaded:
    """``bits``: (K,) of each symbol, 0 or as many as a modulation has."""

    bits: NDArray[np.intp]

    @cached_property
    def coded(self) -> int:
        return int(self.bits.sum())

    @cached_property
    def amplitude(self) -> float:
        """Of symbols that are not silent."""
        return amplitude(int(np.count_nonzero(self.bits)), len(self.bits))

    def map(self, bits: Bits) -> Symbols:
        """(..., coded) bits -> (..., K) symbols of mean power 1."""
        symbols: Symbols = np.zeros((*bits.shape[:-1], len(self.bits)), np.complex64)
        for name, at, places in self._groups:
            symbols[..., at] = MODULATIONS[name].map(bits[..., places])
        symbols *= np.float32(self.amplitude)
        return symbols

    def demap(self, equalized: Symbols, variance: float | NDArray[Any]) -> NDArray[np.float32]:
        """(..., K) equalised symbols -> (..., coded) LLRs; ``variance``: as in ``Modulation``."""
        each = np.broadcast_to(variance, equalized.shape) / self.amplitude**2
        llrs = np.empty((*equalized.shape[:-1], self.coded), np.float32)
        for name, at, places in self._groups:
            unit = equalized[..., at] / np.float32(self.amplitude)
            llrs[..., places] = MODULATIONS[name].demap(unit, each[..., at])
        return llrs

    @cached_property
    def _groups(self) -> list[tuple[str, NDArray[np.intp], NDArray[np.intp]]]:
        """Of each modulation: its symbols, and where their bits are in the code."""
        order = interleaved(self.coded)
        first = np.cumsum(self.bits) - self.bits
        groups = []
        for name, modulation in MODULATIONS.items():
            at = np.flatnonzero(self.bits == modulation.bits)
            places = first[at][:, None] + np.arange(modulation.bits)
            groups.append((name, at, order[places.reshape(-1)]))
        return groups


@lru_cache(maxsize=16)
def interleaved(coded: int) -> NDArray[np.intp]:
    """(coded,) which bit of the code each place of the symbols has."""
    return np.random.default_rng(SEED).permutation(coded)


def amplitude(active: int, of: int) -> float:
    return math.sqrt(of / max(active, 1))


@dataclass(frozen=True, eq=False)
class Loading:
    """A scheme of one code for symbols that are loaded differently."""

    modulation: Loaded
    rate: Fraction

    def coded(self, k: int) -> int:
        """Of ``k`` symbols, those that were loaded."""
        return self.modulation.coded

    def __str__(self) -> str:
        return f"loaded {self.rate}, {self.modulation.coded / len(self.modulation.bits):.2f} bits"


@dataclass(frozen=True, eq=False)
class Choice:
    """At one price. ``bits``: (M,) of a symbol of each gain; ``coded``: of the frame;
    ``information``: (draws,) the mean of a coded bit."""

    bits: NDArray[np.intp]
    coded: int
    information: NDArray[np.float64]


def choices(
    gains: NDArray[np.complex64], counts: NDArray[np.intp], snr_db: float
) -> Iterator[Choice]:
    """At every price, but where all would be silent.

    ``gains``: (draws, M) that the symbols may meet, ``counts``: (M,) how many meet each.
    """
    received_db = snr_db + 20 * np.log10(np.maximum(np.abs(gains.astype(np.complex128)), 1e-10))
    k, each = int(counts.sum()), np.arange(len(counts))
    for price in PRICES:
        active, index = k, np.zeros(len(counts), np.intp)
        for _ in range(TURNS):
            information = _information(received_db, active, k)
            index = (information.mean(axis=1) - price * SIZES[:, None]).argmax(axis=0)
            before, active = active, int(counts[index > 0].sum())
            if active in (0, before):
                break
        else:
            information = _information(received_db, active, k)
        if active:
            bits = SIZES[index]
            coded = int(counts @ bits)
            yield Choice(bits, coded, information[index, :, each].T @ counts / coded)


def _information(received_db: NDArray[np.float64], active: int, k: int) -> NDArray[np.float64]:
    """(1 + modulations, draws, M) bits of a symbol, by how many of K are not silent."""
    louder_db = received_db + 20 * math.log10(amplitude(active, k))
    each = [information_at(modulation, louder_db) for modulation in MODULATIONS.values()]
    return np.stack([np.zeros_like(louder_db), *each])


def success_of(code: str, rate: Fraction, choice: Choice, kept: Sequence[float]) -> float:
    """Of a frame, over what it may meet and what share of it may be kept.

    What a code makes of mutual information depends little on the modulation, so it is measured with
    QPSK, over as many coded bits to half an octave.
    """
    k = 1 << max(round(math.log2(choice.coded / 2)), 5)
    many = range(max(len(choice.information), len(kept)))
    rates = []
    for information, share, _ in zip(cycle(choice.information), cycle(kept), many, strict=False):
        bits = float(information * share)
        reached_db = snr_db_of(QPSK, 2 * bits)
        rates.append(success_near(code, Mcs(QPSK, rate), k, reached_db) if bits > rate else 0.0)
    return float(np.mean(np.power(rates, choice.coded / (2 * k))))


class LoadedMcs(AdaptiveMcs):
    """The loading and the rate with the best expected PSNR of this image, of a transmitter that
    knows the gains, or older ones and how they change."""

    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        self.check(point, draw)
        gains, of_symbols = draw.likely(k, DRAWS), draw.law.of_symbols(k)
        counts = np.bincount(of_symbols, minlength=gains.shape[1])
        packets, loss = draw.medium.packets, draw.medium.settings.packets.model
        kept = kept_shares(loss, packets.count(k), FRAMES) if packets.size else [1.0]
        tried = [
            (success_of(self.code, rate, choice, kept), choice, rate)
            for choice in choices(gains, counts, draw.given_snr_db)
            for rate in RATES
            if rate < np.mean(kept) * choice.information.mean() < rate + WASTED
        ]
        likely: dict[Scheme, float] = {ALL[0]: 0.0}
        for least in LIKELY:
            enough = [each for each in tried if each[0] >= least]
            if enough:
                p, choice, rate = max(enough, key=lambda each: each[1].coded * each[2])
                likely[Loading(Loaded(choice.bits[of_symbols]), rate)] = p
        rising = sorted(likely, key=lambda scheme: scheme.coded(k) * scheme.rate)
        return self.best(image, k, likely.__getitem__, rising)
