"""A broker under a virtual clock, and what is said to it and heard from it."""

import hashlib
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import asdict

from channel.broker import Broker, Side
from channel.pairing import PairingBroker
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.phy.pilots import pilot_symbols
from simulator.settings import ChannelSettings

K = 8
M = TypeVar("M", bound=m.Message)


def frame_id(i: int) -> bytes:
    return hashlib.sha256(b"id%d" % i).digest()[:16]


def request(i: int, **fields: Any) -> m.Request:
    point = m.WirePoint(channel="rayleigh", snr_db=10.0, bandwidth_ratio="1/384")
    base = {"frame_id": frame_id(i), "draw_key": hashlib.sha256(b"%d" % i).digest(), "point": point}
    return m.Request(**(base | {"k": K} | fields))


def hello(role: str, name: str, **fields: Any) -> m.Hello:
    base = {"version": c.VERSION, "role": role, "name": name, "run": "run", "settings": "s"}
    return m.Hello(**(base | {"codec": "codec"} | fields))


def result(i: int, tx: str = "tx", receiver: str = "rx", n: int = 0) -> m.Result:
    return m.Result(
        frame_id=frame_id(i), tx=tx, receiver=receiver, settings="s", values={"n": n}, stages={}
    )


def confirm(i: int, receiver: str = "rx") -> m.Confirm:
    return m.Confirm(frame_id=frame_id(i), receiver=receiver)


def payload(i: int, k: int = K, pilots: int = 0) -> bytes:
    bits = 1 - 2 * np.random.default_rng(i).integers(0, 2, (k, 2))
    symbols = ((bits[:, 0] + 1j * bits[:, 1]) / 2**0.5).astype(np.complex64)
    return np.concatenate([pilot_symbols(pilots), symbols]).tobytes()


def check_consistent(broker: Broker) -> None:
    """The counters agree with the entries, and nothing is over its bound."""
    entries, s = broker.entries, broker.settings
    state = {fid: entry.state for fid, entry in entries.items()}
    assert broker.admitted == sum(what != "waiting" for what in state.values())
    assert broker.held_bytes == sum(entry.nbytes for entry in entries.values())
    assert set(broker.waiting) == {fid for fid in state if state[fid] == "waiting"}
    assert set(broker.returning) == {fid for fid in state if state[fid] == "returning"}
    assert set(broker.queue) == {fid for fid in state if state[fid] == "queued"}
    leases = {(p.identity, fid) for p in broker.peers["back"].values() for fid in p.leases}
    assert leases == {
        (e.receiver, fid) for fid, e in entries.items() if e.state == "leased" or e.receiver
    }
    assert not any(p.leases for p in broker.peers["front"].values())
    for entry in entries.values():
        ready = entry.state in ("queued", "leased")
        held = ready or entry.state == "half" or bool(entry.rounds)
        assert (entry.nbytes > 0) == held and ready == bool(entry.parts)
    accounts: dict[str, list[int]] = {}
    for entry in entries.values():
        mine = accounts.setdefault(entry.tx, [0, 0, 0])
        mine[0 if entry.state == "waiting" else 1] += 1
        mine[2] += entry.nbytes
    kept = {tx: [a.waiting, a.frames, a.nbytes] for tx, a in broker.quotas.accounts.items()}
    assert {tx: counts for tx, counts in kept.items() if any(counts)} == accounts
    largest = max((entry.nbytes for entry in entries.values()), default=0)
    assert broker.held_bytes <= max(s.queue_bytes, largest)
    assert broker.admitted <= s.queue_frames
    assert len(broker.waiting) <= 4 * s.queue_frames
    assert len(broker.remembered) <= c.REMEMBERED_RESULTS
    for side, peers in broker.peers.items():
        named = [p for name in broker.guests.names(side) for p in broker.guests.named(side, name)]
        assert sorted(p.identity for p in named) == sorted(peers)
        assert all(peers[p.identity] is p for p in named)
    assert all(len(peers) <= c.MAX_CLIENTS for peers in broker.peers.values())
    assert len(broker.guests.greeted) <= 4 * c.MAX_CLIENTS >= len(broker.guests.replaced)


