"""The receiver's protocol logic, without sockets, threads or files.

A frame goes  held -> (worker) stored -> offered -> confirmed. Offers are repeated until tx,
through the channel, says CONFIRM; nothing is lost if it never does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Session
from simulator.phy.law import Law
from simulator.phy.laws import Laws, Waveform
from simulator.phy.packets import Packets


@dataclass(frozen=True)
class Task:
    """Work: one frame with its parts, as it arrived, the law of its channel and its packets.
    ``together``: where it came as one of two."""

    frame: m.Arrival
    parts: Sequence[Any]
    received_at: float
    law: Law
    packets: Packets
    together: Together | None = None


@dataclass(frozen=True)
class Both:
    """Work: two frames that came as one, as ``rx.together`` takes them apart. The parts of each
    ``Task`` are those that its frame would have alone."""

    pair: m.Pair
    tasks: tuple[Task, Task]

    @classmethod
    def of(cls, pair: m.Pair, parts: Sequence[Any], now: float, laws: Laws) -> Both:
        received, gains, *references = parts
        law, packets = laws.of(pair.first.point.channel), laws.waveform.packets
        together = Together((pair.first, pair.second))
        one, other = (
            Task(frame, (received, gains, b"", reference), now, law, packets, together)
            for frame, reference in zip(together.frames, references, strict=True)
        )
        return cls(pair, (one, other))


@dataclass(frozen=True)
class Staged:
    """The worker has reached a stage of a frame. ``picture``: a file, where tx wants it back."""

    frame_id: bytes
    tx: str
    stage: str
    at: float
    elapsed_s: float
    picture: bytes = b""


@dataclass(frozen=True)
class Stored:
    """A frame's result is in the ledger."""

    frame_id: bytes
    tx: str
    values: dict[str, Any]
    stages: dict[str, float]  # moment of each stage, by our clock
    received_at: float | None = None  # None: it was stored by an earlier life, or for another tx


@dataclass(eq=False)
class Together:
    """The fate of two frames that came as one: both are stored at once, or neither is. With one
    result stored and the other one lost, the symbols of the other would never come again."""

    frames: tuple[m.Arrival, m.Arrival]
    failed: bool = False
    stored: list[Stored] = field(default_factory=list)

    def store(self, result: Stored) -> list[Stored]:
        """Both results, once both are there."""
        self.stored.append(result)
        return self.stored if len(self.stored) == len(self.frames) and not self.failed else []

    def fail(self) -> Sequence[m.Arrival]:
        """The frames that have failed with one of them, the first time."""
        frames = () if self.failed else self.frames
        self.failed = True
        return frames


@dataclass(frozen=True)
class Failed:
    """A frame that could not be processed, and why."""

    frame_id: bytes
    tx: str
    reason: str


#: The preview and the refined image of a row, as files; empty where there is none.
Pictures = Callable[[Mapping[str, Any]], tuple[bytes, bytes]]


@dataclass
class Offer:
    result: Stored
    staged: bool  # STAGEs have just brought what tx wants back
    again_at: float
    pause_s: float = c.REOFFER_S


