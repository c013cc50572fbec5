"""Who is at the two doors, and whom they turn away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.keys import PublicKey

Side = Literal["front", "back"]
Key = TypeVar("Key")
Kept = TypeVar("Kept")


def remember(memory: OrderedDict[Key, Kept], key: Key, value: Kept, limit: int) -> None:
    """Keep ``value``; beyond ``limit`` the oldest is forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)


def key_of(hello: m.Hello) -> tuple[str, str, str]:
    """Whose settings are remembered: of a tx in each run; an rx serves any."""
    return (hello.run if hello.role == "tx" else "", hello.role, hello.name)


def refusal(hello: m.Hello, before: m.Hello, tx: str) -> str:
    """Why a peer with other settings than before is turned away: what differs, what to do."""
    differ = [
        f"{name} was {before.about.get(name, 'not set')} and is {hello.about.get(name, 'not set')}"
        for name in sorted(before.about.keys() | hello.about.keys())
        if before.about.get(name) != hello.about.get(name)
    ]
    told = f" ({'; '.join(differ[:4])})" if differ else ""
    what = f"run {hello.run!r}" if hello.role == "tx" else f"a run of tx {tx!r}, which goes on,"
    return (
        f"{hello.role} {hello.name!r} came back to {what} with other settings that change "
        f"results{told}; start it as it was, or wait until that run has ended (its tx has "
        f"everything, and has stopped)."
    )


@dataclass
class Peer:
    """A tx or rx that has said HELLO."""

    identity: bytes
    hello: m.Hello
    last_seen: float
    slots: int = 0  # rx: frames it can hold
    affinity: bool = False  # rx: it wants all frames of a tx, in their order
    leases: set[bytes] = field(default_factory=set)
    holder: PublicKey | None = None  # whose key its connection has; None: a door without keys

    @property
    def room(self) -> int:
        return self.slots - len(self.leases)


