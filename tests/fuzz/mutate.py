"""Hostile variants of valid messages, drawn from a seeded generator.

Half of them change the tree behind the msgpack, so that they get past the unpacker; the rest
change bytes, parts and their number.
"""

from __future__ import annotations

import copy
import hashlib
import random
from itertools import cycle
from typing import Any

import msgpack
import numpy as np
from msgspec.structs import replace

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.phy.laws import LAWS

K = 8
IDS = [hashlib.sha256(b"id%d" % i).digest()[:16] for i in range(6)]
KEYS = [hashlib.sha256(b"key%d" % i).digest() for i in range(6)]
# Values that parsers stumble over.
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 1e308, -1e308,
    5e-324, float("nan"), float("inf"), -float("inf"), "", "\x00", "a" * 10_000, "\ud83d\ude00",
    "../../etc/passwd", "1/0", "0/1", "-1/384", "1/999999999999999999999", b"", b"\x00" * 16,
    b"\xff" * 4096, [], [[]], [0] * 2000, {}, {"": {}}, {"a": {"a": {"a": {}}}},
]  # fmt: skip


def bpsk(seed: int, k: int = K) -> bytes:
    """k symbols of mean power 1."""
    bits = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (k, 2))
    return ((bits[:, 0] + 1j * bits[:, 1]) / 2**0.5).astype(np.complex64).tobytes()


def seeds(settings: str) -> list[tuple[str, m.Message, list[bytes]]]:
    """(side it comes from, message, binary parts) of an orderly exchange, in its order.

    ``settings``: the hash of the channel's, as WELCOME says it.
    """
    said: list[tuple[str, m.Message, list[bytes]]] = [
        ("front", m.Hello(version=c.VERSION, role="tx", name="tx", run="r", settings="s",
                          codec="codec"), []),
        ("back", m.Hello(version=c.VERSION, role="rx", name="rx", run="r", settings="s",
                         codec="codec"), []),
        ("back", m.Ready(slots=4), []),
    ]  # fmt: skip
    for frame_id, key, kind in zip(IDS, KEYS, cycle(LAWS), strict=False):
        point = m.WirePoint(channel=kind, snr_db=10.0, bandwidth_ratio="1/384")
        asked: dict[str, Any] = {"frame_id": frame_id, "draw_key": key, "point": point, "k": K}
        twice = m.Request(**asked | {"frame_id": key[:16], "k": 2 * K}, rounds=2)
        frame = m.Frame(
            **asked, pilots=0, codec="codec", height=2, width=2, label="", image_sha256=bytes(32),
            settings=settings, returns=m.Returns(upto="refined"),
        )  # fmt: skip
        stage = m.Stage(frame_id=frame_id, tx="tx", stage="preview", elapsed_s=0.1)
        result = m.Result(
            frame_id=frame_id, tx="tx", receiver="rx", settings="s", values={"psnr": 1.0},
            stages={"preview": 0.1},
        )  # fmt: skip
        said += [
            ("front", m.Request(**asked), []),
            ("front", twice, []),
            *(
                ("front", replace(frame, frame_id=key[:16], number=number), [bpsk(1), b"", b""])
                for number in range(2)
            ),
            ("front", frame, [bpsk(key[0]), b"side", bytes(12)]),
            ("back", m.Heartbeat(times=[1.0], running=[frame_id]), []),
            ("back", stage, [b"picture"]),
            ("back", m.Nack(code="failed", reason="why", frame_id=frame_id, tx="tx"), []),
            ("back", result, [b"", b"picture"]),
            ("front", m.Confirm(frame_id=frame_id, receiver="rx"), []),
        ]
    said.append(("front", m.Heartbeat(times=[1.0]), []))
    return said


class Mutator:
    """``raw(message, parts)`` is the message as it would be sent, or something like it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def raw(self, message: m.Message, parts: list[bytes]) -> list[bytes]:
        whole = [bytes(part) for part in m.encode(message, parts)]
        choice = self.random.random()
        if choice < 0.5:
            tree = msgpack.unpackb(whole[0])
            for _ in range(self.random.randint(1, 3)):
                self.tree(tree)
            whole[0] = packed(tree) or whole[0]
        elif choice < 0.8:
            index = self.random.randrange(len(whole))
            whole[index] = self.bytes(whole[index])
        elif choice < 0.9:
            self.parts(whole)
        return whole  # one in ten is left as it is

    def tree(self, tree: dict[str, Any]) -> None:
        """Change, remove, add or swap one field, at any depth."""
        maps = [tree, *(value for value in tree.values() if isinstance(value, dict))]
        fields = self.random.choice(maps)
        key = self.random.choice(list(fields) or [""])
        choice = self.random.random()
        if choice < 0.6:
            fields[key] = copy.deepcopy(self.random.choice(HOSTILE))
        elif choice < 0.75:
            fields.pop(key, None)
        elif choice < 0.9:
            fields[self.random.choice(("kind", "air", "tx", "frame_id", "x", ""))] = copy.deepcopy(
                self.random.choice(HOSTILE)
            )
        else:
            other = self.random.choice(list(fields) or [""])
            fields[key], fields[other] = fields.get(other), fields.get(key)

    def bytes(self, data: bytes) -> bytes:
        """Flip, cut, double, insert or replace some bytes."""
        changed = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(changed) + 1)
            choice = self.random.randrange(5)
            if choice == 0 and at < len(changed):
                changed[at] ^= 1 << self.random.randrange(8)
            elif choice == 1:
                del changed[at:]
            elif choice == 2:
                changed[at:at] = changed[: self.random.randrange(64)]
            elif choice == 3:
                changed[at:at] = self.random.randbytes(self.random.randrange(1, 16))
            else:
                changed[at : at + 4] = self.random.choice((b"\xdd\xff\xff\xff", b"\xff" * 4))
        return bytes(changed)

    def parts(self, whole: list[bytes]) -> None:
        """More parts, fewer, or in another order; payloads that are no numbers."""
        choice = self.random.randrange(4)
        if choice == 0:
            whole += [self.random.randbytes(8)] * self.random.randint(1, 5)
        elif choice == 1:
            del whole[self.random.randrange(len(whole)) :]
        elif choice == 2:
            self.random.shuffle(whole)
        elif len(whole) > 1:
            value = self.random.choice((np.nan, np.inf, 1e38, 0))
            whole[1] = np.full(K, value, np.complex64).tobytes()


def packed(tree: Any) -> bytes | None:
    try:
        data: bytes = msgpack.packb(tree, use_bin_type=True)
        return data
    except (OverflowError, ValueError, TypeError):  # what msgpack cannot say
        return None
