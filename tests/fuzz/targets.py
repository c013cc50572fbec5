"""What is attacked, and what must hold after each input: ``step()``, ``check()``, ``close()``.

``broker``    every message through the channel's protocol logic, with replays and strangers:
              nothing is raised, counters agree, nothing grows, each refusal is counted
``pairs``     the same where two users are superposed
``endpoints`` every message through what tx and rx do with what they hear
``files``     damaged images, settings, codecs and ledgers through their loaders
"""

from __future__ import annotations

import random
from typing import Any

from msgspec.structs import replace

from channel.broker import Broker, Side
from channel.pairing import PairingBroker
from rx.receiver import Receiver
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Rejected, Session
from simulator.phy.laws import Waveform
from simulator.settings import ChannelSettings
from tests.broker_world import check_consistent
from tests.fuzz.files import FileTarget
from tests.fuzz.mutate import IDS, KEYS, Mutator, bpsk, seeds

IDENTITIES: dict[Side, list[bytes]] = {"front": [b"t", b"u"], "back": [b"r", b"s"]}
USERS = ["one", "two"]
SMALL: dict[str, Any] = {"queue_frames": 4, "queue_bytes": 1000, "airtime": "account"}
MEMORY = 64  # messages kept for replays


class BrokerTarget:
    """A broker that hears hostile messages among orderly ones."""

    def __init__(self, seed: int) -> None:
        self.broker = self.made()
        self.random, self.mutator = random.Random(seed), Mutator(seed)
        self.seeds = self.orderly()
        self.heard: list[tuple[str, list[bytes]]] = []
        self.now = 100.0
        self.said = 0
        self.answers: dict[str, int] = {}

    def made(self) -> Broker:
        return Broker(ChannelSettings(**SMALL), "epoch", self._send)

    def orderly(self) -> list[tuple[str, m.Message, list[bytes]]]:
        return seeds(self.broker.hash)

    def speaker(self, door: Side, message: m.Message | None) -> bytes:
        """Who says it; None: it is a replay."""
        return self.random.choices(IDENTITIES[door], (9, 1))[0]

    def _send(self, side: Side, identity: bytes, message: m.Message, parts: Any) -> bool:
        # Whatever the channel says can be heard.
        assert m.decode([bytes(p) for p in m.encode(message, parts)])[0] == message
        self.answers[message.kind] = self.answers.get(message.kind, 0) + 1
        return self.random.random() < 0.95

    def step(self) -> None:
        """One message."""
        choice, message = self.random.random(), None
        if choice < 0.1 and self.heard:
            side, raw = self.random.choice(self.heard)  # a replay, perhaps at the other door
        elif choice < 0.6:
            side, message, parts = self.random.choice(self.seeds)
            raw = self.mutator.raw(message, parts)
        else:  # so that there is a state to be broken
            side, message, parts = self.seeds[self.said % len(self.seeds)]
            raw = [bytes(part) for part in m.encode(message, parts)]
            self.said += 1
        if self.random.random() < 0.02:
            side = "back" if side == "front" else "front"
        door: Side = "front" if side == "front" else "back"
        identity = self.speaker(door, message)
        if len(self.heard) < MEMORY:
            self.heard.append((side, raw))
        else:
            self.heard[self.random.randrange(MEMORY)] = (side, raw)
        refused = sum(self.broker.refused.values())
        nacks = self.answers.get("NACK", 0) + self.answers.get("REJECT", 0)
        self.broker.receive(door, identity, raw, self.now)
        counted = sum(self.broker.refused.values()) - refused
        told = self.answers.get("NACK", 0) + self.answers.get("REJECT", 0) - nacks
        assert counted <= told, "a refusal that nobody is told"
        if self.random.random() < 0.05:
            self.now += self.random.choice((0.1, 1.0, 7.0, 40.0))
            self.broker.tick(self.now)

    def check(self) -> None:
        check_consistent(self.broker)

    def close(self) -> None:
        pass


