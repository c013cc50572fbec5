"""Belief propagation for quasi-cyclic LDPC codes: layered sum-product, many codewords at once.

    for each layer:  extrinsic q = L - r;  r = 2 atanh( prod tanh(q / 2) of the others );  L = q + r

Within a layer (a block row) every bit enters one check at most, so that all z checks are updated
together and the next layer already sees the result (Hocevar 2004), which takes about half the
iterations of flooding. Codewords lie along the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Layer = NDArray[np.int64]
Bits = NDArray[np.uint8]

ITERATIONS = 40
# Codewords decoded together: few enough that messages stay in the cache.
BATCH = 64
# Keeps atanh finite in single precision: messages up to 16.6.
LIMIT = np.float32(1 - 2**-24)
TINY = np.float32(1e-12)


def decode(
    layers: Sequence[Layer], llr: NDArray[np.float32], iterations: int = ITERATIONS
) -> tuple[Bits, NDArray[np.bool_]]:
    """(B, n) LLRs log P(0) / P(1) -> (B, n) hard bits, and which words fulfil all checks.

    A word is left alone as soon as it does (early stop). An LLR of 0 is a punctured bit.
    """
    bits = np.empty(llr.shape, np.uint8)
    held = np.empty(len(llr), np.bool_)
    for start in range(0, len(llr), BATCH):
        part = slice(start, start + BATCH)
        bits[part], held[part] = _decode_batch(layers, llr[part], iterations)
    return bits, held


def parity_holds(layers: Sequence[Layer], bits: Bits) -> NDArray[np.bool_]:
    """Which columns of (n, B) bits fulfil every check."""
    wrong = np.zeros(bits.shape[1], np.bool_)
    for layer in layers:
        wrong |= np.bitwise_xor.reduce(bits[layer], axis=0).any(axis=0)
    return ~wrong


def _decode_batch(
    layers: Sequence[Layer], llr: NDArray[np.float32], iterations: int
) -> tuple[Bits, NDArray[np.bool_]]:
    beliefs = np.ascontiguousarray(llr.T, np.float32)
    messages = [np.zeros((*layer.shape, beliefs.shape[1]), np.float32) for layer in layers]
    bits = np.empty(beliefs.shape, np.uint8)
    held = np.zeros(beliefs.shape[1], np.bool_)
    active = np.arange(beliefs.shape[1])
    for _ in range(iterations):
        for layer, message in zip(layers, messages, strict=True):
            extrinsic = beliefs[layer] - message
            message[...] = check_node(extrinsic)
            beliefs[layer] = extrinsic + message
        bits[:, active] = beliefs < 0
        done = parity_holds(layers, bits[:, active])
        if done.any():
            held[active[done]] = True
            active = active[~done]
            beliefs = np.ascontiguousarray(beliefs[:, ~done])
            messages = [np.ascontiguousarray(message[..., ~done]) for message in messages]
        if not len(active):
            break
    return bits.T, held


def check_node(extrinsic: NDArray[np.float32]) -> NDArray[np.float32]:
    """2 atanh of the product of tanh(q / 2) over the other edges; edges along the first axis."""
    t = np.tanh(extrinsic * np.float32(0.5))
    # The product of the others is a quotient: no factor may be zero.
    t = np.copysign(np.maximum(np.abs(t), TINY), t)
    others = np.clip(np.prod(t, axis=0, keepdims=True) / t, -LIMIT, LIMIT)
    messages: NDArray[np.float32] = 2 * np.arctanh(others)
    return messages