class Guests:
    """The peers at each door (front: tx, back: rx), and what is known of earlier ones."""

    def __init__(self) -> None:
        self.doors: dict[Side, dict[bytes, Peer]] = {"front": {}, "back": {}}
        # The same by name: messages are addressed so.
        self._names: dict[Side, dict[str, dict[bytes, Peer]]] = {"front": {}, "back": {}}
        self.greeted: OrderedDict[tuple[str, str, str], m.Hello] = OrderedDict()
        self.served: OrderedDict[str, set[str]] = OrderedDict()  # by rx: tx that had its results
        self.replaced: OrderedDict[tuple[Side, bytes], None] = OrderedDict()

    def named(self, side: Side, name: str) -> Collection[Peer]:
        """The connections of that name at a door."""
        return self._names[side].get(name, {}).values()

    def names(self, side: Side) -> Collection[str]:
        """Who is at a door."""
        return self._names[side].keys()

    def leave(self, side: Side, peer: Peer) -> None:
        """Remove a peer; nothing happens if it has left already."""
        if self.doors[side].pop(peer.identity, None) is None:
            return
        namesakes = self._names[side][peer.hello.name]
        del namesakes[peer.identity]
        if not namesakes:
            del self._names[side][peer.hello.name]

    def replace(self, side: Side, identity: bytes, hello: m.Hello) -> list[Peer]:
        """The connections that this HELLO replaces; they are not to speak again."""
        before = self.predecessors(side, identity, hello)
        for other in before:
            remember(self.replaced, (side, other.identity), None, 4 * c.MAX_CLIENTS)
        return before

    def enter(
        self,
        side: Side,
        identity: bytes,
        hello: m.Hello,
        now: float,
        holder: PublicKey | None = None,
    ) -> Peer:
        """Let a peer in; one that greets again keeps its slots and leases."""
        before = self.greeted.get(key_of(hello))
        if before is not None and before.settings != hello.settings:
            self.served.pop(hello.name, None)  # what it had served has ended
        remember(self.greeted, key_of(hello), hello, 4 * c.MAX_CLIENTS)
        peer = Peer(identity, hello, now, holder=holder)
        known = self.doors[side].get(identity)
        if known is not None:
            peer.slots, peer.leases = known.slots, known.leases
            peer.affinity = known.affinity
            self.leave(side, known)  # it may have had another name
        self.doors[side][identity] = peer
        self._names[side].setdefault(hello.name, {})[identity] = peer
        return peer

    def predecessors(self, side: Side, identity: bytes, hello: m.Hello) -> list[Peer]:
        """Other connections of that name: its process was started again, or reconnected."""
        return [
            p
            for p in self.named(side, hello.name)
            if p.identity != identity and (side == "back" or p.hello.run == hello.run)
        ]

    def serves(self, rx: str, tx: str) -> None:
        """A receiver has a result for a transmitter, whose run it belongs to from now on."""
        known = self.served.get(rx, set())
        here = {name for name in known if name in self.names("front")}
        remember(self.served, rx, here | {tx}, 4 * c.MAX_CLIENTS)

    def held_by(self, hello: m.Hello, unconfirmed: Collection[str]) -> str | None:
        """The tx whose run still goes on with what this peer was before; None where none does.

        A run ends when its tx has confirmed every result and is gone.
        """
        if hello.role == "tx":
            runs = {hello.name} if (hello.run, hello.name) in self._runs() else set()
            return next(iter(runs | {hello.name} & set(unconfirmed)), None)
        held = self.served.get(hello.name, set())
        return next(
            iter(sorted(held & ({name for _, name in self._runs()} | {*unconfirmed}))), None
        )

    def _runs(self) -> set[tuple[str, str]]:
        return {(peer.hello.run, peer.hello.name) for peer in self.doors["front"].values()}

    def objection(
        self,
        side: Side,
        identity: bytes,
        hello: m.Hello,
        holder: PublicKey | None = None,
        unconfirmed: Collection[str] = (),
    ) -> m.Reject | None:
        """``unconfirmed``: names of the tx that have frames here, or results to confirm."""
        if hello.version != c.VERSION:
            return m.Reject(
                code="version",
                reason=f"{hello.role} {hello.name!r} speaks protocol version {hello.version}, "
                f"this channel version {c.VERSION}; install the same release on both.",
            )
        if hello.role != ("tx" if side == "front" else "rx"):
            return m.Reject(
                code="bad-message",
                reason=f"this is the {side} door, made for "
                f"{'tx' if side == 'front' else 'rx'}; {hello.role} must use the other address.",
            )
        if holder is not None and hello.name != holder.name:
            # Else a key could take over the name, the results and the quota of another.
            return m.Reject(
                code="name",
                reason=f"{hello.role} {hello.name!r} has the key of {holder.name!r}; add "
                f"--set {hello.role}.name={holder.name}, or make a key for each name.",
            )
        same = self.predecessors(side, identity, hello)
        if same and (side, identity) in self.replaced:
            # A process that was replaced never speaks again: these are two.
            return m.Reject(
                code="name",
                reason=f"another process took the name {hello.name!r} over; give each its own, "
                f"for example --set {hello.role}.name={hello.role}-2.",
            )
        namesakes = len(self.named(side, hello.name))
        if identity not in self.doors[side] and namesakes - len(same) >= c.MAX_RUNS:
            return m.Reject(code="full", reason=f"{c.MAX_RUNS} runs of {hello.name!r} are here.")
        others = len(self.doors[side]) - len(same)
        if identity not in self.doors[side] and others >= c.MAX_CLIENTS:
            return m.Reject(code="full", reason=f"{c.MAX_CLIENTS} clients are here already.")
        before = self.greeted.get(key_of(hello))
        if before is not None and before.settings != hello.settings:
            tx = self.held_by(hello, unconfirmed)
            if tx is not None:
                return m.Reject(code="settings", reason=refusal(hello, before, tx))
        other: Side = "back" if side == "front" else "front"
        codecs = {p.hello.codec for p in self.doors[other].values()}
        if codecs and hello.codec not in codecs:
            there = "rx" if side == "front" else "tx"
            return m.Reject(
                code="codec",
                reason=f"{hello.role} {hello.name!r} has codec {hello.codec}, but {there} has "
                f"{', '.join(sorted(codecs)[:4])}; start both with the same --codec.",
            )
        return None
