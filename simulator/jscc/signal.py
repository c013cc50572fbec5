"""What an encoder sends, and what came of it in an earlier round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

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
