"""Random streams of a frame: h, noise and the rest, each a function of the draw key.

A lost, repeated or reordered message never changes the noise, because nothing is drawn from
a stream that another frame has used.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(draw_key: bytes, name: str) -> np.random.Generator:
    """The generator of one purpose (``"h"``, ``"noise"``, ``"csit"``) of one frame."""
    digest = hashlib.sha256(draw_key + name.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def complex_normal(generator: np.random.Generator, n: int) -> np.ndarray:
    """n draws of CN(0, 1), complex64: variance 1/2 in each real dimension."""
    pairs = generator.standard_normal(2 * n, dtype=np.float32)
    pairs *= np.float32(0.5**0.5)
    return pairs.view(np.complex64)


def sampler_seed(draw_key: bytes) -> int:
    """Of the frame's stream ``sampler``, in [0, 2^63)."""
    digest = hashlib.sha256(draw_key + b"sampler").digest()
    return int.from_bytes(digest[:8], "little") >> 1
