"""The transmitter's half of codecs around a codec, without torch: an encoder around an encoder.

Each does what the torch codec of the same name does (``simulator.jscc.wrapped``), through the same
functions of ``simulator.phy``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from simulator.errors import SettingsError
from simulator.jscc.signal import Round, Signal, ToEncode
from simulator.jscc.sketch import Sketching
from simulator.phy.constellation import quantize
from simulator.phy.feedback import MAX_SNR_DB, correction, snr_after
from simulator.phy.power import normalize_power
from simulator.phy.state import ChannelState
from tx.interface import Encoder, FolderEncoder


@dataclass(frozen=True)
class SendsOnce:
    """An encoder that sends as often and as much as ``inner``, which sends once."""

    inner: FolderEncoder
    rounds: ClassVar[int] = 1

    @property
    def ratios(self) -> tuple[Fraction, ...]:
        return self.inner.ratios

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return self.inner.k(size, ratio)


@dataclass(frozen=True)
class QuantizedEncoder(SendsOnce):
    """``deepjscc-q``: symbols are points of square M-QAM."""

    points: int
    extent: float

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        symbols = self.inner.encode(given).symbols
        return Signal(quantize(symbols, self.points, self.extent).astype(np.complex64))


@dataclass(frozen=True)
class SketchEncoder(SendsOnce):
    """``sketch``: a text and a sketch beside the codec's symbols."""

    sketching: Sketching

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        symbols = self.inner.encode(given).symbols
        return Signal(symbols, self.sketching.side_of(given.pixels, given.text))


@dataclass(frozen=True)
class FeedbackEncoder:
    """``feedback``: the codec's symbols, then what was wrong with what was received."""

    inner: FolderEncoder
    rounds: int

    @property
    def ratios(self) -> tuple[Fraction, ...]:
        return tuple(self.rounds * each for each in self.inner.ratios)

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        if ratio not in self.ratios:
            raise SettingsError(
                f"codec 'feedback' has no bandwidth ratio {ratio}; it has "
                f"{', '.join(map(str, self.ratios))}."
            )
        return self.rounds * self.inner.k(size, ratio / self.rounds)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        self.k(given.size, given.ratio)
        if given.heard:
            return Signal(next_round(given.heard, given.state))
        snr_db = 10 * np.log10(snr_after(variance_of(given.state), self.rounds))
        after_all = ChannelState(float(min(snr_db, MAX_SNR_DB)))
        ratio = given.ratio / self.rounds
        return self.inner.encode(replace(given, state=after_all, ratio=ratio))


def next_round(heard: Sequence[Round[np.ndarray]], state: ChannelState) -> np.ndarray:
    """(K,) complex64 symbols of the round after those in ``heard``."""
    v: Any = heard[0].noise_variance
    v = np.float32(variance_of(state)) if v is None else v
    wrong = correction(heard[0].sent, [each.received for each in heard], v)
    symbols: np.ndarray = normalize_power(wrong).astype(np.complex64)
    return symbols


def variance_of(state: ChannelState) -> float:
    """Of the noise in each symbol behind zero forcing under one gain."""
    return state.noise_variance / max(abs(state.gain) ** 2, 1e-12)


def _quantized(inner: FolderEncoder, config: dict[str, Any]) -> Encoder:
    return QuantizedEncoder(inner, int(config["points"]), float(config["extent"]))


def _feedback(inner: FolderEncoder, config: dict[str, Any]) -> Encoder:
    return FeedbackEncoder(inner, int(config["rounds"]))


def _sketch(inner: FolderEncoder, config: dict[str, Any]) -> Encoder:
    return SketchEncoder(inner, Sketching(int(config["cell"]), float(config["share"])))


def _itself(inner: FolderEncoder, config: dict[str, Any]) -> Encoder:
    return inner  # what is added is at the receiver


#: by the name in ``codec.json``
WRAPPERS: dict[str, Callable[[FolderEncoder, dict[str, Any]], Encoder]] = {
    "cddm": _itself,
    "deepjscc-q": _quantized,
    "feedback": _feedback,
    "ofdm-jscc": _itself,
    "sketch": _sketch,
    "space-time": _itself,
}


def wrapped(inner: FolderEncoder, name: str, config: dict[str, Any]) -> Encoder:
    """The encoder of the wrapper of that name; ``inner`` itself for any other codec."""
    make = WRAPPERS.get(name)
    return make(inner, config) if make else inner
