"""What an encoder is given and sends, and what a decoder is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np

from simulator.phy.state import ChannelState

Array = TypeVar("Array")  # a torch tensor, (B, K), or of one frame a numpy array, (K,)


@dataclass(frozen=True)
class Signal(Generic[Array]):
    """``symbols``: complex64, of mean power 1 for each image; ``side``: what the decoder needs
    beside them, at most 64 KiB. It goes another way than the symbols and is charged apart."""

    symbols: Array
    side: bytes = b""


@dataclass(frozen=True)
class Round(Generic[Array]):
    """An earlier round of a codec with feedback: what was sent, and how it was received,
    equalised; ``noise_variance``: of each symbol, None under one gain."""

    sent: Array
    received: Array
    noise_variance: Array | None = None


@dataclass(frozen=True, eq=False)
class ToEncode:
    """One image for one round: ``pixels``, (H, W, 3) uint8; what the transmitter knows of the
    channel; the bandwidth ratio, of all rounds; ``heard``: the rounds before this one;
    ``text``: about the image, for a codec that sends one."""

    pixels: np.ndarray
    state: ChannelState
    ratio: Fraction
    heard: Sequence[Round[np.ndarray]] = ()
    text: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, eq=False)
class ToDecode:
    """One frame behind the equaliser: ``symbols``, (K,) complex64 of all rounds in a row; what the
    receiver knows of the channel; ``size``: (H, W) of the image; ``noise_variance``: (K,), of each
    symbol, where it is not that of one gain; ``side``: side information, as the encoder gave it;
    ``block`` and ``mixing``: as of ``Heard``."""

    symbols: np.ndarray
    state: ChannelState
    size: tuple[int, int]
    noise_variance: np.ndarray | None = None
    side: bytes = b""
    block: np.ndarray | None = None
    mixing: np.ndarray | None = None