class PairTarget(BrokerTarget):
    """A channel that superposes two users, ``t`` and ``u``, and hears the same of both."""

    def made(self) -> Broker:
        return PairingBroker(ChannelSettings(**SMALL, superposed=USERS), "epoch", self._send)

    def orderly(self) -> list[tuple[str, m.Message, list[bytes]]]:
        self.users: dict[bytes, int] = {}  # by frame id
        said: list[tuple[str, m.Message, list[bytes]]] = []
        rounds = {key[:16] for key in KEYS}  # frames that are sent in two
        alone = [
            each
            for each in seeds(self.broker.hash)
            if getattr(each[1], "frame_id", None) not in rounds
        ]
        hello = next(each for _, each, _ in alone if isinstance(each, m.Hello))
        hellos: list[m.Message] = [replace(hello, name=name, run=name) for name in USERS]
        for side, message, parts in alone:
            if isinstance(message, m.Request):
                said += [("front", each, []) for each in hellos]  # who was turned away comes back
            if isinstance(message, m.Request | m.Frame | m.Stage | m.Nack | m.Result | m.Confirm):
                beside = [parts[0], b"", parts[2]] if isinstance(message, m.Frame) else parts
                said += [(side, self.of(message, user), beside) for user in (0, 1)]
            else:
                said.append((side, message, parts))
        return said

    def of(self, message: Any, user: int) -> m.Message:
        """What is said of the frame of one of both in place of an only one."""
        frame_id = bytes([message.frame_id[0] ^ 255 * user, *message.frame_id[1:]])
        self.users[frame_id] = user
        changed: dict[str, Any] = {"frame_id": frame_id}
        if isinstance(message, m.Request | m.Frame):
            changed["point"] = replace(message.point, channel="rayleigh")
        if isinstance(message, m.Request):
            index, frames = IDS.index(message.frame_id), len(IDS) - user
            # The last one of the first user is alone.
            here, known = min(index, frames - 1), m.Partner(run=USERS[1 - user], frames=5 + user)
            place = m.Place(user=user, index=here, frames=frames, partner=known)  # type: ignore[arg-type]
            changed["place"] = place
        if isinstance(message, m.Stage | m.Result | m.Nack):
            changed["tx"] = USERS[user]
        made: m.Message = replace(message, **changed)
        return made

    def check(self) -> None:
        super().check()
        assert isinstance(self.broker, PairingBroker)
        here = self.broker.entries
        assert set(self.broker._ids.values()) <= here.keys() >= self.broker._pairs.keys()
        assert len(self.broker._ids) <= len(here) and self.broker._paired <= here.keys()
        halves = {frame_id for frame_id, entry in here.items() if entry.state == "half"}
        assert self.broker._halves.keys() == halves

    def speaker(self, door: Side, message: m.Message | None) -> bytes:
        if door == "back" or message is None or self.random.random() < 0.05:
            return super().speaker(door, message)
        if isinstance(message, m.Hello):
            return IDENTITIES["front"][message.name == USERS[1]]
        return IDENTITIES["front"][self.users.get(getattr(message, "frame_id", b""), 0)]


class EndpointTarget:
    """A receiver, and a session as tx has one, that hear a hostile channel."""

    def __init__(self, seed: int) -> None:
        self.random, self.mutator = random.Random(seed), Mutator(seed)
        self.now = 100.0
        self.build()
        welcome = m.Welcome(
            epoch="e", settings="s", waveform=Waveform(), receivers=1, symbol_rate_hz=1e6,
            guard_s=0.0,
        )  # fmt: skip
        orderly = [(message, parts) for _, message, parts in seeds("s")]
        frame = next(message for message, _ in orderly if isinstance(message, m.Frame))
        air = m.Air(
            tx="tx", snr_db=1.0, csit="perfect", csir="perfect", h_abs2=1.0, received_snr_db=1.0,
            papr_db=0.0, feedback_bits=0,
            queue_s=0.0, airtime_modelled_s=0.0, airtime_observed_s=0.0, came_at_s=0.0,
        )  # fmt: skip
        sent = {name: getattr(frame, name) for name in m.Sent.__struct_fields__}
        self.frame = m.Arrival(**sent, air=air)
        arrival = (self.frame, [bpsk(0), bytes(8), b"side", bytes(12)])
        pair = m.Pair(first=self.frame, second=self.frame, share=0.8, draws=2)
        both = (pair, [bpsk(0), bytes(32), bytes(12), bytes(12)])
        self.seeds = [
            *orderly,
            arrival,
            both,
            (welcome, []),
            (m.Reject(code="full", reason="no"), []),
        ]

    def build(self) -> None:
        hello = m.Hello(
            version=c.VERSION, role="rx", name="rx", run="r", settings="s", codec="codec"
        )
        self.receiver = Receiver(
            Session(hello, lambda *_: True), "rx", "s", 4, lambda values: (b"", b"")
        )

    def step(self) -> None:
        message, parts = self.random.choice(self.seeds)
        raw = self.mutator.raw(message, parts)
        if self.random.random() < 0.2:  # more frames than anybody asked for
            frame = replace(self.frame, frame_id=self.random.randbytes(16))
            raw = [bytes(part) for part in m.encode(frame, [bpsk(0), b"", b"", b""])]
        self.now += 0.01
        try:
            heard, rest = m.decode(raw)
            self.receiver.receive(heard, rest, self.now)
            self.receiver.tick(self.now)
        except m.WireError:
            return
        except Rejected:  # it would end the process, in one sentence
            self.build()

    def check(self) -> None:
        assert len(self.receiver.held) <= 2 * self.receiver.slots
        assert len(self.receiver.work) <= len(self.receiver.held)

    def close(self) -> None:
        pass


TARGETS = {
    "broker": BrokerTarget,
    "pairs": PairTarget,
    "endpoints": EndpointTarget,
    "files": FileTarget,
}