class Receiver:
    """Holds up to ``slots`` frames; ``work`` collects tasks for the worker."""

    def __init__(
        self,
        session: Session,
        name: str,
        settings: str,
        slots: int,
        pictures: Pictures,
        affinity: bool = False,
    ) -> None:
        self.session, self.pictures = session, pictures
        self.name, self.settings, self.slots = name, settings, slots
        self.affinity = affinity
        self.held: dict[bytes, str] = {}  # frame id -> tx
        self.orphans: set[bytes] = set()  # held for a channel process that is gone
        self.offers: dict[bytes, Offer] = {}
        self.confirmed: list[bytes] = []  # for the ledger
        self.work: deque[Task | Both] = deque()
        self.laws = Laws(Waveform())
        self.draining = False

    def drain(self) -> None:
        """Take no more frames; what is held is finished."""
        self.draining = True
        self._ready()

    def tick(self, now: float) -> None:
        self.session.tick(now, list(self.held))
        if self.session.welcome:
            for offer in self.offers.values():
                if now >= offer.again_at:
                    self._offer(offer, now)

    def receive(self, message: m.Message, parts: Sequence[Any], now: float) -> None:
        """One message from the channel. Raises ``Rejected``."""
        new = self.session.receive(message, now)
        if isinstance(message, m.Welcome) and message.waveform != self.laws.waveform:
            self.laws = Laws(message.waveform)
        if new:
            self.orphans = set(self.held)
            self._ready()
            for offer in self.offers.values():
                offer.again_at, offer.pause_s = now, c.REOFFER_S
        elif isinstance(message, m.Arrival):
            self._arrived(message, parts, now)
        elif isinstance(message, m.Pair):
            self._both_arrived(Both.of(message, parts, now, self.laws), now)
        elif isinstance(message, m.Confirm) and message.frame_id in self.offers:
            del self.offers[message.frame_id]
            self.confirmed.append(message.frame_id)

    def _arrived(self, frame: m.Arrival, parts: Sequence[Any], now: float) -> None:
        frame_id = frame.frame_id
        if frame_id in self.offers:
            self._offer(self.offers[frame_id], now)
        elif frame_id in self.held:
            self._adopt(frame_id)
        elif len(self.held) >= 2 * self.slots:
            self._no_room(frame)
        else:
            self.held[frame_id] = frame.air.tx
            law, packets = self.laws.of(frame.point.channel), self.laws.waveform.packets
            self.work.append(Task(frame, parts, now, law, packets))

    def _both_arrived(self, both: Both, now: float) -> None:
        """What one of both is known to be, the other is, too, or was: they are stored at once."""
        frames = both.pair.first, both.pair.second
        ids = [frame.frame_id for frame in frames]
        for frame_id in ids:
            if frame_id in self.offers:
                self._offer(self.offers[frame_id], now)
            elif frame_id in self.held:
                self._adopt(frame_id)
        if any(frame_id in self.held for frame_id in ids) or all(i in self.offers for i in ids):
            return
        if len(self.held) >= 2 * self.slots:
            for frame in frames:
                self._no_room(frame)
            return
        self.held |= {frame.frame_id: frame.air.tx for frame in frames}
        self.work.append(both)

    def _no_room(self, frame: m.Arrival) -> None:
        """A channel that keeps to READY never gets here; another must not fill our memory."""
        frame_id, tx = frame.frame_id, frame.air.tx
        reason = f"rx {self.name} holds {len(self.held)} frames and has no room"
        self.session.send(m.Nack(code="busy", reason=reason, frame_id=frame_id, tx=tx), ())

    def _adopt(self, frame_id: bytes) -> None:
        """An orphan that the new channel process has leased to us, too, or that is done."""
        if frame_id in self.orphans:
            self.orphans.discard(frame_id)
            self._ready()

    def _ready(self) -> None:
        slots = 0 if self.draining else max(0, self.slots - len(self.orphans))
        self.session.send(m.Ready(slots=slots, affinity=self.affinity), ())

    def worked(self, event: Staged | Stored | Failed, now: float) -> None:
        """What the worker thread has reached or finished."""
        if isinstance(event, Staged):
            elapsed = event.elapsed_s
            self.session.send(
                m.Stage(frame_id=event.frame_id, tx=event.tx, stage=event.stage, elapsed_s=elapsed),  # type: ignore[arg-type]
                (event.picture,),
            )
            return
        self.held.pop(event.frame_id, None)
        if isinstance(event, Failed):
            nack = m.Nack(code="failed", reason=event.reason, frame_id=event.frame_id, tx=event.tx)
            self.session.send(nack, ())
        else:
            wanted = event.values.get("returned_bytes") is not None
            offer = Offer(event, wanted and bool(event.stages), now)
            self.offers[event.frame_id] = offer
            self._offer(offer, now)
        self._adopt(event.frame_id)

    def _offer(self, offer: Offer, now: float) -> None:
        """RESULT, the first time or again. The pause to the next one doubles.

        Pictures that STAGEs have brought come again from the second time on: one may be lost.
        """
        event, pictures = offer.result, (b"", b"")
        if event.values.get("returned_bytes") is not None and not offer.staged:
            pictures = self.pictures(event.values)
        result = m.Result(
            frame_id=event.frame_id,
            tx=event.tx,
            receiver=self.name,
            settings=self.settings,
            values=event.values,
            stages={stage: max(0.0, now - at) for stage, at in event.stages.items()},  # type: ignore[misc]
            complete=not offer.staged,
        )
        self.session.send(result, pictures)
        offer.staged = False
        offer.again_at = now + offer.pause_s
        offer.pause_s = min(2 * offer.pause_s, c.MAX_TIMEOUT_S)
