"""What an encoder of tx is, whatever runs it, and what is needed of its ledger."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from simulator.jscc.signal import Signal, ToEncode
from simulator.phy.state import ChannelState


class Encoder(Protocol):
    """``k``: the most complex symbols that an image of this size may need, in all its rounds;
    ``encode``: (K,) complex64, of mean power 1 at most, of one round. ``rounds``: how often it
    sends; ``ratios``: the bandwidth ratios that it has."""

    @property
    def rounds(self) -> int: ...

    @property
    def ratios(self) -> tuple[Fraction, ...]: ...

    def k(self, size: tuple[int, int], ratio: Fraction) -> int: ...

    def encode(self, given: ToEncode) -> Signal[np.ndarray]: ...


class FolderEncoder(Encoder, Protocol):
    """One that has weights. ``encode`` is ``modulated`` of ``maps``: (C, h, w) float32 of a ratio,
    then (K,) complex64 of mean power 1."""

    def maps(self, pixels: np.ndarray, state: ChannelState, ratio: Fraction) -> np.ndarray: ...

    def modulated(self, maps: np.ndarray) -> np.ndarray: ...


class Store(Protocol):
    """What the transmitter needs of its ledger."""

    def has(self, frame_id: bytes) -> bool: ...
    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None: ...
    def fail(self, frame_id: bytes, reason: str) -> int: ...
