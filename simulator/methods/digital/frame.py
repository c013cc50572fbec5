"""The bits that a transmission protects: a payload, its end, and a CRC.

    payload, 1, 0 ... 0, CRC-16 --xor of a fixed sequence--> information bits, and back

The receiver learns by the CRC whether decoding was right. Its 16 bits, and the bit that ends the
payload, are taken from the budget; one wrong frame in 65,536 passes. The sequence keeps padding
from sending the same symbol again and again.
"""

from __future__ import annotations

import binascii
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
CRC_BITS = 16
# Both ends know it.
SCRAMBLER_SEED = 802_11


def payload_bytes(information: int) -> int:
    """How many payload bytes fit into ``information`` bits."""
    return max(0, (information - CRC_BITS - 1) // 8)


@lru_cache(maxsize=16)
def scrambling(length: int) -> Bits:
    return np.random.default_rng(SCRAMBLER_SEED).integers(0, 2, length, np.uint8)


def crc_bits(body: Bits) -> Bits:
    """CRC-16 of CCITT (x^16 + x^12 + x^5 + 1), first bit highest."""
    value = binascii.crc_hqx(np.packbits(body).tobytes(), 0xFFFF)
    return np.unpackbits(np.frombuffer(value.to_bytes(2, "big"), np.uint8))


def pack(payload: bytes, information: int) -> Bits:
    """(information,) bits; the payload has ``payload_bytes(information)`` bytes at most."""
    body = np.zeros(information - CRC_BITS, np.uint8)
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    body[: len(bits)] = bits
    body[len(bits)] = 1
    return np.concatenate([body, crc_bits(body)]) ^ scrambling(information)


def unpack(bits: Bits) -> bytes | None:
    """The payload of (information,) decoded bits; None where the CRC does not agree."""
    clear = bits ^ scrambling(len(bits))
    body, crc = clear[:-CRC_BITS], clear[-CRC_BITS:]
    if not np.array_equal(crc, crc_bits(body)):
        return None
    ones = np.flatnonzero(body)
    if not len(ones) or ones[-1] % 8:
        return None
    return np.packbits(body[: ones[-1]]).tobytes()