class World:
    """A broker, its virtual clock, and what it has sent to whom."""

    def __init__(self, **given: Any) -> None:
        self.now = 100.0
        self.unreachable: set[bytes] = set()
        self.boxes: dict[bytes, list[tuple[m.Message, list[bytes]]]] = {}
        self.grants: dict[bytes, tuple[m.Grant, list[bytes]]] = {}  # the last of each frame
        settings = ChannelSettings.model_validate(given)
        kind = PairingBroker if settings.superposed else Broker
        self.broker = kind(settings, "epoch", self.send)

    def send(self, side: Side, identity: bytes, message: m.Message, parts: tuple[Any, ...]) -> bool:
        if identity in self.unreachable:
            return False
        raw = [bytes(part) for part in m.encode(message, parts)]
        assert m.decode(raw)[0] == message  # whatever the channel says can be heard
        self.boxes.setdefault(identity, []).append((message, raw[1:]))
        if isinstance(message, m.Grant):
            self.grants[message.frame_id] = (message, raw[1:])
        return True

    def say(
        self, side: Side, identity: bytes, message: m.Message, *parts: bytes
    ) -> list[m.Message]:
        """Say something to the broker; returns what the speaker hears since it last listened."""
        if isinstance(message, m.Stage | m.Result):
            parts = parts or (b"",) * message.parts
        self.broker.receive(side, identity, m.encode(message, parts), self.now)
        check_consistent(self.broker)
        return self.hear(identity)

    def hear(self, identity: bytes) -> list[m.Message]:
        return [message for message, _ in self.boxes.pop(identity, [])]

    def later(self, seconds: float, *beating: tuple[Side, bytes]) -> None:
        """Let time pass; ``beating`` peers say a heartbeat each second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            for side, identity in beating:
                self.broker.receive(side, identity, m.encode(m.Heartbeat(times=[0.0])), self.now)
            self.broker.tick(self.now)
            check_consistent(self.broker)

    def tx(self, identity: bytes = b"t", name: str = "tx", **fields: Any) -> list[m.Message]:
        return self.say("front", identity, hello("tx", name, **fields))

    def rx(
        self, identity: bytes = b"r", name: str = "rx", slots: int = 1, **fields: Any
    ) -> list[m.Message]:
        heard = self.say("back", identity, hello("rx", name, **fields))
        return heard + self.say("back", identity, m.Ready(slots=slots))

    def ask(self, i: int, identity: bytes = b"t", **fields: Any) -> list[m.Message]:
        return self.say("front", identity, request(i, **fields))

    def frame(self, i: int, **fields: Any) -> m.Frame:
        asked = asdict(request(i))
        del asked["rounds"], asked["place"]
        rest = {
            "pilots": 0,
            "codec": "codec",
            "height": 2,
            "width": 2,
            "label": "",
            "image_sha256": bytes(32),
        }
        return m.Frame(**(asked | rest | {"settings": self.broker.hash} | fields))

    def put(
        self,
        i: int,
        identity: bytes = b"t",
        reference: bytes = b"",
        side: bytes = b"",
        **fields: Any,
    ) -> list[m.Message]:
        return self.say("front", identity, self.frame(i, **fields), payload(i), side, reference)

    def bring(self, i: int, identity: bytes = b"t") -> list[m.Message]:
        """Ask for a frame, get the grant, and send it."""
        assert isinstance(one(self.ask(i, identity)), m.Grant)
        return self.put(i, identity)

    def state(self, i: int) -> str | None:
        entry = self.broker.entries.get(frame_id(i))
        return entry.state if entry else None


def one(heard: list[m.Message]) -> m.Message:
    assert len(heard) == 1, heard
    return heard[0]


def only(cls: type[M], heard: list[m.Message]) -> list[M]:
    return [message for message in heard if isinstance(message, cls)]


def nack(heard: list[m.Message], code: str) -> m.Nack:
    message = one(heard)
    assert isinstance(message, m.Nack) and message.code == code, message
    return message


def reject(heard: list[m.Message], code: str, *words: str) -> None:
    message = one(heard)
    assert isinstance(message, m.Reject) and message.code == code, message
    assert message.reason.endswith(".") and all(word in message.reason for word in words), message


FRONT: tuple[Side, bytes] = ("front", b"t")
BACK: tuple[Side, bytes] = ("back", b"r")
